"""A calibration set on disk: a folder of PNG pairs, and `set.json` with their hashes.

The pictures are stored as they were read, before any scaling: one set serves every model and size.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from litestereo._version import __version__
from litestereo.calibration.options import MINIMUM_PAIRS
from litestereo.errors import CalibrationError, InputError
from litestereo.runtime.files import replacing
from litestereo.runtime.images import StereoPair, read_pair
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.reading import JSON_MOST_BYTES, json_from, read_file

__all__ = ["CalibrationSet", "StoredPair", "load_set", "pair_sha256", "require_free", "write_set"]

FORMAT_VERSION = 1
_LIST = "set.json"


@dataclass(frozen=True, slots=True)
class StoredPair:
    """One pair of a set.

    Attributes:
        name: where it came from.
        file: start of its two files' names.
        height: of its pictures, in pixels.
        width: likewise.
        sha256: of the left picture's bytes (RGB, row by row), then the right one's.
        held_out: kept from the ranges, to judge the result.
    """

    name: str
    file: str
    height: int
    width: int
    sha256: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """A set on disk.

    Attributes:
        folder: where it is.
        pairs: its pairs, most ordinary first.
        coverage: what it covers, as `Coverage.to_json` says it.
        sha256: of its pairs' hashes: what an artefact's manifest calls the set by.
    """

    folder: Path
    pairs: tuple[StoredPair, ...]
    coverage: Mapping[str, Any]
    sha256: str

    def part(self, *, held_out: bool) -> tuple[StoredPair, ...]:
        """Return the pairs that judge, or those that give the ranges.

        Args:
            held_out: True for those that judge.
        """
        return tuple(pair for pair in self.pairs if pair.held_out == held_out)

    def read(self, stored: StoredPair) -> StereoPair:
        """Return a pair's pictures.

        Args:
            stored: one of its pairs.

        Raises:
            CalibrationError: they are missing, damaged, or not those that were put there.
        """
        try:
            pair = read_pair(*_files(self.folder, stored.file))
        except InputError as error:
            raise CalibrationError(f"the calibration set is damaged: {error}; make it again") from (
                error
            )
        if pair_sha256(pair) != stored.sha256:
            raise CalibrationError(
                f"{_files(self.folder, stored.file)[0]} is not the picture that was calibrated "
                "with: its hash differs; make the set again with stereo-calibrate"
            )
        return pair


def require_free(folder: Path) -> None:
    """Refuse to write over anything.

    Args:
        folder: where a set is to be written.

    Raises:
        CalibrationError: something is there.
    """
    if folder.exists():
        raise CalibrationError(f"{folder} exists; choose another name with -o, or remove it")


def write_set(
    folder: Path,
    pairs: Iterable[tuple[str, StereoPair, bool]],
    *,
    coverage: Mapping[str, object],
    options: Mapping[str, object],
) -> CalibrationSet:
    """Write a set, whole or not at all, and return it.

    Args:
        folder: where it will be; must not exist.
        pairs: (name, pictures, held out) of each, most ordinary first.
        coverage: what it covers.
        options: how it was made.

    Raises:
        CalibrationError: the folder exists, or cannot be written.
    """
    require_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder, folder=True) as temporary:
            stored = tuple(_write_pair(temporary, index, *each) for index, each in enumerate(pairs))
            content = {
                "format_version": FORMAT_VERSION,
                "litestereo_version": __version__,
                "sha256": _set_sha256(stored),
                "options": dict(options),
                "coverage": dict(coverage),
                "pairs": [asdict(pair) for pair in stored],
            }
            (temporary / _LIST).write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise CalibrationError(
            f"cannot write {folder}: {error.strerror or error}; choose another place with -o"
        ) from error
    return CalibrationSet(folder, stored, coverage, _set_sha256(stored))


def load_set(folder: Path) -> CalibrationSet:
    """Open a set; its pictures are read, and checked, when they are needed.

    Args:
        folder: that `stereo-calibrate` wrote.

    Raises:
        CalibrationError: it is none, is of another format, or its list was changed.
    """
    path = folder / _LIST
    try:
        data = json_from(read_file(path, most_bytes=JSON_MOST_BYTES))
        if data["format_version"] != FORMAT_VERSION:
            raise CalibrationError(
                f"{path} has format {data['format_version']}, this litestereo reads "
                f"{FORMAT_VERSION}; make the set again with stereo-calibrate"
            )
        pairs = tuple(_stored(pair) for pair in data["pairs"])
        wanted, coverage = str(data["sha256"]), dict(data["coverage"])
    except InputError as error:
        raise CalibrationError(
            f"{folder} is no calibration set: {error}; make one with stereo-calibrate"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(
            f"{path} cannot be read ({error!r}); make the set again with stereo-calibrate"
        ) from error
    if _set_sha256(pairs) != wanted:
        raise CalibrationError(f"the list in {path} was changed: its hash differs; make it again")
    if len(pairs) < MINIMUM_PAIRS:
        raise CalibrationError(
            f"{folder} holds {len(pairs)} pairs; a set needs at least {MINIMUM_PAIRS}: make one "
            "with stereo-calibrate from more pictures"
        )
    return CalibrationSet(folder, pairs, coverage, wanted)


def pair_sha256(pair: StereoPair) -> str:
    """Return by what a set knows a pair; see `StoredPair`.

    Args:
        pair: the pictures, as they were read.
    """
    digest = hashlib.sha256(np.ascontiguousarray(pair.left).tobytes())
    digest.update(np.ascontiguousarray(pair.right).tobytes())
    return digest.hexdigest()


def _stored(fields: Mapping[str, Any]) -> StoredPair:
    """Return one pair of the list, whose files cannot be outside the set's folder.

    Raises:
        ValueError: a field is of a wrong type or value.
        TypeError: a field is missing or unknown.
    """
    pair = StoredPair(**fields)
    hints = {"name": str, "file": str, "height": int, "width": int, "sha256": str, "held_out": bool}
    wrong = [name for name, kind in hints.items() if type(getattr(pair, name)) is not kind]
    forms = {"file": r"[0-9]{4,9}", "sha256": r"[0-9a-f]{64}"}
    wrong = wrong or [n for n, form in forms.items() if not re.fullmatch(form, getattr(pair, n))]
    if wrong:
        raise ValueError(f"a pair has wrong fields: {', '.join(wrong)}")
    return pair


def _write_pair(
    folder: Path, index: int, name: str, pair: StereoPair, held_out: bool
) -> StoredPair:
    cv2 = import_cv2("writing a calibration set")
    file = f"{index:04d}"
    for path, image in zip(_files(folder, file), (pair.left, pair.right), strict=True):
        encoded, content = cv2.imencode(".png", image[..., ::-1])
        if not encoded:
            raise CalibrationError(
                f"{name} cannot be stored as PNG; leave it out, or convert it to 8-bit RGB"
            )
        path.write_bytes(content.tobytes())
    height, width = pair.left.shape[:2]
    return StoredPair(name, file, height, width, pair_sha256(pair), held_out)


def _files(folder: Path, file: str) -> tuple[Path, Path]:
    return folder / f"{file}_left.png", folder / f"{file}_right.png"


def _set_sha256(pairs: Iterable[StoredPair]) -> str:
    text = "\n".join(f"{pair.sha256} {pair.held_out}" for pair in pairs)
    return hashlib.sha256(text.encode()).hexdigest()
