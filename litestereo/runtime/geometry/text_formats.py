"""Calibrations in plain text: Middlebury, KITTI, K.txt and ZED's .conf."""

from __future__ import annotations

import configparser
import math
import re

import numpy as np

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import (
    Calibration,
    Eye,
    GivenRectification,
    rotation_matrix,
)
from litestereo.runtime.geometry.fields import (
    eye_from_matrix,
    flat_rotation,
    lens,
    numbers,
    raw_rig,
    rectified_rig,
    rotation_from,
    rotation_from_vector,
    size_from,
)

__all__ = ["from_k_txt", "from_kitti", "from_middlebury", "from_zed"]

Size = tuple[int, int] | None

# (height, width) of the modes in a ZED's file; a mode that is not here needs no entry to be
# refused with the names of those that are.
_ZED_SIZES = {
    "2K": (1242, 2208),
    "FHD": (1080, 1920),
    "FHD1200": (1200, 1920),
    "HD": (720, 1280),
    "SVGA": (600, 960),
    "VGA": (376, 672),
}


def from_middlebury(text: str, *, size: Size, baseline_m: float | None) -> Calibration:
    """Return a Middlebury calib.txt (2014, 2021 and evaluation v3): rectified, in millimetres.

    Args:
        text: the file's content.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: it is not whole, or its numbers contradict each other.
    """
    fields = _fields(text, "=")
    missing = {"cam0", "cam1", "baseline"} - set(fields)
    if missing:
        raise InputError(
            f"calib.txt has no {', '.join(sorted(missing))}; need cam0, cam1, baseline"
        )
    left, right = (
        eye_from_matrix(_floats(fields[name].strip("[]")), what=name) for name in ("cam0", "cam1")
    )
    values = {
        name: _float(fields[name], what=name)
        for name in ("doffs", "baseline", "width", "height")
        if name in fields
    }
    doffs = values.get("doffs", right.cx_px - left.cx_px)
    if not abs(doffs - (right.cx_px - left.cx_px)) <= 0.01:
        raise InputError(
            f"doffs is {doffs:g} and cx of cam1 less cam0 {right.cx_px - left.cx_px:g}; they must "
            "agree: the file was edited or scaled by halves"
        )
    own_size = None
    if "width" in values and "height" in values:
        own_size = size_from(values["width"], values["height"], what="the size")
    return rectified_rig(
        left,
        right,
        baseline=values["baseline"],
        unit="mm",
        source="Middlebury",
        size=own_size,
        baseline_m=baseline_m,
    )


def from_kitti(text: str, *, size: Size, baseline_m: float | None) -> Calibration:
    """Return KITTI's calib.txt (P0..P3) or calib_cam_to_cam.txt (raw data), in metres.

    The colour cameras 2 and 3 are taken where they are there, else the grey ones 0 and 1. Of a
    calib_cam_to_cam.txt the rectified part is taken, unless `size` is that of the raw pictures.

    Args:
        text: the file's content.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: a camera of the pair is missing, or a number is none.
    """
    fields = {
        key: _floats(rest)
        for key, rest in _fields(text, ":").items()
        if re.fullmatch(r"[-+.\deE\s]*", rest)
    }
    pattern = "P_rect_0{}" if any(key.startswith("P_rect_") for key in fields) else "P{}"
    cameras = next(
        (
            pair
            for pair in ((2, 3), (0, 1))
            if all(any(fields.get(pattern.format(camera), ())) for camera in pair)
        ),
        None,
    )
    if cameras is None:
        raise InputError("KITTI's file has neither P2 and P3 nor P0 and P1; need both of a pair")
    projections = [
        numbers(fields[pattern.format(camera)], what=pattern.format(camera), counts=(12,))
        for camera in cameras
    ]
    eyes = [eye_from_matrix(projection, what="P") for projection in projections]
    baseline = (projections[0][3] - projections[1][3]) / eyes[0].fx_px
    rect_size, raw_size = (_kitti_size(fields, f"{name}_0{cameras[0]}") for name in ("S_rect", "S"))
    if size is not None and size == raw_size != rect_size:
        return _kitti_raw(fields, cameras, eyes, rect_size, raw_size, baseline_m)
    return rectified_rig(
        *eyes,
        baseline=baseline,
        unit="m",
        source="KITTI",
        size=rect_size,
        notes=(f"KITTI cameras {cameras[0]} (left) and {cameras[1]} (right)",),
        baseline_m=baseline_m,
    )


def from_k_txt(text: str, *, size: Size, baseline_m: float | None) -> Calibration:
    """Return K.txt: nine numbers of the camera matrix, then the baseline (FoundationStereo).

    Args:
        text: the file's content.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: it has other than 9 or 10 numbers, or no baseline.
    """
    found = _floats(text)
    if len(found) not in (9, 10):
        raise InputError(
            f"the file has {len(found)} numbers; need 9 of the camera matrix and the baseline "
            "after them"
        )
    if len(found) == 9 and baseline_m is None:
        raise InputError(
            "the file has a camera matrix and no baseline; add it in metres as a second line, or "
            "give --baseline"
        )
    eye = eye_from_matrix(found[:9], what="K")
    baseline = found[9] if len(found) == 10 else math.nan
    return rectified_rig(
        eye, eye, baseline=baseline, unit="m", source="K.txt", baseline_m=baseline_m
    )


