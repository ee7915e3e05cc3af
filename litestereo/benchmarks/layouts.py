"""The layouts of stereo data sets on disk, one recogniser each.

A recogniser looks at one folder's listing and yields the scenes that start there. What marks a
layout (files of a scene, or side-by-side folders of a set) is said in each docstring, after the
archives' own structure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from litestereo.benchmarks.scenes import DisparityFile, Scene, VisibilityFile
from litestereo.errors import InputError
from litestereo.runtime.reading import JSON_MOST_BYTES, json_from, read_file

__all__ = ["LAYOUTS", "Folder", "Recogniser"]

_KITTI_SCALE = 256.0
_NAMES_2003 = ("cones", "teddy")
_NAMES_2005 = ("art", "books", "dolls", "laundry", "moebius", "reindeer")
_NAMES_2021 = (
    "artroom", "bandsaw", "chess", "curule", "ladder", "octogons",
    "pendulum", "podium", "skates", "skiboots", "traproom",
)  # fmt: skip
# Pictures of 2005 and 2006 are 1110 rows high at full size; half and third sizes store the
# disparity divided likewise, in whole grey levels of the full size.
_HEIGHT_2006 = 1110
_WIDTH_2003 = 1800


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder's listing.

    Attributes:
        path: the folder.
        folders: names of the folders in it.
        files: names of the files in it.
        forced: the layout was asked for by name: accept what its marks alone leave open.
    """

    path: Path
    folders: frozenset[str]
    files: frozenset[str]
    forced: bool = False

    def first(self, *names: str) -> Path | None:
        """Return the path of the first of `names` that is a file here.

        Args:
            names: file names, the preferred one first.
        """
        return next((self.path / name for name in names if name in self.files), None)


Recogniser = Callable[[Folder], Iterator[Scene]]


def _meta(folder: Folder) -> Iterator[Scene]:
    """A scene folder with `meta.json`: "set", "scene", "files" (left, right, gt), "gt_encoding".

    `gt_encoding.kind` is "pfm", "npz" (with "key") or a picture with "scale" = stored value per
    pixel. Visible pixels: `nocc.png` == 255, or else `disp_noc.png` > 0. A `meta.json` with neither
    "files" nor "gt_encoding" is somebody's note on something else.
    """
    if "meta.json" not in folder.files:
        return
    path = folder.path / "meta.json"
    try:
        meta = json_from(read_file(path, most_bytes=JSON_MOST_BYTES))
        if isinstance(meta, dict) and not {"files", "gt_encoding"} & meta.keys():
            return
        files, encoding = meta["files"], meta.get("gt_encoding") or {}
        truth = _meta_truth(folder.path, files, encoding)
        left, right = (_inside(folder.path, files[name]) for name in ("left", "right"))
        name = _word(meta.get("scene", folder.path.name))
        set_name = _word(meta.get("set", folder.path.parent.name))
    except (InputError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not describe a scene ({type(error).__name__}: {error}); it needs "
            '"files" with "left", "right" and "gt", and "gt_encoding" with "kind" and "scale"'
        ) from error
    yield Scene(name, set_name, left, right, truth, _meta_visibility(folder))


def _meta_truth(
    root: Path, files: Mapping[str, str], encoding: Mapping[str, Any]
) -> DisparityFile | None:
    if files.get("gt") is None:
        return None
    # Float files hold pixels; only pictures need a scale to hold fractions.
    scale = 1.0 if encoding["kind"] in ("pfm", "npz") else float(encoding.get("scale") or 1)
    if not 0 < scale < math.inf:
        raise ValueError(f"the scale is {scale}; it must be above 0")
    key = encoding.get("key")
    return DisparityFile(_inside(root, files["gt"]), scale, None if key is None else _word(key))


def _inside(root: Path, name: str) -> Path:
    """Return a file of the scene; a data set has no business with files elsewhere.

    Raises:
        ValueError: the name leads out of the folder.
    """
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the file {name!r} is not inside the scene's folder")
    return root / name


