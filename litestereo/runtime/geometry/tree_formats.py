"""Calibrations in YAML and XML: OpenCV's stereo files, ROS camera_info pairs, Kalibr camchains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import (
    IDENTITY,
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
    size_from,
)

__all__ = ["from_camera_infos", "from_kalibr", "from_opencv", "tree_from_xml"]

Size = tuple[int, int] | None
Tree = Mapping[str, Any]

_DEEPEST = 16

_MAYBE_FISHEYE = (
    "the OpenCV file has 4 distortion coefficients and names no lens model: read as k1 k2 p1 p2 "
    "(radtan); where they are k1 to k4 of cv2.fisheye, add the line distortion_model: equidistant "
    "to the file, else distortion_model: radtan"
)

# What people call the same thing, lower case, without "_", "." and "-".
_OPENCV_NAMES = {
    "left matrix": ("m1", "k1", "cameramatrix1", "leftk", "k1matrix", "cameramatrixleft",
                    "leftcameramatrix", "kl", "mtxl", "intrinsicsleft", "camm1", "matrix1"),
    "right matrix": ("m2", "k2", "cameramatrix2", "rightk", "k2matrix", "cameramatrixright",
                     "rightcameramatrix", "kr", "mtxr", "intrinsicsright", "camm2", "matrix2"),
    "left lens": ("d1", "distcoeffs1", "leftd", "distcoeffsleft", "distl", "leftdistortion",
                  "leftdistcoeffs", "dl", "distortion1", "distortioncoefficients1"),
    "right lens": ("d2", "distcoeffs2", "rightd", "distcoeffsright", "distr", "rightdistortion",
                   "rightdistcoeffs", "dr", "distortion2", "distortioncoefficients2"),
    "rotation": ("r", "rot", "rotation", "stereor", "rotationmatrix", "r12"),
    "translation": ("t", "trans", "translation", "stereot", "translationvector", "tvec"),
    "left rectification": ("r1", "leftr", "rl", "rectl", "rectification1"),
    "right rectification": ("r2", "rightr", "rr", "rectr", "rectification2"),
    "left projection": ("p1", "leftp", "pl", "projmatl", "projection1"),
    "right projection": ("p2", "rightp", "pr", "projmatr", "projection2"),
    "model": ("distortionmodel", "cameramodel", "model"),
    "size": ("imagesize", "size", "imgsize", "imageshape", "resolution"),
    "width": ("width", "imagewidth", "leftwidth", "camerawidth"),
    "height": ("height", "imageheight", "leftheight", "cameraheight"),
}  # fmt: skip


def tree_from_xml(text: str) -> dict[str, Any]:
    """Return an OpenCV storage file in XML as the dict that its YAML form has.

    Args:
        text: the file's content.

    Raises:
        InputError: it is not XML, or declares entities, which can grow without end or read files.
    """
    if "<!DOCTYPE" in text:
        raise InputError("the XML has a <!DOCTYPE>, which OpenCV never writes; remove it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"the XML cannot be read: {error}; copy or write it again") from error
    return {node.tag: _xml_value(node, 0) for node in root}


def from_opencv(trees: Sequence[Tree], *, size: Size, baseline_m: float | None) -> Calibration:
    """Return what OpenCV's stereo samples and tools write: M1 D1 M2 D2 R T [R1 R2 P1 P2].

    Args:
        trees: of one file, or of the intrinsics and the extrinsics.
        size: (height, width) of the pictures, where the files have none.
        baseline_m: overrides the length of T, whose unit is that of the chessboard's squares.

    Raises:
        InputError: neither the raw part nor P1 and P2 are whole.
    """
    found = _named(trees)
    own_size = _opencv_size(found)
    given = _opencv_given(found)
    raw = ("left matrix", "right matrix", "rotation", "translation")
    missing = [name for name in raw if name not in found]
    if missing and given is not None:
        projection = numbers(found["right projection"], what="P2", counts=(12,))
        return rectified_rig(
            given.left,
            given.right,
            baseline=-projection[3] / given.right.fx_px,
            unit="m",
            source="OpenCV P1 P2",
            size=own_size,
            baseline_m=baseline_m,
        )
    if missing:
        raise InputError(
            f"the OpenCV file has no {', '.join(missing)}; need M1 D1 M2 D2 R T (give intrinsics "
            "and extrinsics both, if they are two files), or P1 and P2 of rectified pictures"
        )
    eyes = []
    for side in ("left", "right"):
        distortion, coefficients = lens(
            found.get("model"), found.get(f"{side} lens"), what=f"the {side} eye"
        )
        eyes.append(
            eye_from_matrix(
                found[f"{side} matrix"],
                what=f"the {side} camera matrix",
                distortion=distortion,
                coefficients=coefficients,
            )
        )
    rig = raw_rig(
        *eyes,
        rotation=rotation_from(found["rotation"], what="R"),
        translation=numbers(found["translation"], what="T", counts=(3,)),
        unit="m",
        source="OpenCV",
        size=own_size,
        given=given,
        baseline_m=baseline_m,
    )
    # cv2.fisheye's four coefficients look like the four of cv2.calibrateCamera.
    if found.get("model") or all(len(eye.coefficients) != 4 for eye in eyes):
        return rig
    return replace(rig, notes=(*rig.notes, _MAYBE_FISHEYE))


def from_camera_infos(
    trees: Sequence[Tree], *, size: Size, baseline_m: float | None
) -> Calibration:
    """Return a pair of ROS camera_info: the calibration files, or messages as `topic echo` prints.

    The right one is known by its projection's fourth column, -fx * baseline.

    Args:
        trees: of both eyes, in any order.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: not two, of two sizes, or without a stereo calibration.
    """
    if len(trees) != 2:
        raise InputError(
            f"got {len(trees)} camera_info; need the left and the right one: give both files"
        )
    infos = [_camera_info(tree) for tree in trees]
    shifts = [info["projection"][3] for info in infos]
    if shifts[0] < 0 <= shifts[1]:
        infos, shifts = infos[::-1], shifts[::-1]
    left, right = infos
    if left["size"] != right["size"]:
        raise InputError(
            f"the camera_info are for {left['size']} and {right['size']}; need one: calibrate both "
            "cameras together"
        )
    if shifts[1] >= shifts[0]:
        raise InputError(
            "neither camera_info has a baseline (the fourth number of P, -fx * baseline, is "
            f"{shifts[0]:g} and {shifts[1]:g}); calibrate both cameras together as a stereo pair"
        )
    rectified = [eye_from_matrix(info["projection"], what="P") for info in infos]
    baseline = (shifts[0] - shifts[1]) / rectified[1].fx_px
    rotations = [rotation_matrix(info["rectification"]) for info in infos]
    # x_rectified_right = x_rectified_left - (baseline, 0, 0), so the raw eyes are this far apart:
    turn = rotations[1].T @ rotations[0]
    step = -rotations[1].T @ np.array([baseline, 0, 0])
    if all(info["raw"].is_ideal and info["rectification"] == IDENTITY for info in infos):
        return rectified_rig(
            *rectified,
            baseline=baseline,
            unit="m",
            source="ROS camera_info",
            size=left["size"],
            baseline_m=baseline_m,
        )
    given = GivenRectification(
        left["rectification"], right["rectification"], rectified[0], rectified[1]
    )
    return raw_rig(
        left["raw"],
        right["raw"],
        rotation=flat_rotation(turn),
        translation=tuple(float(part) for part in step),
        unit="m",
        source="ROS camera_info",
        size=left["size"],
        given=given,
        baseline_m=baseline_m,
    )


def from_kalibr(trees: Sequence[Tree], *, size: Size, baseline_m: float | None) -> Calibration:
    """Return the cameras cam0 (left) and cam1 (right) of a Kalibr camchain, in metres.

    Args:
        trees: the file's documents.
        size: (height, width) of the pictures, where it is known.
        baseline_m: overrides the file's baseline, metres.

    Raises:
        InputError: a camera or the step between both is missing, or the lens is of another model.
    """
    tree = trees[0]
    missing = [name for name in ("cam0", "cam1") if not isinstance(tree.get(name), Mapping)]
    if missing:
        raise InputError(f"the camchain has no {' and no '.join(missing)}; need a stereo pair")
    cameras = [tree["cam0"], tree["cam1"]]
    eyes = [
        _kalibr_eye(camera, what) for camera, what in zip(cameras, ("cam0", "cam1"), strict=True)
    ]
    sizes = {_width_height(camera.get("resolution"), "resolution") for camera in cameras}
    if len(sizes) != 1:
        raise InputError(
            f"cam0 and cam1 have the sizes {sizes}; need one: calibrate both cameras together"
        )
    if "T_cn_cnm1" in cameras[1]:
        pose = _pose(cameras[1], "T_cn_cnm1")
    elif all("T_cam_imu" in camera for camera in cameras):
        first, second = (_pose(camera, "T_cam_imu") for camera in cameras)
        # Both go out from the IMU; the inverse of a rotation is its transpose.
        pose = np.eye(4)
        pose[:3, :3] = second[:3, :3] @ first[:3, :3].T
        pose[:3, 3] = second[:3, 3] - pose[:3, :3] @ first[:3, 3]
    else:
        raise InputError("cam1 has no T_cn_cnm1, and not both have T_cam_imu; need either")
    return raw_rig(
        *eyes,
        rotation=flat_rotation(pose[:3, :3]),
        translation=tuple(float(part) for part in pose[:3, 3]),
        unit="m",
        source="Kalibr",
        size=sizes.pop(),
        baseline_m=baseline_m,
    )


def _xml_value(node: ElementTree.Element, depth: int) -> Any:  # noqa: ANN401
    if depth > _DEEPEST:
        raise InputError(f"the XML is nested deeper than {_DEEPEST} levels; OpenCV writes three")
    if len(node):
        return {child.tag: _xml_value(child, depth + 1) for child in node}
    parts: list[Any] = []
    for word in (node.text or "").split():
        try:
            parts.append(float(word))
        except ValueError:
            parts.append(word.strip('"'))
    return parts[0] if len(parts) == 1 and node.tag != "data" else parts


def _named(trees: Sequence[Tree]) -> dict[str, Any]:
    """Return the values under our own names; nested groups (LEFT: {K: ...}) are opened."""
    plain: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            plain[_plain(key)] = value
            if isinstance(value, Mapping) and "data" not in value:
                plain.update({_plain(f"{key}{inner}"): part for inner, part in value.items()})
    return {
        ours: plain[name]
        for ours, names in _OPENCV_NAMES.items()
        for name in names
        if name in plain
    }


def _plain(key: object) -> str:
    return "".join(letter for letter in str(key).lower() if letter.isalnum())


def _opencv_size(found: Mapping[str, Any]) -> Size:
    if "size" in found:
        return _width_height(found["size"], "the image size")
    if "width" in found and "height" in found:
        return _width_height([found["width"], found["height"]], "width and height")
    return None


def _opencv_given(found: Mapping[str, Any]) -> GivenRectification | None:
    if not {"left projection", "right projection"} <= set(found):
        return None
    rotations = [
        rotation_from(found[name], what=name) if name in found else IDENTITY
        for name in ("left rectification", "right rectification")
    ]
    eyes = [eye_from_matrix(found[f"{side} projection"], what="P") for side in ("left", "right")]
    return GivenRectification(rotations[0], rotations[1], eyes[0], eyes[1])


def _width_height(value: Any, what: str) -> Size:  # noqa: ANN401
    if value is None:
        return None
    width, height = numbers(value, what=what, counts=(2,))
    return size_from(width, height, what=what)


def _camera_info(tree: Tree) -> dict[str, Any]:
    """Return one camera_info in our own names, from a calibration file or an echoed message."""
    message = "camera_matrix" not in tree
    names = ("k", "d", "r", "p") if message else (
        "camera_matrix", "distortion_coefficients", "rectification_matrix", "projection_matrix"
    )  # fmt: skip
    values = [tree.get(name, tree.get(name.upper())) for name in names]
    size = [tree.get("width" if message else "image_width")]
    size.append(tree.get("height" if message else "image_height"))
    if None in size:
        raise InputError("a camera_info has no width and height; the file is not whole")
    distortion, coefficients = lens(tree.get("distortion_model"), values[1], what="camera_info")
    raw = eye_from_matrix(values[0], what="K", distortion=distortion, coefficients=coefficients)
    return {
        "raw": raw,
        "rectification": IDENTITY if values[2] is None else rotation_from(values[2], what="R"),
        "projection": numbers(values[3], what="P", counts=(12,)),
        "size": _width_height(size, "width and height"),
    }


def _kalibr_eye(camera: Tree, what: str) -> Eye:
    if camera.get("camera_model", "pinhole") != "pinhole":
        raise InputError(
            f"{what} has the camera model {camera['camera_model']!r}; need pinhole: calibrate "
            "again with pinhole-radtan or pinhole-equi"
        )
    fx, fy, cx, cy = numbers(camera.get("intrinsics"), what=f"{what}'s intrinsics", counts=(4,))
    distortion, coefficients = lens(
        camera.get("distortion_model"), camera.get("distortion_coeffs"), what=what
    )
    return Eye(fx, fy, cx, cy, distortion, coefficients)


def _pose(camera: Tree, name: str) -> Any:  # noqa: ANN401 - (4, 4) float64
    return np.array(numbers(camera[name], what=name, counts=(16,))).reshape(4, 4)
