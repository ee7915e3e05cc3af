"""Between arrays and the fields of ROS 2 messages: pure, so that no ROS is needed to test it.

Messages are dicts here, with the names of the .msg files of ROS 2 (sensor_msgs, stereo_msgs);
`fill` writes them into real ones. Byte data are `array.array("B")`: rclpy copies those at once and
checks anything else byte by byte, which takes seconds for a picture.

Convention: depth images follow REP 118 (metres as 32FC1 with NaN, or millimetres as 16UC1 with 0);
clouds are in the optical frame of the left camera: x right, y down, z forward.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.rectify import rectified_calibration
from litestereo.runtime.geometry.tree_formats import from_camera_infos
from litestereo.runtime.results import StereoResult

__all__ = [
    "Fields",
    "calibration_from_infos",
    "cloud_fields",
    "depth_fields",
    "disparity_fields",
    "fill",
    "header_fields",
    "image_from_fields",
    "info_fields",
    "stamp_s",
]

Fields = dict[str, Any]
DepthEncoding = Literal["32FC1", "16UC1"]

_BIG_ENDIAN = sys.byteorder == "big"
# Encoding -> channels in memory, and which of them are red, green and blue; None is grey.
# 8UC3 says nothing about colours; drivers that use it come from OpenCV, which has blue first.
_ENCODINGS: dict[str, tuple[int, slice | None]] = {
    "mono8": (1, None),
    "8UC1": (1, None),
    "rgb8": (3, slice(0, 3)),
    "bgr8": (3, slice(2, None, -1)),
    "8UC3": (3, slice(2, None, -1)),
    "rgba8": (4, slice(0, 3)),
    "bgra8": (4, slice(2, None, -1)),
    "8UC4": (4, slice(2, None, -1)),
}
_INFO_NAMES = ("height", "width", "distortion_model", "d", "k", "r", "p", "binning_x", "binning_y")
_ROI_NAMES = ("x_offset", "y_offset", "height", "width")
_FLOAT32 = 7  # sensor_msgs/PointField
# As PCL and RViz have coloured points: red, green and blue packed into the bytes of a float.
_POINT = np.dtype([("x", "=f4"), ("y", "=f4"), ("z", "=f4"), ("rgb", "=u4")])


def stamp_s(header: Mapping[str, Any]) -> float:
    """Return a header's time in seconds.

    Args:
        header: as `header_fields` gives it.
    """
    stamp = header["stamp"]
    return float(stamp["sec"]) + 1e-9 * float(stamp["nanosec"])


def header_fields(header: Any) -> Fields:  # noqa: ANN401 - std_msgs/Header
    """Return a message's header as fields.

    Args:
        header: a std_msgs/Header.
    """
    stamp = {"sec": int(header.stamp.sec), "nanosec": int(header.stamp.nanosec)}
    return {"stamp": stamp, "frame_id": str(header.frame_id)}


def info_fields(message: Any) -> Fields:  # noqa: ANN401 - sensor_msgs/CameraInfo
    """Return what a CameraInfo says of its camera, without its header.

    Args:
        message: a sensor_msgs/CameraInfo.
    """
    fields = {name: getattr(message, name) for name in _INFO_NAMES}
    for name in ("d", "k", "r", "p"):
        fields[name] = [float(number) for number in fields[name]]
    return {**fields, "roi": {name: int(getattr(message.roi, name)) for name in _ROI_NAMES}}


def calibration_from_infos(
    left: Mapping[str, Any],
    right: Mapping[str, Any],
    *,
    size: tuple[int, int],
    rectified: bool,
) -> Calibration:
    """Return the rig of two camera infos, for pictures of `size`.

    Args:
        left: fields of the left CameraInfo, as `info_fields` gives them.
        right: same, right: its P holds the baseline.
        size: (height, width) of the pictures; binned ones are smaller than the infos say.
        rectified: whether the pictures are (image_rect); otherwise the rig is of raw ones.

    Raises:
        InputError: no stereo calibration, or only a part of the sensor is read out.
    """
    for eye, info in (("left", left), ("right", right)):
        _check_whole(eye, info)
    # The frame's right camera is the one with the baseline; swapped topics would go unnoticed.
    if left["p"][3] < 0 <= right["p"][3]:
        raise InputError(
            "the left camera_info has the baseline (P[3] < 0) and the right one has none; the "
            "topics of the eyes are swapped: remap them"
        )
    calibration = from_camera_infos([left, right], size=None, baseline_m=None)
    if rectified:
        calibration = rectified_calibration(calibration)
    return calibration.for_size(size)


def image_from_fields(fields: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return an Image as (H, W, 3) uint8 RGB, or (H, W) for grey; a copy of its own.

    Args:
        fields: encoding, height, width, step and data of a sensor_msgs/Image.

    Raises:
        InputError: an encoding that is no picture of 8 bits, or too little data.
    """
    encoding = fields["encoding"]
    if encoding not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        raise InputError(
            f"the image is {encoding!r}; need one of {known}: let image_proc debayer or convert it"
        )
    channels, order = _ENCODINGS[encoding]
    height, width, step = (int(fields[name]) for name in ("height", "width", "step"))
    data = np.frombuffer(fields["data"], np.uint8)
    if step < width * channels or data.size < height * step:
        raise InputError(
            f"the image is {height}x{width} {encoding} with a step of {step} and {data.size} "
            f"bytes; need a step of at least {width * channels} and {height * step} bytes: the "
            "driver publishes broken images"
        )
    rows: NDArray[np.uint8] = data[: height * step].reshape(height, step)[:, : width * channels]
    pixels = rows if order is None else rows.reshape(height, width, channels)[:, :, order]
    taken: NDArray[np.uint8] = pixels.copy()
    return taken