def _word(text: object) -> str:
    """Return a name that is part of keys and of output files' names.

    Raises:
        ValueError: it is none, or would be a path.
    """
    if not isinstance(text, str) or not text or "/" in text or "\0" in text or text in (".", ".."):
        raise ValueError(f"{text!r} is no name")
    return text


def _meta_visibility(folder: Folder) -> VisibilityFile | None:
    if mask := folder.first("nocc.png"):
        return VisibilityFile(mask)
    if disparity := folder.first("disp_noc.png"):
        return VisibilityFile(disparity, "disparity")
    return None


def _kitti2012(folder: Folder) -> Iterator[Scene]:
    """KITTI 2012 `training/`: `colored_0|image_0`, `colored_1|image_1`, `disp_occ`, `disp_noc`."""
    if "disp_occ" not in folder.folders and "disp_noc" not in folder.folders:
        return
    for left, right in (("colored_0", "colored_1"), ("image_0", "image_1")):
        if left in folder.folders:
            yield from _kitti(folder, "kitti2012", (left, right), ("disp_occ", "disp_noc"))
            return


def _kitti2015(folder: Folder) -> Iterator[Scene]:
    """KITTI 2015 `training/`: `image_2`, `image_3`, `disp_occ_0`, `disp_noc_0`."""
    if "image_2" in folder.folders and folder.folders & {"disp_occ_0", "disp_noc_0"}:
        names = ("disp_occ_0", "disp_noc_0")
        yield from _kitti(folder, "kitti2015", ("image_2", "image_3"), names)


def _kitti(
    folder: Folder, set_name: str, views: tuple[str, str], truths: tuple[str, str]
) -> Iterator[Scene]:
    """Yield the first frame (`_10`) of every pair: the only one with ground truth."""
    known, visible = truths
    only = known if known in folder.folders else visible
    for truth in sorted((folder.path / only).glob("*_10.png")):
        noc = folder.path / visible / truth.name
        yield Scene(
            truth.stem.removesuffix("_10"),
            set_name,
            folder.path / views[0] / truth.name,
            folder.path / views[1] / truth.name,
            DisparityFile(truth, _KITTI_SCALE),
            VisibilityFile(noc, "disparity") if visible in folder.folders else None,
        )


def _driving_stereo(folder: Folder) -> Iterator[Scene]:
    """DrivingStereo: `left-image-*`, `right-image-*`, `disparity-map-*` (also `test-...`) folders.

    Uint16 pictures: the disparity times 256 at half size, times 128 at full size, which are two
    sets. The archives unpack into further folders (sequences, or the same name again), alike in
    all three.
    """
    for name in sorted(folder.folders):
        left = name.replace("disparity-map", "left-image")
        if left == name or left not in folder.folders:
            continue
        split = name.split("disparity-map")[0].rstrip("-") or folder.path.name
        for truth in sorted((folder.path / name).rglob("*.png")):
            inner = truth.relative_to(folder.path)
            steps = [step for step in inner.parts[1:-1] if "disparity-map" not in step]
            full_size = any("full-size" in step for step in inner.parts)
            yield Scene(
                "/".join((split, *steps, truth.stem)),
                "drivingstereo-full" if full_size else "drivingstereo",
                _driving_view(folder.path, inner, "left"),
                _driving_view(folder.path, inner, "right"),
                DisparityFile(truth, 128.0 if full_size else 256.0),
            )


def _driving_view(root: Path, truth: Path, side: str) -> Path:
    """Return the picture that belongs to a disparity map; they are JPEG or PNG by archive."""
    picture = root / str(truth).replace("disparity-map", f"{side}-image")
    as_jpeg = picture.with_suffix(".jpg")
    return as_jpeg if as_jpeg.exists() else picture


