"""Tiny data sets on disk in the layouts of the real ones, with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from litestereo.runtime.disparity_io import write_pfm

SIZE = (37, 64)
DISPARITY_PX = 6.0
UNKNOWN_ROWS = 4  # the first rows have no ground truth
OCCLUDED_COLUMNS = 8  # the next ones after these are visible


def views(size=SIZE, *, shift=int(DISPARITY_PX)):
    """Return a left and right (H, W, 3) uint8 RGB picture of one fronto-parallel texture."""
    height, width = size
    noise = np.random.default_rng(3).integers(0, 256, (height, width + shift, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (3, 3), 0)
    return texture[:, :width], texture[:, shift:]


def truth(size=SIZE, *, value=DISPARITY_PX, unknown=0.0):
    """Return (H, W) float32 ground truth, `unknown` in the first rows."""
    disparity = np.full(size, value, np.float32)
    disparity[:UNKNOWN_ROWS] = unknown
    return disparity


def mask(size=SIZE):
    """Return Middlebury's mask: 255 visible, 128 occluded, 0 unknown."""
    picture = np.full(size, 255, np.uint8)
    picture[:, :OCCLUDED_COLUMNS] = 128
    picture[:UNKNOWN_ROWS] = 0
    return picture


def save(path: Path, image: np.ndarray) -> Path:
    """Write a picture (RGB, grey, 8 or 16 bit), making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(
        str(path), np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    )
    return path


def save_pair(left: Path, right: Path, *, size=SIZE) -> None:
    for path, image in zip((left, right), views(size), strict=True):
        save(path, image)


def save_counts(path: Path, scale: float, *, dtype=np.uint8, disparity=None) -> Path:
    """Write ground truth as whole numbers of disparity times `scale`."""
    disparity = truth() if disparity is None else disparity
    return save(path, np.rint(disparity * scale).astype(dtype))


def meta(root: Path, *, name="room", set_name="home") -> Path:
    folder = root / set_name / name
    save_pair(folder / "left.png", folder / "right.png")
    save_counts(folder / "disp.png", 4)
    content = {
        "set": set_name,
        "scene": name,
        "files": {"left": "left.png", "right": "right.png", "gt": "disp.png"},
        "gt_encoding": {"kind": "png8", "scale": 4, "invalid": 0},
    }
    (folder / "meta.json").write_text(json.dumps(content))
    return folder


def middlebury2001(root: Path) -> Path:
    folder = root / "venus"
    save_pair(folder / "im2.ppm", folder / "im6.ppm")
    save_counts(folder / "disp2.pgm", 8)
    return root


def middlebury2001_tsukuba(root: Path) -> Path:
    folder = root / "tsukuba"
    save_pair(folder / "scene1.row3.col3.ppm", folder / "scene1.row3.col4.ppm")
    save_counts(folder / "truedisp.row3.col3.pgm", 16)
    return root


def middlebury2003(root: Path) -> Path:
    folder, size = root / "conesQ", (37, 450)
    save_pair(folder / "im2.png", folder / "im6.png", size=size)
    save_counts(folder / "disp2.png", 4, disparity=truth(size))
    return root


def _middlebury2006(root: Path, name: str, home: str) -> Path:
    folder, size = root / name, (370, 50)
    save_pair(folder / home / "view1.png", folder / home / "view5.png", size=size)
    save_counts(folder / "disp1.png", 3, disparity=truth(size))
    return root


def middlebury2005(root: Path) -> Path:
    return _middlebury2006(root, "Dolls", "Illum2/Exp1")


def middlebury2006(root: Path) -> Path:
    return _middlebury2006(root, "Aloe", ".")


def _two_view(folder: Path, name: str, *, home: Path | None = None, with_mask=True) -> None:
    save_pair(folder / "im0.png", folder / "im1.png")
    home = home or folder
    home.mkdir(parents=True, exist_ok=True)
    write_pfm(home / name, truth(unknown=np.inf))
    if with_mask:
        save(home / "mask0nocc.png", mask())


def middlebury2014(root: Path) -> Path:
    _two_view(root / "Piano-perfect", "disp0.pfm", with_mask=False)
    return root


def middlebury2021(root: Path) -> Path:
    _two_view(root / "chess2", "disp0.pfm", with_mask=False)
    return root


def middeval3(root: Path) -> Path:
    _two_view(root / "trainingH" / "PianoL", "disp0GT.pfm")
    save_pair(root / "testH" / "Hoops" / "im0.png", root / "testH" / "Hoops" / "im1.png")
    return root


def eth3d(root: Path) -> Path:
    _two_view(root / "two_view_training" / "delivery_area_1l", "disp0GT.pfm")
    return root


def eth3d_apart(root: Path) -> Path:
    name = "playground_3s"
    home = root / "two_view_training_gt" / name
    _two_view(root / "two_view_training" / name, "disp0GT.pfm", home=home)
    return root


def _kitti(root: Path, left: str, right: str, occ: str, noc: str) -> Path:
    home = root / "training"
    for frame in ("10", "11"):  # the second frame has no ground truth
        save_pair(home / left / f"000007_{frame}.png", home / right / f"000007_{frame}.png")
    save_counts(home / occ / "000007_10.png", 256, dtype=np.uint16)
    visible = np.where(mask() == 255, truth(), 0)
    save_counts(home / noc / "000007_10.png", 256, dtype=np.uint16, disparity=visible)
    return root


def kitti2012(root: Path) -> Path:
    return _kitti(root, "colored_0", "colored_1", "disp_occ", "disp_noc")


def kitti2012_grey(root: Path) -> Path:
    return _kitti(root, "image_0", "image_1", "disp_occ", "disp_noc")


def kitti2015(root: Path) -> Path:
    return _kitti(root, "image_2", "image_3", "disp_occ_0", "disp_noc_0")


def sceneflow(root: Path) -> Path:
    inner = Path("TEST/A/0003")
    for frames in ("frames_cleanpass", "frames_finalpass"):
        home = root / frames / inner
        save_pair(home / "left" / "0006.png", home / "right" / "0006.png")
    target = root / "disparity" / inner / "left" / "0006.pfm"
    write_pfm(target, -truth())  # FlyingThings3D's sign
    return root


def drivingstereo(root: Path) -> Path:
    home = root / "sunny"
    save_pair(home / "left-image-half-size" / "a.jpg", home / "right-image-half-size" / "a.jpg")
    save_counts(home / "disparity-map-half-size" / "a.png", 256, dtype=np.uint16)
    return root


def drivingstereo_nested(root: Path) -> Path:
    for kind in ("left-image", "right-image", "disparity-map"):
        folder = root / f"{kind}-half-size" / "foggy" / f"{kind}-half-size"
        if kind == "disparity-map":
            save_counts(folder / "a.png", 256, dtype=np.uint16)
        else:
            save(folder / "a.png", views()[kind == "right-image"])
    return root


def drivingstereo_full(root: Path) -> Path:
    inner = "2018-07-11"
    for side in ("left", "right"):
        folder = root / f"test-{side}-image" / f"{side}-image-full-size" / inner
        save(folder / "a.png", views()[side == "right"])
    folder = root / "test-disparity-map" / "disparity-map-full-size" / inner
    save_counts(folder / "a.png", 128, dtype=np.uint16)
    return root
