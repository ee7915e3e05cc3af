"""The metric part of a run: from a calibration's file to the depth and cloud of each pair."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.disparity_io import write_npy
from litestereo.runtime.doctor.pair import rows_agree
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.cloud import write_ply
from litestereo.runtime.geometry.consistency import (
    left_right_inconsistent,
    right_disparity_of,
    speckles,
)
from litestereo.runtime.geometry.depth import DepthMap, DepthOptions
from litestereo.runtime.geometry.depth_io import (
    FARTHEST_PNG_M,
    write_depth_png,
    write_validity_png,
)
from litestereo.runtime.geometry.exr import write_depth_exr
from litestereo.runtime.geometry.read import require_calibration_files
from litestereo.runtime.geometry.rig import MetricRig
from litestereo.runtime.images import StereoPair
from litestereo.runtime.results import StereoResult
from litestereo.runtime.viewer.page import write_view

__all__ = ["MetricOptions", "MetricRun"]

# Sizes whose rigs are kept: more than a stream has pairs on the way.
_MOST_SIZES = 8


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """What is computed beyond disparity.

    Attributes:
        calibration: the calibration's file, or both of a pair; none: the artefact rectifies.
        baseline_m: in metres, where the file has none or an unclear unit.
        rectified: the pictures are rectified already, though the calibration is of raw ones.
        depth: write depth.
        exr: write depth as EXR, too.
        cloud: write a point cloud.
        second_pass: find occlusions by a second, mirrored inference instead of by geometry.
        speckle_pixels: islands of up to so many pixels have no depth; 0 keeps them.
        limits: which depths are kept.
    """

    calibration: tuple[Path, ...] = ()
    baseline_m: float | None = None
    rectified: bool = False
    depth: bool = False
    exr: bool = False
    cloud: bool = False
    second_pass: bool = False
    speckle_pixels: int = 0
    limits: DepthOptions = dataclasses.field(default_factory=DepthOptions)

    def __post_init__(self) -> None:
        """Refuse files that are not there, before cameras and models are opened."""
        if self.calibration:
            require_calibration_files(self.calibration)

    def targets(self, stem: str) -> dict[str, str]:
        """Return kind -> file name of what is written for a pair.

        Args:
            stem: of the file names.
        """
        names = {}
        if self.depth:
            names["depth_png"] = f"{stem}_depth_mm.png"
            names["depth_npy"] = f"{stem}_depth_m.npy"
            names["validity"] = f"{stem}_validity.png"
        if self.exr:
            names["exr"] = f"{stem}_depth_m.exr"
        if self.cloud:
            names["cloud"] = f"{stem}_cloud.ply"
        return names


class MetricRun:
    """Rectifies pairs and writes their depth; reads the calibration once for each size.

    `prepared` may run in another thread than `write`, some pairs ahead of it.
    """

    def __init__(self, options: MetricOptions, *, engine: StereoEngine) -> None:
        """Keep the options; the calibration is read with the first pair, whose size it takes.

        Args:
            options: what to compute.
            engine: what computes the results.

        Raises:
            InputError: there is no calibration, or both the options and the artefact have one.
        """
        self._options = options
        self._engine = engine
        self._asked = False
        self._inside: MetricRig | None = None
        read = partial(
            MetricRig.read,
            options.calibration,
            baseline_m=options.baseline_m,
            rectified=options.rectified,
            limits=options.limits,
        )
        self._read = lru_cache(_MOST_SIZES)(read)
        if engine.calibration is not None:
            _check_alone(options)
            self._inside = engine.rig(limits=options.limits)
        elif not options.calibration:
            raise InputError(
                "depth and clouds need a calibration; add --calib FILE, or run a model that "
                "rectifies (stereo-export --calib)"
            )

    def prepared(self, pair: StereoPair) -> StereoPair:
        """Return the pair rectified where the calibration is of raw pictures.

        For an artefact that rectifies it stays as it is.

        Args:
            pair: as read.

        Raises:
            InputError: the calibration does not suit these pictures.
        """
        rig = self._rig_for(pair.left.shape[:2])
        notes = (*pair.notes, *rig.calibration.notes)
        if rig is self._inside:
            return dataclasses.replace(pair, notes=(*notes, *self._doubts(rig, pair)))
        if not rig.rectifies:
            return dataclasses.replace(pair, notes=notes)
        left, right = rig.rectified(pair.left, pair.right)
        notes = (*notes, "pictures rectified by the calibration", *self._doubts(rig, pair))
        return StereoPair(left, right, notes=notes)

    def write(
        self,
        pair: StereoPair,
        result: StereoResult,
        *,
        size: tuple[int, ...],
        targets: dict[str, Path],
        max_color_px: float | None = None,
    ) -> dict[str, Any]:
        """Write what the options ask for, of a prepared pair, and return facts for JSON.

        Args:
            pair: as `prepared` gave it, or as the engine saw it.
            result: of the pair.
            size: (height, width) of the pair as it was read, before `prepared`.
            targets: kind -> file, as `batch.output_targets` gives them.
            max_color_px: end of the colour scale, for the page.
        """
        rig = self._rig_for(size)
        depth = rig.depth(
            result,
            occluded=self._occluded(rig, pair, result),
            speckle=self._speckle(result.disparity_px),
        )
        facts = self._facts(depth, rig.calibration)
        if self._options.depth:
            write_depth_png(targets["depth_png"], depth.depth_m)
            write_npy(targets["depth_npy"], depth.depth_m)
            write_validity_png(targets["validity"], depth.validity)
            with np.errstate(invalid="ignore"):
                beyond = float(np.mean(depth.depth_m > FARTHEST_PNG_M))
            if beyond:
                facts["beyond_png"] = round(beyond, 4)
        if self._options.exr:
            write_depth_exr(targets["exr"], depth.depth_m)
        if self._options.cloud:
            cloud = rig.cloud(depth, pair.left)
            write_ply(targets["cloud"], cloud)
            facts["points"] = len(cloud.points_m)
        if "view" in targets:
            write_view(
                targets["view"],
                pair.left,
                result,
                calibration=rig.calibration,
                valid=depth.validity == 0,
                max_color_px=max_color_px,
            )
        return facts

    def _rig_for(self, size: tuple[int, ...]) -> MetricRig:
        """Return the artefact's own rig, or the calibration's for raw pictures of this size."""
        return self._inside or self._read(size=size)

    def _doubts(self, rig: MetricRig, pair: StereoPair) -> tuple[str, ...]:
        """Return a note where the first pair looks rectified already; later ones are not asked."""
        asked, self._asked = self._asked, True
        if asked or not rows_agree(pair.left, pair.right):
            return ()
        if rows_agree(*rig.rectified(pair.left, pair.right)):
            return ()
        return (
            "the rows agree in the pictures as given and no more once they are rectified: they "
            "look rectified already; pass --rectified with their calibration, or run them on a "
            "model that was exported without --calib",
        )

    def _speckle(self, disparity_px: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        if not self._options.speckle_pixels:
            return None
        return speckles(disparity_px, largest_pixels=self._options.speckle_pixels)

    def _occluded(
        self, rig: MetricRig, pair: StereoPair, result: StereoResult
    ) -> NDArray[np.bool_]:
        if not self._options.second_pass:
            return rig.occluded(result)
        right_px = right_disparity_of(
            lambda left, right: self._engine(left, right).disparity_px, pair.left, pair.right
        )
        return left_right_inconsistent(result.disparity_px, right_px)

    def _facts(self, depth: DepthMap, calibration: Calibration) -> dict[str, Any]:
        kept = depth.depth_m[depth.validity == 0]
        values = np.quantile(kept, [0.01, 0.5, 0.99]) if kept.size else []
        return {
            "calibration": {
                "source": ", ".join(map(str, self._options.calibration)) or "the model",
                "format": calibration.source,
                "focal_px": round(calibration.focal_px, 3),
                "baseline_m": round(calibration.baseline_m, 6),
                "doffs_px": round(calibration.doffs_px, 3),
            },
            "occlusion": "second pass" if self._options.second_pass else "warp",
            "validity": {name: round(share, 4) for name, share in depth.shares().items()},
            "depth_m": dict(
                zip(("p1", "median", "p99"), (round(float(v), 4) for v in values), strict=False)
            ),
        }


def _check_alone(options: MetricOptions) -> None:
    """Refuse what an artefact that rectifies cannot go with."""
    given = {
        "--calib": options.calibration,
        "--rectified": options.rectified,
        "--baseline": options.baseline_m,
    }
    for name, value in given.items():
        if value:
            raise InputError(
                f"the model takes raw pictures and rectifies them by its own calibration; leave "
                f"{name} out, or run a model that was exported without --calib"
            )
    if options.second_pass:
        raise InputError(
            "--second-pass mirrors the pair, and a model that rectifies takes no mirrored "
            "pictures; leave it out: occlusions are found from the disparity"
        )
