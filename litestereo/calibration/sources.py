"""From what a user types to candidate pairs: folders, patterns, side-by-side pictures, videos."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from litestereo.calibration.options import CalibrateOptions
from litestereo.errors import CalibrationError, InputError
from litestereo.runtime.images import PICTURE_SUFFIXES, BitDepth, StereoPair
from litestereo.runtime.pairs import PairSource, find_pairs, find_side_by_side
from litestereo.runtime.preprocess import rgb_pair

__all__ = ["VIDEO_SUFFIXES", "Candidate", "CandidateList", "find_candidates"]

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
# What data sets call the two pictures of a scene, and the two folders of a recording.
_PICTURE_NAMES = (("left", "right"), ("im0", "im1"), ("im2", "im6"), ("view1", "view5"))
_NUMBERED = re.compile(r"(?:im|view)\d+")
_FOLDER_NAMES = (
    ("left", "right"),
    ("image_0", "image_1"),
    ("image_2", "image_3"),
    ("cam0", "cam1"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A pair that may come into a set.

    Attributes:
        name: where it came from: file names, or a video's name with a time.
        pair: the pictures; None where they cannot be used.
        problem: why not; empty where they can.
    """

    name: str
    pair: StereoPair | None
    problem: str = ""


def find_candidates(texts: Sequence[str], *, options: CalibrateOptions) -> CandidateList:
    """Return the pairs that `texts` mean; nothing is read yet.

    Folders hold pairs at any depth: `left.png` beside `right.png` (also im0/im1, im2/im6,
    view1/view5), or folders `left` and `right` (also image_0/image_1, image_2/image_3, cam0/cam1).
    Where there are more pictures of such numbers, im0 and im1 are two frames of one camera.
    Videos hold both eyes side by side. What else there is must be two files or patterns, left and
    right. With `options.side_by_side` each picture of a folder or pattern holds both eyes.

    Args:
        texts: folders, patterns, pictures and videos, as typed.
        options: how pictures and videos are read.

    Raises:
        CalibrationError: nothing is there, or it is not clear what belongs together.
        InputError: left and right pictures differ in number or name.
    """
    pairs: list[PairSource] = []
    videos: list[Path] = []
    rest: list[str] = []
    for text in texts:
        path = Path(text)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(path)
        elif not options.side_by_side and path.is_dir() and (found := _folder_pairs(path)):
            pairs += found
        else:
            rest.append(text)
    if rest and options.side_by_side:
        pairs += find_side_by_side(rest)
    elif len(rest) == 2:
        pairs += find_pairs(*rest)
    elif rest:
        raise CalibrationError(_unclear(rest))
    if not pairs and not videos:
        raise CalibrationError("no pairs were given; give folders, patterns or a video of pairs")
    return CandidateList(tuple(pairs), tuple(videos), options.every_s)


def _unclear(rest: Sequence[str]) -> str:
    """Return what to say of texts that no pairs follow from."""
    absent = [text for text in rest if not glob.has_magic(text) and not Path(text).exists()]
    if absent:
        return f"{absent[0]} is not there; check the path"
    if len(rest) == 1:
        what = f"{rest[0]} is neither a folder of pairs nor a video"
    else:
        what = f"{rest[0]} and {len(rest) - 1} more are neither folders of pairs nor videos"
    return (
        f"{what}; give folders with left.png and right.png in them, two quoted patterns "
        "('left/*.png' 'right/*.png'), or add --side-by-side"
    )


@dataclass(frozen=True, slots=True)
class CandidateList:
    """Candidates, read anew each time they are gone through: the order is always the same.

    Attributes:
        pairs: pictures, not read yet.
        videos: files with both eyes side by side.
        every_s: seconds between two frames of a video.
    """

    pairs: tuple[PairSource, ...]
    videos: tuple[Path, ...]
    every_s: float

    def __iter__(self) -> Iterator[Candidate]:
        """Yield all candidates, one in memory at a time."""
        for source in self.pairs:
            yield _read(source)
        for path in self.videos:
            yield from _frames(path, self.every_s)

    def only(self, positions: Collection[int]) -> Iterator[Candidate | None]:
        """Yield as `__iter__` does, None for pictures that are not at `positions`.

        Args:
            positions: counted from 0, pictures first; frames of videos come all.
        """
        for position, source in enumerate(self.pairs):
            yield _read(source) if position in positions else None
        for path in self.videos:
            yield from _frames(path, self.every_s)


def _folder_pairs(folder: Path) -> list[PairSource]:
    """Return the pairs in a folder and those below it, in order of their paths.

    They are named by the folder and their path in it.
    """
    found, depth, named = [], BitDepth(), Path(folder.resolve().name)
    for root, folders, files in os.walk(folder):
        if _is_an_eye(Path(root)):
            folders.clear()
            continue
        folders.sort()
        home = named / Path(root).relative_to(folder)
        found += _pictures_of(Path(root), files, home, depth)
        for left, right in _FOLDER_NAMES:
            if left in folders and right in folders and _has_pictures(Path(root, left)):
                # Each recording counts its frames from 0 anew.
                for pair in find_pairs(str(Path(root, left)), str(Path(root, right))):
                    found.append(replace(pair, name=(home / pair.name).as_posix()))
    return found


def _is_an_eye(folder: Path) -> bool:
    """Tell a folder of one eye's pictures: any two of them are frames, not a pair."""
    return _has_pictures(folder) and any(
        folder.name in names and all(folder.with_name(name).is_dir() for name in names)
        for names in _FOLDER_NAMES
    )


def _pictures_of(
    folder: Path, files: Sequence[str], home: Path, depth: BitDepth
) -> list[PairSource]:
    pictures = {
        Path(name).stem: folder / name
        for name in sorted(files)
        if Path(name).suffix.lower() in PICTURE_SUFFIXES
    }
    numbered = {stem for stem in pictures if _NUMBERED.fullmatch(stem)}
    for left, right in _PICTURE_NAMES:
        if not {left, right} <= pictures.keys():
            continue
        if left not in numbered or numbered == {left, right}:
            name = (home / left).as_posix()
            return [PairSource(name, pictures[left], pictures[right], depth)]
    return []


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in PICTURE_SUFFIXES for path in folder.iterdir())


def _read(source: PairSource) -> Candidate:
    try:
        return Candidate(source.name, source.read())
    except InputError as error:
        return Candidate(source.name, None, str(error))


def _frames(path: Path, every_s: float) -> Iterator[Candidate]:
    """Yield a frame of a side-by-side video each so many seconds of its own time."""
    from litestereo.runtime.stream.video_sources import videos

    reader = videos(path).open(time.monotonic)
    try:
        due_s = 0.0
        while (frame := reader.read()) is not None:
            stamp_s = frame.stamp_s or 0.0
            if stamp_s + 1e-6 < due_s:
                continue
            due_s = stamp_s + every_s
            left, right = rgb_pair(frame.left, frame.right)
            yield Candidate(f"{path.name} at {stamp_s:.2f} s", StereoPair(left, right))
    finally:
        reader.close()
