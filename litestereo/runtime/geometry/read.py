"""Reading a calibration, whatever tool wrote it: the format is known by what is in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from litestereo.errors import InputError
from litestereo.runtime.geometry import text_formats, tree_formats
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.yaml_subset import yaml_documents
from litestereo.runtime.reading import read_file

__all__ = ["read_calibration", "read_calibration_files", "require_calibration_files"]

Size = tuple[int, int] | None


class _Reader(Protocol):
    def __call__(self, text: str, /, *, size: Size, baseline_m: float | None) -> Calibration:
        """Return the calibration in `text`."""


_LARGEST_BYTES = 1_000_000
# A file of one eye, or of one half of the parameters, and the one that it belongs with.
_PARTNERS = (("left", "right"), ("cam0", "cam1"), ("intrinsics", "extrinsics"))
_KNOWN = (
    "OpenCV YAML/XML, a pair of ROS camera_info, Kalibr camchain, Middlebury or KITTI calib.txt, "
    "K.txt with a baseline, or ZED .conf"
)


def read_calibration(
    paths: Path | str | Sequence[Path | str],
    *,
    size: tuple[int, int] | None = None,
    baseline_m: float | None = None,
) -> Calibration:
    """Return the calibration in one file, or in two that belong together.

    The partner of `left.yaml`, `cam0.yaml` or `intrinsics.yml` is found beside it.

    Args:
        paths: the file, or both files of a ROS or OpenCV pair.
        size: (height, width) of the pictures; the calibration is scaled to it. Needed for ZED.
        baseline_m: the baseline in metres, where the file has none or an unclear unit.

    Raises:
        InputError: unreadable, of no known format, not whole, or not a possible rig.

    Example:
        calibration = read_calibration("calib.txt", size=left.shape[:2])
    """
    return read_calibration_files(paths, size=size, baseline_m=baseline_m)[0]


def read_calibration_files(
    paths: Path | str | Sequence[Path | str],
    *,
    size: tuple[int, int] | None = None,
    baseline_m: float | None = None,
) -> tuple[Calibration, dict[Path, bytes]]:
    """Return what `read_calibration` does, and the content of every file that it is from.

    Args:
        paths: as there.
        size: as there.
        baseline_m: as there.

    Raises:
        InputError: as there.
    """
    given = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    require_calibration_files(given)
    contents: dict[Path, bytes] = {}
    try:
        calibration = _parsed(given, contents, size=size, baseline_m=baseline_m)
        return calibration if size is None else calibration.for_size(size), contents
    except InputError as error:
        names = ", ".join(str(path) for path in dict.fromkeys((*given, *contents)))
        raise InputError(f"calibration {names}: {error}") from error


def require_calibration_files(paths: Sequence[Path]) -> None:
    """Raise unless one or two files are there; they are not read.

    Args:
        paths: the file, or both files of a pair.

    Raises:
        InputError: none or too many are given, or one is not there.
    """
    if len(paths) not in (1, 2):
        raise InputError(f"got {len(paths)} calibration files; need one, or the two of a pair")
    for path in paths:
        if not os.path.lexists(path):
            raise InputError(
                f"calibration {path} is not there; check the path and give the file that your "
                f"stereo calibration wrote: {_KNOWN}"
            )


def _parsed(
    paths: list[Path], contents: dict[Path, bytes], *, size: Size, baseline_m: float | None
) -> Calibration:
    """Return the calibration in `paths`, and put what was read of them into `contents`."""
    texts = [_text(path, contents) for path in paths]
    readers = [_text_format(text) for text in texts]
    whole = [path for path, reader in zip(paths, readers, strict=True) if reader is not None]
    if whole and len(paths) > 1:
        raise InputError(f"{whole[0]} holds both eyes by itself; give it alone")
    reader = readers[0]
    if reader is not None:
        return reader(texts[0], size=size, baseline_m=baseline_m)
    trees = _trees(texts)
    if len(paths) == 1 and not _is_whole(trees):
        partner = _partner(paths[0])
        if partner is not None:
            trees += _trees([_text(partner, contents)])
    if any("cam0" in tree for tree in trees):
        return tree_formats.from_kalibr(trees, size=size, baseline_m=baseline_m)
    if any(_is_camera_info(tree) for tree in trees):
        return tree_formats.from_camera_infos(trees, size=size, baseline_m=baseline_m)
    return tree_formats.from_opencv(trees, size=size, baseline_m=baseline_m)


def _text_format(text: str) -> _Reader | None:
    """Return the reader of a plain-text format, or None for YAML and XML."""
    patterns: dict[str, _Reader] = {
        # Blanks of one line only: `\s` over line ends takes quadratic time on many empty lines.
        r"^[ \t]*\[(LEFT_CAM|STEREO)": text_formats.from_zed,
        r"^[ \t]*cam[01][ \t]*=[ \t]*\[": text_formats.from_middlebury,
        r"^[ \t]*P(\d|_rect_\d\d):\s*[-+\d]": text_formats.from_kitti,
        # Only numbers, and no "- 1" of a YAML list.
        r"\A(?![\s\S]*^[ \t]*-\s)[-+.\deE\s,;]+\Z": text_formats.from_k_txt,
    }
    found = (reader for p, reader in patterns.items() if re.search(p, text, flags=re.MULTILINE))
    return next(found, None)


def _trees(texts: Sequence[str]) -> list[Mapping[str, Any]]:
    trees: list[Mapping[str, Any]] = []
    for text in texts:
        if text.lstrip("\ufeff \n\r\t").startswith("<"):
            trees.append(tree_formats.tree_from_xml(text))
        else:
            trees += [tree for tree in yaml_documents(text) if isinstance(tree, Mapping)]
    if not trees:
        raise InputError(f"this is no calibration that is known; need {_KNOWN}")
    return trees


def _is_camera_info(tree: Mapping[str, Any]) -> bool:
    echoed = {"k", "p"} <= {str(key).lower() for key in tree}
    return "projection_matrix" in tree or (echoed and "distortion_model" in tree)


def _is_whole(trees: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one file holds both eyes."""
    if any("cam0" in tree for tree in trees) or len(trees) > 1:
        return True
    keys = {str(key).lower() for key in trees[0]}
    return not _is_camera_info(trees[0]) and bool(keys & {"t", "p2", "trans", "translation"})


def _partner(path: Path) -> Path | None:
    for one, other in _PARTNERS:
        for here, there in ((one, other), (other, one)):
            partner = path.with_name(path.name.replace(here, there))
            if here in path.name and partner.is_file():
                return partner
    return None


def _text(path: Path, contents: dict[Path, bytes]) -> str:
    contents[path] = content = read_file(path, most_bytes=_LARGEST_BYTES)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; need {_KNOWN}") from error
    if not text.strip():
        raise InputError(f"{path} is empty; need {_KNOWN}")
    return text
