"""One scene of a data set: where its files are, and how they are read when they are needed.

**Convention**: ground truth is (H, W) float32 in pixels of the left picture, NaN where unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from litestereo.errors import InputError
from litestereo.runtime.disparity_io import read_pfm
from litestereo.runtime.images import read_pair
from litestereo.runtime.opencv import import_cv2

__all__ = ["DisparityFile", "GroundTruth", "Scene", "VisibilityFile"]


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
    """

    path: Path
    scale: float = 1.0
    key: str | None = None

    def read(self) -> npt.NDArray[np.float32]:
        """Return (H, W) float32 pixels, NaN where the file says unknown (0, NaN or infinite).

        SceneFlow and some PFM writers store negative disparities, so their size counts.

        Raises:
            InputError: the file is missing or is no disparity map.
        """
        stored = self._stored()
        if stored.ndim != 2:
            raise InputError(f"{self.path} has shape {stored.shape}; a disparity map is (H, W)")
        disparity_px: npt.NDArray[np.float32]
        disparity_px = np.abs(stored.astype(np.float32)) / np.float32(self.scale)
        disparity_px[~(np.isfinite(disparity_px) & (disparity_px > 0))] = np.nan
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
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return np.asarray(loaded[key or loaded.files[0]])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"cannot read {path} as a numpy array: {error}") from error


def _read_picture(path: Path) -> npt.NDArray[Any]:
    """Return (H, W) stored values, 8 or 16 bit; of a map saved as RGB the first channel."""
    cv2 = import_cv2("reading ground truth")
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error as error:
        raise InputError(f"{path} cannot be decoded: {' '.join(str(error).split())}") from error
    if picture is None:
        raise InputError(f"{path} is damaged or no picture that OpenCV reads; need PNG or PGM")
    return np.asarray(picture if picture.ndim == 2 else picture[..., 0])
