"""Rectification inside an artefact's graph: for which rig, and what comes out of it.

An artefact that rectifies takes raw pictures and answers for the pinhole camera that its network
sees. Its manifest holds the raw rig together with that camera, so that maps, depth and points
follow from the artefact alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestereo.errors import EngineError, InputError
from litestereo.runtime.geometry.calibration import Calibration, Eye, GivenRectification
from litestereo.runtime.geometry.rectify import rectification_of, rectified_calibration
from litestereo.runtime.preprocess import frame_for

__all__ = ["GraphRectification", "for_network"]


@dataclass(frozen=True, slots=True)
class GraphRectification:
    """What the manifest of an artefact that rectifies says of it.

    Attributes:
        rig: of the raw pictures; its given rectification leads to what the network sees.
        calibration_sha256: of the calibration's files.
    """

    rig: Calibration
    calibration_sha256: str

    @property
    def raw_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that go in."""
        assert self.rig.size is not None
        return self.rig.size

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the answers."""
        assert self.rig.given is not None
        assert self.rig.given.size is not None
        return self.rig.given.size

    @property
    def calibration(self) -> Calibration:
        """Of the answers: what depth is computed with."""
        return rectified_calibration(self.rig)

    def require_raw(self, size: tuple[int, int]) -> None:
        """Refuse pictures that are not of the camera's size.

        Args:
            size: (height, width) of the pictures.

        Raises:
            InputError: naming both sizes.
        """
        if size != self.raw_size:
            came, need = (f"{height}x{width}" for height, width in (size, self.raw_size))
            raise InputError(
                f"the pictures are {came} and the artefact takes {need}, raw as the calibrated "
                "cameras give them; take those, export for another camera mode with "
                "--camera-size, or run rectified pairs on an artefact without a calibration"
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "size": list(self.size),
            "calibration_sha256": self.calibration_sha256,
            "rig": dataclasses.asdict(self.rig),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphRectification:
        """Read what `to_json` gave.

        Args:
            data: that mapping.

        Raises:
            EngineError: a part is missing, or describes no rig.
        """
        try:
            rig = dict(data["rig"])
            given = dict(rig["given"])
            for holder in (rig, given):
                holder.update({side: _eye(holder[side]) for side in ("left", "right")})
                holder["size"] = _size(holder["size"])
            for side in ("left", "right"):
                given[f"{side}_rotation"] = _numbers(given[f"{side}_rotation"], 9)
            rig["given"] = GivenRectification(**given)
            rig["rotation"] = _numbers(rig["rotation"], 9)
            rig["translation_m"] = _numbers(rig["translation_m"], 3)
            rig["notes"] = tuple(str(note) for note in rig["notes"])
            made = cls(Calibration(**rig), str(data["calibration_sha256"]))
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"the artefact's manifest describes no rig that it rectifies ({error!r}); export "
                "it again"
            ) from error
        if made.rig.rectified:
            raise EngineError(
                "the artefact's manifest rectifies a rig that is rectified already; export it again"
            )
        return made


def for_network(
    calibration: Calibration, *, size: tuple[int, int] | None, multiple_of: int
) -> Calibration:
    """Return a raw rig whose given rectification is the camera that a network of `size` sees.

    The rectified picture is shrunk to fit, never enlarged, and lies in the middle; what is around
    it shows as much more of the raw pictures as there is.

    Args:
        calibration: of raw pictures, with their size.
        size: (height, width) of the network; None: the smallest that holds the rectified picture.
        multiple_of: what both are multiples of, if `size` is None.

    Raises:
        InputError: the calibration has no size, or is of rectified pictures already.
    """
    if calibration.rectified:
        raise InputError(
            "the calibration is of rectified pictures, so there is nothing to rectify in the "
            "graph; export without it, and give it to stereo-run --calib"
        )
    plan = rectification_of(calibration)
    whole = plan.size or calibration.size
    assert whole is not None
    if size is None:
        size = frame_for(whole, multiple_of=multiple_of).padded_size
    scale = min(1.0, size[0] / whole[0], size[1] / whole[1])
    margins = ((size[0] - scale * whole[0]) / 2, (size[1] - scale * whole[1]) / 2)
    given = dataclasses.replace(
        plan,
        left=_moved(plan.left.scaled((scale, scale)), margins),
        right=_moved(plan.right.scaled((scale, scale)), margins),
        size=size,
    )
    return dataclasses.replace(calibration, given=given)


def _moved(eye: Eye, by: tuple[float, float]) -> Eye:
    return dataclasses.replace(eye, cx_px=eye.cx_px + by[1], cy_px=eye.cy_px + by[0])


def _eye(data: Mapping[str, Any]) -> Eye:
    coefficients = tuple(float(number) for number in data["coefficients"])
    return Eye(**{**data, "coefficients": coefficients})


def _numbers(values: Any, count: int) -> Any:  # noqa: ANN401 - tuples of 3 or 9
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers where {count} are needed")
    return numbers


def _size(values: Any) -> tuple[int, int]:  # noqa: ANN401 - JSON
    height, width = (int(value) for value in values)
    if min(height, width) < 1:
        raise ValueError(f"a size of {height}x{width}")
    return height, width
