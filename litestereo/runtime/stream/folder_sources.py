"""Folders of pictures as a source of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from litestereo.errors import InputError
from litestereo.runtime.pairs import PairSource, find_pairs, find_side_by_side
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.sources import Clock, FrameReader, FrameSource

__all__ = ["folders"]


def folders(left: Path | str, right: Path | str | None = None) -> FrameSource:
    """Return the pairs of two folders (or patterns) of pictures, in natural order; all of them.

    Args:
        left: the left pictures, or a folder that holds `left` and `right` (or `image_0`,
            `image_1`, `cam0`, `cam1`), or one of pictures that hold both eyes side by side.
        right: the right pictures.

    Raises:
        InputError: nothing is there, or the counts differ.
    """
    return _Folders(_folder_pairs(str(left), None if right is None else str(right)))


def _folder_pairs(left: str, right: str | None) -> Sequence[PairSource]:
    if right is not None:
        return find_pairs(left, right)
    for names in (("left", "right"), ("image_0", "image_1"), ("cam0", "cam1")):
        sides = [Path(left) / name for name in names]
        if all(side.is_dir() for side in sides):
            return find_pairs(str(sides[0]), str(sides[1]))
    if not Path(left).is_dir() and not any(letter in left for letter in "*?["):
        raise InputError(
            f"{left} is no folder; give one that holds left and right pictures in folders of "
            "these names, or pictures with both eyes side by side"
        )
    return find_side_by_side([left])


class _Folders:
    live = False
    reopens = True

    def __init__(self, pairs: Sequence[PairSource]) -> None:
        self.name = f"{len(pairs)} pairs from {pairs[0].left.parent}"
        self._pairs = pairs

    def open(self, clock: Clock) -> FrameReader:
        return _FolderReader(self._pairs, clock)


class _FolderReader:
    unpaired = 0

    def __init__(self, pairs: Sequence[PairSource], clock: Clock) -> None:
        self._left = iter(pairs)
        self._clock = clock

    def read(self) -> SourceFrame | None:
        source = next(self._left, None)
        if source is None:
            return None
        try:
            pair = source.read()
        except InputError as error:
            nothing = np.empty((0, 0), np.uint8)
            return SourceFrame(
                nothing, nothing, self._clock(), name=source.name, problem=str(error)
            )
        captured_s = self._clock()
        return SourceFrame(pair.left, pair.right, captured_s, name=source.name, notes=pair.notes)

    def stop(self) -> None:
        self._left = iter(())

    def close(self) -> None:
        self._left = iter(())
