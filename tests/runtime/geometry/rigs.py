"""Rigs with known numbers, and the calibration files that their tools would write."""

import cv2
import numpy as np

SIZE = (480, 640)
K1 = np.array([[520.0, 0, 322.5], [0, 521.5, 238.25], [0, 0, 1]])
K2 = np.array([[518.25, 0, 317.0], [0, 519.0, 243.5], [0, 0, 1]])
D1 = np.array([-0.29, 0.09, 0.0006, -0.0004, -0.011])
D2 = np.array([-0.3, 0.1, -0.0005, 0.0007, -0.013])
FISHEYE1 = np.array([-0.012, 0.006, -0.004, 0.001])
FISHEYE2 = np.array([-0.01, 0.005, -0.003, 0.0008])
R = cv2.Rodrigues(np.array([0.012, -0.015, 0.009]))[0]
T = np.array([-0.12, 0.0011, -0.0017])
BASELINE_M = float(np.linalg.norm(T))


def rectification():
    """Return R1, R2, P1, P2 and Q as OpenCV computes them."""
    return cv2.stereoRectify(K1, D1, K2, D2, SIZE[::-1], R, T[:, None], alpha=0)[:5]


def opencv_files(folder, *, suffix="yml", scale=1.0, rectification=False, one_file=True):
    """Write OpenCV's own storage and return its path, or the paths of both halves."""
    halves = {
        "intrinsics": {"M1": K1, "D1": D1[None], "M2": K2, "D2": D2[None]},
        "extrinsics": {"R": R, "T": T[:, None] * scale},
    }
    if rectification:
        r1, r2, p1, p2, q, *_ = cv2.stereoRectify(
            K1, D1, K2, D2, SIZE[::-1], R, T[:, None], alpha=0
        )
        halves["extrinsics"].update({"R1": r1, "R2": r2, "P1": p1, "P2": p2, "Q": q})
    paths = [folder / f"{'stereo' if one_file else name}.{suffix}" for name in halves]
    for path, half in zip(paths, halves.values(), strict=True):
        fresh = cv2.FILE_STORAGE_WRITE
        again = cv2.FILE_STORAGE_APPEND
        storage = cv2.FileStorage(str(path), again if path.exists() else fresh)
        for name, value in half.items():
            storage.write(name, value)
        storage.release()
    return paths[0] if one_file else paths


def camera_info(side):
    """Return one side's text as ROS's camera_calibrator writes it, rectified by OpenCV."""
    r1, r2, p1, p2, _ = rectification()
    matrix, lens, turn, projection = {"left": (K1, D1, r1, p1), "right": (K2, D2, r2, p2)}[side]

    def block(name, values):
        values = np.atleast_2d(values)
        numbers = ", ".join(f"{n:.9f}" for n in values.ravel())
        rows, cols = values.shape
        return f"{name}:\n  rows: {rows}\n  cols: {cols}\n  data: [{numbers}]\n"

    return (
        f"image_width: {SIZE[1]}\nimage_height: {SIZE[0]}\ncamera_name: narrow_stereo/{side}\n"
        + block("camera_matrix", matrix)
        + "distortion_model: plumb_bob\n"
        + block("distortion_coefficients", lens)
        + block("rectification_matrix", turn)
        + block("projection_matrix", projection)
    )


def camera_info_message(side):
    """Return one side's text as `ros2 topic echo --once` prints the message."""
    r1, r2, p1, p2, _ = rectification()
    matrix, lens, turn, projection = {"left": (K1, D1, r1, p1), "right": (K2, D2, r2, p2)}[side]
    lines = ["header:", "  stamp:", "    sec: 17", "    nanosec: 5", "  frame_id: camera"]
    lines += [f"height: {SIZE[0]}", f"width: {SIZE[1]}", "distortion_model: plumb_bob"]
    for name, values in (("d", lens), ("k", matrix), ("r", turn), ("p", projection)):
        lines += [f"{name}:", *(f"- {n!r}" for n in values.ravel().tolist())]
    lines += ["binning_x: 0", "binning_y: 0", "roi:", "  x_offset: 0", "  do_rectify: false"]
    return "\n".join(lines) + "\n---\n"


