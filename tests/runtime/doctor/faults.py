"""Faults to plant in a pair, each as it happens to people."""

from pathlib import Path

import cv2
import numpy as np

# Real colour pairs of five makers with disparities large enough to be scaled beyond the range,
# and the 99th percentile of those, in pixels.
PAIRS = {
    "eval/middlebury2003/Teddy_H": 85,
    "eval/middlebury2014/motorcycle": 57,
    "eval/kitti2012/000001": 123,
    "eval/kitti2015/000001": 69,
    "calib/indoor/zed_hd1080_half": 95,
    "calib/indoor/foundationstereo_desk": 117,
    "calib/middlebury2021_half/skates1": 164,
    "calib/middlebury2021_half/curule2": 94,
    "calib/middlebury2014Q/Vintage": 96,
    "eval/middlebury2006/cloth4": 63,
}


def load(folder):
    """Return left and right of a folder as RGB."""
    found = [cv2.imread(str(Path(folder) / f"{side}.png")) for side in ("left", "right")]
    return [np.ascontiguousarray(image[..., ::-1]) for image in found]


def moved(image, matrix):
    return cv2.warpAffine(
        image, np.float32(matrix), image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )


def turned(image, degrees, zoom=1.0):
    height, width = image.shape[:2]
    center = (width - 1) / 2, (height - 1) / 2
    return moved(image, cv2.getRotationMatrix2D(center, degrees, zoom))


def enlarged(image, by):
    return cv2.resize(image, None, fx=by, fy=by, interpolation=cv2.INTER_CUBIC)


# What is planted -> (the check that must find it, how to plant it in left, right, the next pair's
# right, the 99th percentile of disparity).
FAULTS = {
    "swapped": ("swapped eyes", lambda a, b, o, d: (b, a)),
    "lower by 2 px": ("vertical offset", lambda a, b, o, d: (a, moved(b, [[1, 0, 0], [0, 1, 2]]))),
    "turned by half a degree": ("rotation", lambda a, b, o, d: (a, turned(b, 0.5))),
    "zoomed by 1.5 %": ("zoom", lambda a, b, o, d: (a, turned(b, 0, 1.015))),
    "darker": ("exposure", lambda a, b, o, d: (a, (b * 0.6).astype(np.uint8))),
    "out of focus": ("blur", lambda a, b, o, d: (a, cv2.GaussianBlur(b, (0, 0), 1.5))),
    "BGR": ("channel order", lambda a, b, o, d: (a, np.ascontiguousarray(b[..., ::-1]))),
    "beyond 192 px": (
        "range",
        lambda a, b, o, d: (enlarged(a, 230 / d), enlarged(b, 230 / d)),
    ),
    "twice the left eye": ("same picture", lambda a, b, o, d: (a, a.copy())),
    "another scene": (
        ("unrelated", "featureless"),
        lambda a, b, o, d: (a, cv2.resize(o, a.shape[1::-1], interpolation=cv2.INTER_AREA)),
    ),
    "upside down": ("turned eye", lambda a, b, o, d: (a, np.ascontiguousarray(b[::-1, ::-1]))),
    # More than the bar asks for.
    "mirrored": ("turned eye", lambda a, b, o, d: (a, np.ascontiguousarray(b[:, ::-1]))),
    "shifted": (
        ("negative disparity", "swapped eyes"),
        lambda a, b, o, d: (a, moved(b, [[1, 0, d], [0, 1, 0]])),
    ),
    "both out of focus": (
        "soft pictures",
        lambda a, b, o, d: (cv2.GaussianBlur(a, (0, 0), 3), cv2.GaussianBlur(b, (0, 0), 3)),
    ),
    "lens cap": ("featureless", lambda a, b, o, d: (np.zeros_like(a) + 5, np.zeros_like(b) + 7)),
}
# With the calibration's scale, which is no fault of a picture, these make the twelve.
BAR_FAULTS = 11