def _scene_flow(folder: Folder) -> Iterator[Scene]:
    """SceneFlow: `frames_cleanpass|frames_finalpass/**/left|right`, `disparity/**/left/*.pfm`.

    The FlyingThings3D subset calls them `image_clean` and `image_final`, each under `train` or
    `val`. Cleanpass and finalpass are two sets.
    """
    if "disparity" not in folder.folders:
        return
    passes = (
        ("frames_cleanpass", "sceneflow-cleanpass"),
        ("frames_finalpass", "sceneflow-finalpass"),
        ("image_clean", "sceneflow-cleanpass"),
        ("image_final", "sceneflow-finalpass"),
    )
    for frames, set_name in passes:
        if frames not in folder.folders:
            continue
        for left in sorted((folder.path / frames).rglob("left/*.*")):
            if left.suffix not in (".png", ".webp"):
                continue
            inner = left.relative_to(folder.path / frames)
            right = left.parent.parent / "right" / left.name
            truth = (folder.path / "disparity" / inner).with_suffix(".pfm")
            name = (inner.parent.parent / left.stem).as_posix()
            yield Scene(name, set_name, left, right, DisparityFile(truth))


def _middeval3(folder: Folder) -> Iterator[Scene]:
    """MiddEval3 `trainingQ|H|F/<scene>/`: `im0.png`, `im1.png`, `disp0GT.pfm`, `mask0nocc.png`.

    Q and H are scored at the stored size, not the leaderboard's, which is full size (F).
    """
    if _is_two_view(folder) and not _is_eth3d(folder):
        size = re.fullmatch(r"training([QHF])", folder.path.parent.name)
        yield _two_view(folder, f"middeval3-{size[1]}" if size else "middeval3", folder.path)


def _eth3d(folder: Folder) -> Iterator[Scene]:
    """ETH3D two-view `<scene>_<n>l|s/`: as MiddEval3; the truth may be in `<parent>_gt/<scene>`."""
    if {"im0.png", "im1.png"} <= folder.files and _is_eth3d(folder):
        beside = folder.path.parent.with_name(folder.path.parent.name + "_gt") / folder.path.name
        home = folder.path if "disp0GT.pfm" in folder.files else beside
        if (home / "disp0GT.pfm").exists() or folder.forced:
            yield _two_view(folder, "eth3d", home)


def _is_two_view(folder: Folder) -> bool:
    return {"im0.png", "im1.png", "disp0GT.pfm"} <= folder.files


def _is_eth3d(folder: Folder) -> bool:
    """Say whether the scene's name ends as all of ETH3D's do: number, then l or s."""
    return re.search(r"_\d+[ls]$", folder.path.name) is not None


def _two_view(folder: Folder, set_name: str, home: Path) -> Scene:
    """Return a scene of Middlebury's SDK form, its truth in `home`."""
    mask = home / "mask0nocc.png"
    return Scene(
        folder.path.name,
        set_name,
        folder.path / "im0.png",
        folder.path / "im1.png",
        DisparityFile(home / "disp0GT.pfm"),
        VisibilityFile(mask) if mask.exists() else None,
    )


def _middlebury2014(folder: Folder) -> Iterator[Scene]:
    """Middlebury 2014 and 2021 `<scene>/`: `im0.png`, `im1.png`, `disp0.pfm`, `calib.txt`."""
    if {"im0.png", "im1.png", "disp0.pfm"} <= folder.files and not _is_two_view(folder):
        newer = re.fullmatch(rf"({'|'.join(_NAMES_2021)})\d", folder.path.name.lower())
        left, right = folder.path / "im0.png", folder.path / "im1.png"
        truth = DisparityFile(folder.path / "disp0.pfm")
        set_name = "middlebury2021" if newer else "middlebury2014"
        yield Scene(folder.path.name, set_name, left, right, truth)


def _middlebury2006(folder: Folder) -> Iterator[Scene]:
    """Middlebury 2005 and 2006 `<scene>/`: `disp1.png`, `view1.png`, `view5.png`.

    The archives with all lightings have the views in `Illum<n>/Exp<n>/`; the middle ones are
    taken. Stored values are disparities at full size: divided by 1, 2 or 3 at that size.
    """
    if "disp1.png" not in folder.files:
        return
    homes = (folder.path, folder.path / "Illum2" / "Exp1", folder.path / "Illum1" / "Exp0")
    home = next((home for home in homes if (home / "view1.png").exists()), None)
    if home is None:
        return
    name = folder.path.name
    set_name = "middlebury2005" if name.lower() in _NAMES_2005 else "middlebury2006"
    truth = folder.path / "disp1.png"
    scale = _size_divisor(truth, side=0, full=_HEIGHT_2006)
    yield Scene(name, set_name, home / "view1.png", home / "view5.png", DisparityFile(truth, scale))