def kalibr(*, lens="radtan", from_imu=False):
    """Return a camchain as Kalibr writes it."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, T
    lenses = {"radtan": (D1[:4], D2[:4]), "equidistant": (FISHEYE1, FISHEYE2)}[lens]
    imu = np.eye(4)
    imu[:3, :3] = cv2.Rodrigues(np.array([1.2, -0.3, 0.4]))[0]
    imu[:3, 3] = 0.03, -0.05, 0.01
    lines = []
    for index, (matrix, coefficients) in enumerate(zip((K1, K2), lenses, strict=True)):
        name, value = None, None
        if from_imu:
            name, value = "T_cam_imu", imu if index == 0 else pose @ imu
        elif index == 1:
            name, value = "T_cn_cnm1", pose
        lines.append(f"cam{index}:")
        if name:
            lines.append(f"  {name}:")
            lines += [f"  - [{', '.join(repr(float(n)) for n in row)}]" for row in value]
        four = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
        lines += [
            f"  cam_overlaps: [{1 - index}]",
            "  camera_model: pinhole",
            f"  distortion_coeffs: {[float(n) for n in coefficients]}",
            f"  distortion_model: {lens}",
            f"  intrinsics: {[float(n) for n in four]}",
            f"  resolution: [{SIZE[1]}, {SIZE[0]}]",
            f"  rostopic: /cam{index}/image_raw",
        ]
    return "\n".join(lines) + "\n"


MIDDLEBURY = """\
cam0=[994.978 0 311.193; 0 994.978 254.877; 0 0 1]
cam1=[994.978 0 342.279; 0 994.978 254.877; 0 0 1]
doffs=31.086
baseline=193.001
width=741
height=497
ndisp=70
"""

KITTI = """\
P0: 7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0
P1: 7.215377e+02 0 6.095593e+02 -3.875744e+02 0 7.215377e+02 1.728540e+02 0 0 0 1 0
P2: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.7e-03
P3: 7.215377e+02 0 6.095593e+02 -3.395242e+02 0 7.215377e+02 1.728540e+02 2.199936e+00 0 0 1 2.7e-03
R0_rect: 1 0 0 0 1 0 0 0 1
"""

ZED = """\
[LEFT_CAM_2K]
fx=1403.76
fy=1403.4
cx=1109.57
cy=592.367
k1=-0.175286
k2=0.0283094
p1=6.68414e-05
p2=-0.000150431
k3=4.06032e-11
[RIGHT_CAM_2K]
fx=1401.93
fy=1402.22
cx=1094.03
cy=622.627
k1=-0.172795
k2=0.0265223
[LEFT_CAM_HD]
fx=701.88
fy=701.7
cx=641.285
cy=344.1835
k1=-0.175286
k2=0.0283094
[RIGHT_CAM_HD]
fx=700.965
fy=701.11
cx=633.515
cy=359.3135
k1=-0.172795
k2=0.0265223
[STEREO]
Baseline=119.978
TY=0.0259812
TZ=0.0158877
CV_2K=0.00623976
CV_HD=0.00623976
RX_2K=-0.000916611
RX_HD=-0.000916611
RZ_2K=0.000770041
RZ_HD=0.000770041
[MISC]
Sensor_ID=0
"""


def kitti_raw():
    """Return a calib_cam_to_cam.txt whose cameras 2 and 3 are this file's rig."""
    r1, r2, p1, p2, _ = rectification()
    first = cv2.Rodrigues(np.array([0.004, 0.002, -0.003]))[0]
    start = np.array([0.06, 0.0003, 0.002])
    cameras = {"02": (K1, D1, first, start, r1, p1)}
    cameras["03"] = (K2, D2, R @ first, R @ start + T, r2, p2)
    height, width = SIZE
    lines = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
    for name, (matrix, lens, turn, step, rect, projection) in cameras.items():
        projection = projection.copy()
        projection[:, 3] += (44.857, 0.216, 0.0027)  # seen from camera 0, as KITTI has it
        values = {"S": (width, height), "K": matrix, "D": lens, "R": turn, "T": step}
        values |= {"S_rect": (width - 22, height - 14), "R_rect": rect, "P_rect": projection}
        lines += [
            f"{key}_{name}: {' '.join(f'{n:.12e}' for n in np.ravel(value))}"
            for key, value in values.items()
        ]
    return "\n".join(lines) + "\n"
