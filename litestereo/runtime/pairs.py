"""From what a user types to a list of pairs: files, folders, patterns, side-by-side pictures."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from litestereo.errors import InputError
from litestereo.runtime.images import (
    PICTURE_SUFFIXES,
    BitDepth,
    StereoPair,
    read_pair,
    read_side_by_side,
)

__all__ = ["PairSource", "find_pairs", "find_side_by_side"]


@dataclass(frozen=True, slots=True)
class PairSource:
    """Where one pair comes from.

    Attributes:
        name: what its output files are called; no two of a list are alike.
        left: the left picture, or the picture that holds both side by side.
        right: the right picture; None where `left` holds both.
        depth: that the 16-bit pictures of a list have in common.
    """

    name: str
    left: Path
    right: Path | None = None
    depth: BitDepth = field(default_factory=BitDepth, repr=False, compare=False)

    def read(self) -> StereoPair:
        """Return the pair; see `litestereo.runtime.images` for what is refused."""
        if self.right is None:
            return read_side_by_side(self.left, depth=self.depth)
        return read_pair(self.left, self.right, depth=self.depth)


def find_pairs(left: str, right: str) -> list[PairSource]:
    """Return the pairs of two files, two folders or two patterns, in natural order of their names.

    Args:
        left: file, folder or pattern of the left pictures.
        right: same of the right pictures.

    Raises:
        InputError: nothing is there, the counts differ, or the names say that a picture is missing.
    """
    lefts, rights = _pictures(left), _pictures(right)
    if len(lefts) != len(rights):
        raise InputError(
            f"{left} has {len(lefts)} pictures and {right} has {len(rights)}; "
            f"every left picture needs its right one{_missing(lefts, rights)}"
        )
    # Equal counts can still hide a gap on each side, which would pair strangers.
    shared = {path.name for path in lefts} & {path.name for path in rights}
    if shared and [path.name for path in lefts] != [path.name for path in rights]:
        raise InputError(
            f"{left} and {right} share some names but not all{_missing(lefts, rights)}; "
            "add or remove the pictures without partner"
        )
    _check_names(lefts, rights)
    names, depth = _unique_names(lefts), BitDepth()
    return [PairSource(*each, depth) for each in zip(names, lefts, rights, strict=True)]


def find_side_by_side(pictures: Sequence[str]) -> list[PairSource]:
    """Return the pairs of files, folders or patterns of side-by-side pictures.

    Args:
        pictures: files, folders or patterns.

    Raises:
        InputError: nothing is there.
    """
    paths = [path for each in pictures for path in _pictures(each)]
    names, depth = _unique_names(paths), BitDepth()
    return [PairSource(*each, None, depth) for each in zip(names, paths, strict=True)]


def _pictures(text: str) -> list[Path]:
    """Return the files that `text` (a file, a folder or a pattern) means."""
    path = Path(text)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES]
        if not found:
            raise InputError(f"{text} has no pictures; need {', '.join(sorted(PICTURE_SUFFIXES))}")
    elif glob.has_magic(text) and not path.exists():
        found = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]
        if not found:
            raise InputError(f"no file matches {text}; check the pattern and the folder")
    else:
        found = [path]
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _missing(lefts: Sequence[Path], rights: Sequence[Path]) -> str:
    """Return ": without partner ..." naming up to three, or nothing where no name is shared."""
    left_names, right_names = ({path.name for path in paths} for paths in (lefts, rights))
    alone = sorted(left_names ^ right_names)
    if not left_names & right_names or not alone:
        return ""
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    return f" (without partner: {', '.join(alone[:3])}{more})"


def _check_names(lefts: Sequence[Path], rights: Sequence[Path]) -> None:
    """Refuse strangers: what makes a right name of a left one must be the same for all pairs.

    So `left_0001` with `right_0001`, `3/im0` with `3/im1`, but not `left_0002` with `right_0003`.
    """
    changes = [_change(*each) for each in zip(_plain(lefts), _plain(rights), strict=True)]
    usual = min(changes, key=len)
    for left, right, change in zip(lefts, rights, changes, strict=True):
        if change != usual:
            raise InputError(
                f"{left} would be paired with {right}, and their names do not fit as those of the "
                "other pairs do; add or remove the pictures without partner, or give both pictures "
                "of a pair the same number"
            )


def _plain(paths: Sequence[Path]) -> list[str]:
    """Return the paths below the folder that all are in, without suffixes."""
    shared = len(Path(os.path.commonpath([path.parent for path in paths])).parts)
    return ["/".join((*path.parts[shared:-1], path.stem)) for path in paths]


def _change(left: str, right: str) -> tuple[object, ...]:
    """Return what differs: numbers and texts in place, or numbers that only one name has."""
    lefts, rights = (re.split(r"(\d+)", text) for text in (left, right))
    if len(lefts) != len(rights):
        fewer, more = sorted((parts[1::2] for parts in (lefts, rights)), key=len)
        return tuple((Counter(map(int, fewer)) - Counter(map(int, more))).elements())
    numbers = zip(map(int, lefts[1::2]), map(int, rights[1::2]), strict=True)
    texts = zip(lefts[::2], rights[::2], strict=True)
    both = (*numbers, *(_core(*pair) for pair in texts))
    return tuple(pair for pair in both if pair[0] != pair[1])


def _core(ours: str, theirs: str) -> tuple[str, str]:
    """Return two texts without what they begin and end with alike: l and r of a_l and a_r."""
    begin = _alike(ours, theirs)
    ours, theirs = ours[begin:], theirs[begin:]
    end = _alike(ours[::-1], theirs[::-1])
    return ours[: len(ours) - end], theirs[: len(theirs) - end]


def _alike(ours: str, theirs: str) -> int:
    """Return with how many letters both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs)))  # noqa: B905


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return file stems, with as many parent folders before them as make them all different."""
    depth = max((len(path.parts) for path in paths), default=1)
    for parts in range(1, depth + 1):
        names = ["_".join([*path.parts[-parts:-1], path.stem]) for path in paths]
        if len(set(names)) == len(names):
            return names
    seen: Counter[str] = Counter()
    numbered = []
    for path in paths:
        seen[path.stem] += 1
        numbered.append(f"{path.stem}_{seen[path.stem]}")
    return numbered