def disparity_fields(
    result: StereoResult,
    calibration: Calibration,
    *,
    header: Fields,
    validity: NDArray[np.uint8] | None = None,
) -> Fields:
    """Return a stereo_msgs/DisparityImage: Z = f t / d holds for its disparities.

    The message wants them free of the principal points' difference, so that is added; what is not
    valid is set below `min_disparity`.

    Args:
        result: of the pair.
        calibration: of the rectified pictures.
        header: of the left image.
        validity: (H, W) uint8, 0 where the disparity is valid; None: everywhere.
    """
    height, width = result.disparity_px.shape
    sized = calibration.for_size((height, width))
    offset_px = sized.doffs_px
    disparity_px = result.disparity_px + np.float32(offset_px)
    lowest_px = max(0.0, offset_px)
    if validity is not None:
        disparity_px[validity != 0] = lowest_px - 1
    highest_px = float(result.max_disparity_px + offset_px)
    return {
        "header": header,
        "image": _image_fields(disparity_px, "32FC1", header),
        "f": float(sized.focal_px),
        "t": float(sized.baseline_m),
        "valid_window": {"x_offset": 0, "y_offset": 0, "height": height, "width": width},
        "min_disparity": float(lowest_px),
        "max_disparity": highest_px,
        # Not quantised: the step is that of the number format at the end of the range.
        "delta_d": float(np.spacing(np.float32(highest_px))),
    }


def depth_fields(
    depth_m: NDArray[np.float32], *, header: Fields, encoding: DepthEncoding = "32FC1"
) -> Fields:
    """Return a sensor_msgs/Image of depth.

    Args:
        depth_m: (H, W) float32 metres, NaN where there is none.
        header: of the left image.
        encoding: metres as floats, or whole millimetres up to 65.535 m with 0 for none.
    """
    if encoding == "32FC1":
        return _image_fields(depth_m, encoding, header)
    with np.errstate(invalid="ignore"):
        millimetres = np.rint(depth_m * np.float32(1000))
        kept = (millimetres >= 1) & (millimetres <= 65535)
    return _image_fields(np.where(kept, millimetres, 0).astype(np.uint16), encoding, header)


def cloud_fields(
    points_m: NDArray[np.float32], image: NDArray[np.uint8], *, header: Fields
) -> Fields:
    """Return a sensor_msgs/PointCloud2 that keeps the picture's rows and columns.

    Args:
        points_m: (H, W, 3) float32, NaN where there is none.
        image: (H, W, 3) uint8 RGB or (H, W) grey, the left picture.
        header: of the left image.
    """
    height, width = points_m.shape[:2]
    points = np.empty((height, width), _POINT)
    for index, axis in enumerate("xyz"):
        points[axis] = points_m[..., index]
    wide = image.astype(np.uint32)
    red, green, blue = (wide, wide, wide) if image.ndim == 2 else np.moveaxis(wide, 2, 0)
    points["rgb"] = (red << 16) | (green << 8) | blue
    return {
        "header": header,
        "height": height,
        "width": width,
        "fields": [
            {"name": name, "offset": 4 * index, "datatype": _FLOAT32, "count": 1}
            for index, name in enumerate(_POINT.names or ())
        ],
        "is_bigendian": _BIG_ENDIAN,
        "point_step": _POINT.itemsize,
        "row_step": _POINT.itemsize * width,
        "data": _bytes(points),
        "is_dense": False,
    }


def fill(
    message: Any,  # noqa: ANN401 - of any type
    fields: Mapping[str, Any],
    *,
    parts: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:  # noqa: ANN401
    """Write `fields` into a message and return it.

    Args:
        message: an instance of the message's class.
        fields: name -> value; a dict fills a message inside.
        parts: name -> class of the messages in a list, such as {"fields": PointField}.
    """
    for name, value in fields.items():
        if isinstance(value, Mapping):
            fill(getattr(message, name), value, parts=parts)
        elif isinstance(value, list) and parts and name in parts:
            setattr(message, name, [parts[name](**each) for each in value])
        else:
            setattr(message, name, value)
    return message


def _image_fields(pixels: NDArray[Any], encoding: str, header: Fields) -> Fields:
    height, width = pixels.shape
    return {
        "header": header,
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": int(_BIG_ENDIAN),
        "step": width * pixels.itemsize,
        "data": _bytes(pixels),
    }


def _bytes(pixels: NDArray[Any]) -> array[int]:
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels).view(np.uint8).reshape(-1).data)
    return data


def _check_whole(eye: str, info: Mapping[str, Any]) -> None:
    """Refuse an uncalibrated camera, and one that reads out only a part of its sensor."""
    if not info["k"][0] or not info["p"][0]:
        raise InputError(
            f"the {eye} camera_info is not calibrated (K and P are 0); run camera_calibration on "
            "both cameras together, and load its result in the driver"
        )
    roi = info.get("roi") or {}
    whole = (0, 0, int(info["height"]), int(info["width"]))
    read = tuple(int(roi.get(name, 0)) for name in _ROI_NAMES)
    if any(read) and read != whole:
        raise InputError(
            f"the {eye} camera reads out a part of its sensor (roi {read}); need whole pictures: "
            "take the roi out of the driver's settings"
        )
