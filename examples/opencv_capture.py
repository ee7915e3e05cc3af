"""Disparity in a capture loop of your own, by OpenCV: show it, or count frames without a window.

python examples/opencv_capture.py 0 2                  two cameras
python examples/opencv_capture.py left.mp4 right.mp4   two files
"""

import argparse
from collections.abc import Sequence

import cv2

from litestereo import InputError, StereoEngine
from litestereo.runtime.visualize import color_disparity


def opened(source: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise InputError(f"{source} cannot be opened; give a camera's number or a video")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else the driver's queue ages the pictures
    return capture


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("left")
    parser.add_argument("right")
    parser.add_argument("--model", default="las1")
    parser.add_argument("--backend", default="onnxruntime-cpu")
    parser.add_argument("--max-color", type=float, default=96, help="disparity of the last colour")
    parser.add_argument("--no-window", action="store_true")
    options = parser.parse_args(arguments)
    eyes = [opened(options.left), opened(options.right)]
    frames = 0
    with StereoEngine.load(options.model, backend=options.backend) as engine:
        # Grabbing both before decoding either keeps the eyes closest in time.
        while all(eye.grab() for eye in eyes):
            pictures = [eye.retrieve()[1] for eye in eyes]
            left, right = (cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures)
            result = engine(left, right)
            frames += 1
            if options.no_window:
                continue
            shown = color_disparity(result.disparity_px, max_px=options.max_color)
            cv2.imshow("disparity", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
            if cv2.waitKey(1) == ord("q"):
                break
    for eye in eyes:
        eye.release()
    print(f"{frames} pairs, the last in {result.timings.total_ms:.1f} ms" if frames else "no pairs")
    return 0 if frames else 1


if __name__ == "__main__":
    raise SystemExit(main())
