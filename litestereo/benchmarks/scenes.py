"""One scene of a data set: where its files are, and how they are read when they are needed.

**Convention**: ground truth is (H, W) float32 in pixels of the left picture, NaN where unknown.
"""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError
from litestereo.runtime.decode import MAXIMUM_PIXELS, PICTURE_MOST_BYTES, decoded
from litestereo.runtime.disparity_io import read_pfm
from litestereo.runtime.images import read_pair
from litestereo.runtime.reading import read_file

__all__ = ["DisparityFile", "GroundTruth", "Scene", "VisibilityFile"]

_NPY = b"\x93NUMPY"
_NUMPY_MOST_BYTES = 8 * MAXIMUM_PIXELS + 2**20
# What zipfile and NumPy raise on damaged archives and headers.
_NUMPY_ERRORS = (
    *(ValueError, KeyError, IndexError, EOFError, OSError, TypeError, OverflowError),
    *(RuntimeError, NotImplementedError, MemoryError, SyntaxError, RecursionError),
    tokenize.TokenError,
)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is known about a scene.

    Attributes:
        disparity_px: (H, W) float32, NaN where unknown.
        visible: (H, W) bool, True where the right camera sees the point too; None if nobody says.
    """

    disparity_px: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_] | None

    @property
    def largest_px(self) -> float | None:
        """The largest known disparity; None where nothing is known."""
        known = np.isfinite(self.disparity_px)
        return float(self.disparity_px[known].max()) if known.any() else None


@dataclass(frozen=True, slots=True)
class DisparityFile:
    """A disparity map on disk: PFM, NPZ, NPY, or a picture of stored value = disparity x `scale`.

    Attributes:
        path: the file.
        scale: what the stored values are divided by.
        key: name of the array in an NPZ; None takes the first.
        zero_known: 0 is a disparity, that of the sky, and negative ones count as 0; data sets
            store 0 where nothing is known.
    """

    path: Path
    scale: float = 1.0
    key: str | None = None
    zero_known: bool = False

    def read(self) -> npt.NDArray[np.float32]:
        """Return (H, W) float32 pixels, NaN where the file says unknown (NaN, infinite, mostly 0).

        SceneFlow and some PFM writers store negative disparities, so their size counts, unless
        `zero_known`.

        Raises:
            InputError: the file is missing or is no disparity map.
        """
        stored = self._stored()
        if stored.ndim != 2:
            raise InputError(f"{self.path} has shape {stored.shape}; a disparity map is (H, W)")
        disparity_px: npt.NDArray[np.float32]
        with np.errstate(all="ignore"):  # what overflows or is no number is unknown, see below
            disparity_px = stored.astype(np.float32) / np.float32(self.scale)
        disparity_px = np.maximum(disparity_px, 0) if self.zero_known else np.abs(disparity_px)
        known = np.isfinite(disparity_px) & (self.zero_known | (disparity_px > 0))
        disparity_px[~known] = np.nan
        return disparity_px

    def _stored(self) -> npt.NDArray[Any]:
        suffix = self.path.suffix.lower()
        if suffix == ".pfm":
            return read_pfm(self.path)
        if suffix in (".npz", ".npy"):
            return _read_numpy(self.path, self.key)
        return _read_picture(self.path)


@dataclass(frozen=True, slots=True)
class VisibilityFile:
    """A file that says which pixels the right camera sees too.

    Attributes:
        path: the file.
        kind: "mask" is a picture with 255 where visible (Middlebury, ETH3D); "disparity" is a map
            with a value only where visible (KITTI's `disp_noc`).
    """

    path: Path
    kind: Literal["mask", "disparity"] = "mask"

    def read(self) -> npt.NDArray[np.bool_]:
        """Return (H, W) bool, True where visible.

        Raises:
            InputError: the file is missing or is no picture.
        """
        stored = _read_picture(self.path)
        return stored == 255 if self.kind == "mask" else stored > 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A stereo pair, with ground truth where the data set has it; nothing is read before asked.

    Attributes:
        name: name within its set.
        set: name of the data set, such as "kitti2015".
        left: left picture.
        right: right picture.
        truth: ground truth of the left view; None in test sets.
        visibility: which pixels are not occluded; None if unknown.
    """

    name: str
    set: str
    left: Path
    right: Path
    truth: DisparityFile | None = None
    visibility: VisibilityFile | None = None

    @property
    def key(self) -> str:
        """Set and name: what tables, files and JSON call the scene."""
        return f"{self.set}/{self.name}"

    def load_pair(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the left and right picture, (H, W, 3) uint8 RGB each.

        Raises:
            InputError: a picture cannot be read, or the two differ in size.
        """
        pair = read_pair(self.left, self.right)
        return pair.left, pair.right

    def load_truth(self) -> GroundTruth | None:
        """Return the ground truth, or None where the scene has none.

        Raises:
            InputError: a file cannot be read, or mask and truth differ in size.
        """
        if self.truth is None:
            return None
        disparity_px = self.truth.read()
        visible = self.visibility.read() if self.visibility else None
        if visible is not None and visible.shape != disparity_px.shape:
            raise InputError(
                f"mask is {visible.shape[0]}x{visible.shape[1]} but the ground truth is "
                f"{disparity_px.shape[0]}x{disparity_px.shape[1]}; both need one size"
            )
        return GroundTruth(disparity_px, visible)


def _read_numpy(path: Path, key: str | None) -> npt.NDArray[Any]:
    """Return a real array of an NPY or NPZ, whose header is believed only as far as its file goes.

    Raises:
        InputError: it is damaged, of objects or records, or claims more than a picture's pixels.
    """
    content = read_file(path, most_bytes=_NUMPY_MOST_BYTES)
    try:
        member = content if content.startswith(_NPY) else _npz_member(content, key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files by Python 2, which are read
            stored = np.load(io.BytesIO(member), allow_pickle=False)
    except (*_NUMPY_ERRORS, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"cannot read {path} as a numpy array: {error!r}; save it again with numpy.save"
        ) from error
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "biuf":
        raise InputError(f"{path} holds no array of real numbers; need (H, W) disparity")
    return stored


def _npz_member(content: bytes, key: str | None) -> bytes:
    """Return one NPY of an NPZ; what would unpack to more than a picture is not unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = archive.namelist()[0] if key is None else f"{key}.npy"
        with archive.open(name) as member:
            unpacked = member.read(_NUMPY_MOST_BYTES + 1)
    if len(unpacked) > _NUMPY_MOST_BYTES or not unpacked.startswith(_NPY):
        raise ValueError(f"{name} is no NPY of at most {_NUMPY_MOST_BYTES} bytes")
    return unpacked


def _read_picture(path: Path) -> npt.NDArray[Any]:
    """Return (H, W) stored values, 8 or 16 bit; of a map saved as RGB the first channel."""
    content = read_file(path, most_bytes=PICTURE_MOST_BYTES)
    picture = decoded(path, content, purpose="reading ground truth")
    return picture if picture.ndim == 2 else picture[..., 0]