def from_zed(text: str, *, size: Size, baseline_m: float | None) -> Calibration:
    """Return one mode of a ZED's SN*.conf: raw pictures, baseline in millimetres.

    The mode is the one of the pictures' `size`, or the nearest of the same shape.

    Args:
        text: the file's content.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: it is not whole, or has no mode of the pictures' shape.
    """
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise InputError(f"the .conf file cannot be read: {error}") from error
    mode = _zed_mode([name[9:] for name in parser.sections() if name.startswith("LEFT_CAM_")], size)
    eyes = [_zed_eye(parser, f"{side}_CAM_{mode}") for side in ("LEFT", "RIGHT")]
    if "STEREO" not in parser:
        raise InputError("the ZED file has no section [STEREO]; it is not whole")
    stereo = {key: _float(value, what=key) for key, value in parser["STEREO"].items()}
    vector = tuple(_of_mode(stereo, name, mode) for name in ("rx", "cv", "rz"))
    # The file has the right camera's place seen from the left one; t is the opposite of it.
    step = tuple(-_of_mode(stereo, name, mode) for name in ("baseline", "ty", "tz"))
    return raw_rig(
        *eyes,
        rotation=rotation_from_vector((vector[0], vector[1], vector[2])),
        translation=step,
        unit="mm",
        source=f"ZED {mode}",
        size=_ZED_SIZES[mode],
        baseline_m=baseline_m,
    )


def _zed_mode(modes: list[str], size: Size) -> str:
    known = {mode: _ZED_SIZES[mode] for mode in modes if mode in _ZED_SIZES}
    names = ", ".join(f"{mode} {height}x{width}" for mode, (height, width) in known.items())
    if size is None:
        raise InputError(f"the ZED file has several modes ({names}); say the pictures' size")
    alike = {
        mode: abs(math.log(width / size[1]))
        for mode, (height, width) in known.items()
        if height * size[1] == width * size[0]
    }
    if not alike:
        raise InputError(
            f"pictures of {size[0]}x{size[1]} are of none of the ZED's modes ({names}); "
            "save them in one of those sizes"
        )
    return min(alike, key=alike.__getitem__)


def _zed_eye(parser: configparser.ConfigParser, section: str) -> Eye:
    if section not in parser:
        raise InputError(f"the ZED file has no section [{section}]; it is not whole")
    found = {key: _float(value, what=key) for key, value in parser[section].items()}
    missing = {"fx", "fy", "cx", "cy"} - set(found)
    if missing:
        raise InputError(f"[{section}] has no {', '.join(sorted(missing))}; the file is not whole")
    radial = [found.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")]
    coefficients = radial if any(radial[5:]) else radial[:5]
    distortion, kept = lens("radtan", coefficients, what=section)
    return Eye(found["fx"], found["fy"], found["cx"], found["cy"], distortion, kept)


def _of_mode(stereo: dict[str, float], name: str, mode: str) -> float:
    """Return the value for the mode, else the one for all modes, else 0."""
    return stereo.get(f"{name}_{mode.lower()}", stereo.get(name, 0.0))


def _kitti_size(fields: dict[str, list[float]], key: str) -> Size:
    if len(fields.get(key, ())) != 2:
        return None
    width, height = fields[key]
    return size_from(width, height, what=key)


def _kitti_raw(
    fields: dict[str, list[float]],
    cameras: tuple[int, int],
    rectified: list[Eye],
    rect_size: Size,
    raw_size: Size,
    baseline_m: float | None,
) -> Calibration:
    """Return the raw part of a calib_cam_to_cam.txt."""

    def need(name: str, camera: int) -> list[float]:
        key = f"{name}_0{camera}"
        if key not in fields:
            raise InputError(f"KITTI's file has no {key}; raw pictures need it")
        return fields[key]

    eyes = []
    for camera in cameras:
        distortion, coefficients = lens("plumb_bob", need("D", camera), what=f"D_0{camera}")
        eyes.append(
            eye_from_matrix(
                need("K", camera),
                what=f"K_0{camera}",
                distortion=distortion,
                coefficients=coefficients,
            )
        )
    # R_0x and T_0x come from camera 0; what is needed goes from the left camera to the right one.
    turns = [rotation_matrix(rotation_from(need("R", c), what=f"R_0{c}")) for c in cameras]
    steps = [np.array(numbers(need("T", c), what=f"T_0{c}", counts=(3,))) for c in cameras]
    turn = turns[1] @ turns[0].T
    step = steps[1] - turn @ steps[0]
    rotations = [rotation_from(need("R_rect", c), what=f"R_rect_0{c}") for c in cameras]
    given = GivenRectification(
        rotations[0], rotations[1], rectified[0], rectified[1], size=rect_size
    )
    return raw_rig(
        *eyes,
        rotation=flat_rotation(turn),
        translation=tuple(float(part) for part in step),
        unit="m",
        source="KITTI raw",
        size=raw_size,
        given=given,
        baseline_m=baseline_m,
    )


def _fields(text: str, mark: str) -> dict[str, str]:
    """Return the lines "name MARK value" by name."""
    parts = (line.partition(mark) for line in text.splitlines())
    named = ((name.strip(), value.strip()) for name, found, value in parts if found)
    return {name: value for name, value in named if re.fullmatch(r"\w+", name) and value}


def _floats(text: str) -> list[float]:
    parts = re.split(r"[\s,;]+", text.strip())
    return [_float(part, what="a number") for part in parts if part]


def _float(text: str, *, what: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{what} is {text!r}; need a number") from error
    if not math.isfinite(value):
        raise InputError(f"{what} is {text!r}; need a finite number")
    return value
