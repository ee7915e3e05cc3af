"""The pairs that judge INT8: none of them gave a range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.scenes import Scene
from litestereo.calibration.frames import NetworkPair, network_pair, network_pairs
from litestereo.calibration.store import CalibrationSet, StoredPair, pair_sha256
from litestereo.errors import ExportError, InputError
from litestereo.runtime.images import StereoPair

__all__ = ["HeldOut", "Judges", "find_judges"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A pair that judges.

    Attributes:
        pair: as the network sees it.
        truth_px: (H, W) float32 ground truth in pixels of the picture; None if unknown.
    """

    pair: NetworkPair
    truth_px: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Judges:
    """The pairs that judge a graph, read when they are needed.

    Attributes:
        calibration: the set that gave the ranges.
        stored: the pairs that it holds out; empty where scenes judge.
        scenes: of the folders that were given.
        left_out: how many scenes of these folders gave ranges, and so do not judge.
    """

    calibration: CalibrationSet
    stored: tuple[StoredPair, ...]
    scenes: tuple[Scene, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.stored) + len(self.scenes)

    def pairs(self, *, size: tuple[int, int] | None) -> Iterator[HeldOut]:
        """Yield them, one in memory at a time.

        Args:
            size: (height, width) of a fixed-size graph; None takes each picture's own.

        Raises:
            CalibrationError: a picture of the set is damaged.
            InputError: a picture of a scene cannot be read.
        """
        for pair in network_pairs(self.calibration, self.stored, size=size):
            yield HeldOut(pair, None)
        for scene in self.scenes:
            truth = scene.load_truth()
            pair = network_pair(StereoPair(*scene.load_pair()), name=scene.key, size=size)
            yield HeldOut(pair, None if truth is None else truth.disparity_px)


def find_judges(calibration: CalibrationSet, folders: tuple[Path, ...]) -> Judges:
    """Return the pairs that judge: those of the folders, else those that the set holds out.

    Scenes that the set took its ranges from are left out. Each is read: to know these, and to find
    what cannot judge before the search for INT8's blocks.

    Args:
        calibration: the set.
        folders: data sets as `stereo-eval` takes them; empty takes the set's own.

    Raises:
        ExportError: a folder has a scene that cannot be used, or none that gave no range.
        InputError: a picture or a ground truth cannot be read.
    """
    if not folders:
        stored = calibration.part(held_out=True)
        if not stored:
            raise ExportError(
                f"{calibration.folder} holds out no pair, so nothing can judge INT8; make it again "
                "with stereo-calibrate, or give scenes with --held-out"
            )
        return Judges(calibration, stored)
    found = find_scenes(*folders)
    if found.broken:
        broken = found.broken[0]
        raise ExportError(
            f"{broken.name} cannot judge INT8: {broken.problem}; see stereo-eval for layouts"
        )
    used = {pair.sha256 for pair in calibration.part(held_out=False)}
    fresh = tuple(scene for scene in found.scenes if pair_sha256(_checked(scene)) not in used)
    if not fresh:
        raise ExportError(
            f"all {len(found.scenes)} scenes of --held-out gave ranges to {calibration.folder}, so "
            "they cannot judge them; give others, or leave --held-out away for those of the set"
        )
    return Judges(calibration, (), fresh, len(found.scenes) - len(fresh))


def _checked(scene: Scene) -> StereoPair:
    """Return the pictures of a scene, if its ground truth, where there is one, is of their size."""
    try:
        pair, truth = StereoPair(*scene.load_pair()), scene.load_truth()
    except InputError as error:
        raise InputError(f"{scene.key} cannot judge INT8: {error}") from error
    if truth is not None and truth.disparity_px.shape != pair.left.shape[:2]:
        known, seen = ("x".join(map(str, m.shape[:2])) for m in (truth.disparity_px, pair.left))
        raise ExportError(
            f"{scene.key} cannot judge INT8: its ground truth is {known} but its pictures are "
            f"{seen}; mend the scene, or leave it out of --held-out"
        )
    return pair
