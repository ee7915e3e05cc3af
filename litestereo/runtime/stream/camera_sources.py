"""Cameras, read through OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from litestereo.errors import InputError
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.opencv_eye import SideBySideReader, rgb_from_decoded
from litestereo.runtime.stream.pairing import Pairer, Side, Stamped
from litestereo.runtime.stream.slots import Ended, Slot
from litestereo.runtime.stream.sources import Clock, FrameReader, FrameSource

__all__ = ["CameraOptions", "cameras"]

# How long a closing reader waits for a camera that is in the middle of a picture.
_CLOSE_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What is asked of a camera; None leaves it as it is.

    Attributes:
        size: (height, width) of its pictures, both eyes of them where it gives them side by side.
        rate_hz: frames a second.
        fourcc: the pixel format, such as "MJPG".
        tolerance_ms: greatest difference of capture times within a pair; best under half of a
            frame's period.
    """

    size: tuple[int, int] | None = None
    rate_hz: float | None = None
    fourcc: str | None = None
    tolerance_ms: float = 8.0

    def __post_init__(self) -> None:
        """Refuse a pixel format that is none."""
        if self.fourcc is not None and len(self.fourcc) != 4:
            raise InputError(f"fourcc is {self.fourcc!r}; it has four letters, such as 'MJPG'")


def cameras(
    left: int | str, right: int | str | None = None, *, options: CameraOptions | None = None
) -> FrameSource:
    """Return a live source: two cameras, or one whose pictures hold both eyes side by side.

    Args:
        left: OpenCV's index, a device file, a URL or a GStreamer pipeline.
        right: same; None: `left` holds both eyes.
        options: size, rate, format, pairing tolerance.
    """
    return _Cameras(left, right, options or CameraOptions())


class _Cameras:
    live = True
    reopens = True

    def __init__(self, left: int | str, right: int | str | None, options: CameraOptions) -> None:
        self.name = f"camera {left}" if right is None else f"cameras {left} and {right}"
        self._devices = [left] if right is None else [left, right]
        self._options = options

    def open(self, clock: Clock) -> FrameReader:
        eyes: list[_Camera] = []
        try:
            for device in self._devices:
                eyes.append(_Camera(device, self._options, clock))
        except BaseException:
            for eye in eyes:
                eye.release()
            raise
        if len(eyes) == 1:
            return SideBySideReader(eyes[0], clock, live=True)
        return _TwoCameraReader(eyes, clock, tolerance_ms=self._options.tolerance_ms)


class _Camera:
    """An open camera; stamps are the moment after its picture was grabbed."""

    def __init__(self, device: int | str, options: CameraOptions, clock: Clock) -> None:
        cv2 = import_cv2("cameras")
        self.name = f"camera {device}"
        self._clock, self._failure = clock, cv2.error
        with self._named_failure():
            self._open(cv2, device, options)

    def _open(self, cv2: Any, device: int | str, options: CameraOptions) -> None:  # noqa: ANN401
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(
                f"{self.name} cannot be opened; check that it is plugged in (ls /dev/video*), "
                "that no other program has it, and that you may read it"
            )
        self._set(cv2, options)

    def read(self) -> Stamped:
        """Return the next picture; raise where there is none: a camera has no end."""
        with self._named_failure():
            if not self._capture.grab():
                raise InputError(f"{self.name} stopped giving pictures; check its cable and power")
            stamp_s = self._clock()
            given, picture = self._capture.retrieve()
            if not given:
                raise InputError(
                    f"{self.name} gave a picture that cannot be decoded; check its cable and mode"
                )
            return Stamped(rgb_from_decoded(picture), stamp_s)

    def release(self) -> None:
        self._capture.release()

    @contextmanager
    def _named_failure(self) -> Iterator[None]:
        """Turn an error of OpenCV's into a lost camera, which can be opened again."""
        try:
            yield
        except self._failure as error:
            words = " ".join(str(error).split())
            raise InputError(f"{self.name} failed: {words}; check its cable and mode") from error

    def _set(self, cv2: Any, options: CameraOptions) -> None:  # noqa: ANN401 - untyped package
        # The driver's queue would age the pictures; not every driver can shorten it.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if options.fourcc is not None:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*options.fourcc))
        if options.rate_hz is not None:
            self._capture.set(cv2.CAP_PROP_FPS, options.rate_hz)
        if options.size is None:
            return
        height, width = options.size
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        got = tuple(
            round(self._capture.get(side))
            for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        )
        if got != (height, width):
            self._capture.release()
            raise InputError(
                f"{self.name} gives {got[0]}x{got[1]} and {height}x{width} was asked for; "
                "choose a size that it has (v4l2-ctl --list-formats-ext)"
            )


class _TwoCameraReader:
    """Reads two cameras in two threads, so that neither waits for the other, and pairs by time."""

    def __init__(self, eyes: Sequence[_Camera], clock: Clock, *, tolerance_ms: float) -> None:
        self._pairer = Pairer(tolerance_ms)
        self._lock = threading.Lock()
        self._pairs: Slot[SourceFrame] = Slot(1, keep_latest=True)
        self._replaced = 0
        self._error: BaseException | None = None
        self._closing = threading.Event()
        sides: tuple[Side, Side] = ("left", "right")
        self._threads = [
            threading.Thread(
                target=self._pump, args=(side, eye), name=f"litestereo {eye.name}", daemon=True
            )
            for side, eye in zip(sides, eyes, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def unpaired(self) -> int:
        return self._pairer.unpaired + self._replaced

    def read(self) -> SourceFrame | None:
        with suppress(Ended):
            return self._pairs.get()
        if self._error is not None:
            raise self._error
        return None

    def stop(self) -> None:
        self._closing.set()
        self._pairs.finish()

    def close(self) -> None:
        self.stop()
        deadline_s = time.monotonic() + _CLOSE_WAIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _pump(self, side: Side, eye: _Camera) -> None:
        try:
            while not self._closing.is_set():
                stamped = eye.read()
                with self._lock:
                    pairs = self._pairer.offer(side, stamped)
                for left, right in pairs:
                    earlier_s = min(left.stamp_s, right.stamp_s)
                    frame = SourceFrame(
                        left.picture, right.picture, earlier_s, stamp_s=left.stamp_s
                    )
                    self._replaced += self._pairs.put(frame) is not None
        except BaseException as error:  # whatever it is, this eye gives no more
            self._error = error
            self._pairs.finish()
        finally:
            # By the thread that reads it: releasing a camera under a running read can crash.
            eye.release()