def _middlebury2003(folder: Folder) -> Iterator[Scene]:
    """Middlebury 2003 `cones|teddy[QHF]/`: `im2`, `im6`, `disp2` (PNG, or PPM and PGM).

    Stored values are disparities at full size, 1800 columns: divided by 4 at quarter size.
    """
    if re.match("|".join(_NAMES_2003), folder.path.name.lower()) or folder.forced:
        truth = folder.first("disp2.png", "disp2.pgm")
        if truth is not None:
            scale = _size_divisor(truth, side=1, full=_WIDTH_2003)
            yield from _views(folder, "middlebury2003", ("im2", "im6"), DisparityFile(truth, scale))


def _middlebury2001(folder: Folder) -> Iterator[Scene]:
    """Middlebury 2001 `<scene>/`: `im2|im6.ppm`, `disp2.pgm` of 8 x disparity, and two others.

    `map` has `im0`, `im1` and `disp0`; `tsukuba` has `scene1.row3.col3|4.ppm` with
    `truedisp.row3.col3.pgm`, or `imL`, `imR` and `groundtruth.png`, of 16 x disparity.
    """
    if re.match("|".join(_NAMES_2003), folder.path.name.lower()) and not folder.forced:
        return
    forms = (
        (("im2", "im6"), ("disp2.pgm", "disp2.png"), 8.0),
        (("im0", "im1"), ("disp0.pgm", "disp0.png"), 8.0),
        (("scene1.row3.col3", "scene1.row3.col4"), ("truedisp.row3.col3.pgm",), 16.0),
        (("imL", "imR"), ("groundtruth.png", "groundtruth.pgm"), 16.0),
    )
    for views, names, scale in forms:
        truth = folder.first(*names)
        if truth is not None:
            yield from _views(folder, "middlebury2001", views, DisparityFile(truth, scale))
            return


def _views(
    folder: Folder, set_name: str, stems: tuple[str, str], truth: DisparityFile
) -> Iterator[Scene]:
    """Yield the scene of a folder whose two views have `stems` as names, if the left is there."""
    for suffix in (".png", ".ppm", ".pgm"):
        if stems[0] + suffix in folder.files:
            left, right = (folder.path / (stem + suffix) for stem in stems)
            yield Scene(folder.path.name, set_name, left, right, truth, _meta_visibility(folder))
            return


def _size_divisor(path: Path, *, side: int, full: int) -> float:
    """Return by how much a map is smaller than the data set's full size, a whole number."""
    size = DisparityFile(path).read().shape
    divisor = round(full / size[side])
    if not 1 <= divisor <= 4:
        raise InputError(
            f"{path} is {size[0]}x{size[1]}; its scale follows from its size, and this is none of "
            f"the data set's: need {full} pixels in {'height' if side == 0 else 'width'}, or that "
            "over 2, 3 or 4. Describe a resized scene with a meta.json"
        )
    return float(divisor)


LAYOUTS: Mapping[str, Recogniser] = MappingProxyType(
    {
        "meta": _meta,
        "middlebury2001": _middlebury2001,
        "middlebury2003": _middlebury2003,
        "middlebury2005": _middlebury2006,
        "middlebury2006": _middlebury2006,
        "middlebury2014": _middlebury2014,
        "middlebury2021": _middlebury2014,
        "middeval3": _middeval3,
        "kitti2012": _kitti2012,
        "kitti2015": _kitti2015,
        "eth3d": _eth3d,
        "sceneflow": _scene_flow,
        "drivingstereo": _driving_stereo,
    }
)
