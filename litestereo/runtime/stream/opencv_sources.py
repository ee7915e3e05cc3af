"""Cameras, videos and folders, read through OpenCV."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.decode import MAXIMUM_PIXELS
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.pairs import PairSource, find_pairs, find_side_by_side
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.pairing import Pairer, Side, Stamped
from litestereo.runtime.stream.slots import Ended, Slot
from litestereo.runtime.stream.sources import Clock, FrameReader, FrameSource

__all__ = ["CameraOptions", "cameras", "folders", "videos"]

Image = NDArray[np.uint8]
# How long a closing reader waits for a camera that is in the middle of a picture.
_CLOSE_WAIT_S = 0.5
# How AVI, MP4 and MOV, Matroska and WebM, MPEG and Ogg begin. Playlists, which FFmpeg takes for
# videos too, name other files and addresses to read.
_CONTAINER = re.compile(
    rb"RIFF.{4}AVI |.{4}(?:ftyp|moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|\x00\x00\x01|G.{187}G|OggS",
    re.DOTALL,
)


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


def videos(
    left: Path | str, right: Path | str | None = None, *, realtime: bool = False
) -> FrameSource:
    """Return the pairs of two video files, or of one whose pictures hold both eyes side by side.

    Two files are paired by the time of their frames: half of a frame's period may lie between.

    Args:
        left: the file.
        right: same; None: `left` holds both eyes.
        realtime: play at the file's own speed, as a camera would, and let pairs drop; otherwise
            every pair is computed.
    """
    return _Videos(Path(left), None if right is None else Path(right), realtime)


def folders(left: Path | str, right: Path | str | None = None) -> FrameSource:
    """Return the pairs of two folders (or patterns) of pictures, in natural order; all of them.

    Args:
        left: the left pictures, or a folder that holds `left` and `right` (or `image_0`,
            `image_1`, `cam0`, `cam1`), or one of pictures that hold both eyes side by side.
        right: the right pictures.

    Raises:
        InputError: nothing is there, or the counts differ.
    """
    return _Folders(_folder_pairs(str(left), None if right is None else str(right)))


def _folder_pairs(left: str, right: str | None) -> Sequence[PairSource]:
    if right is not None:
        return find_pairs(left, right)
    for names in (("left", "right"), ("image_0", "image_1"), ("cam0", "cam1")):
        sides = [Path(left) / name for name in names]
        if all(side.is_dir() for side in sides):
            return find_pairs(str(sides[0]), str(sides[1]))
    if not Path(left).is_dir() and not any(letter in left for letter in "*?["):
        raise InputError(
            f"{left} is no folder; give one that holds left and right pictures in folders of "
            "these names, or pictures with both eyes side by side"
        )
    return find_side_by_side([left])


class _Folders:
    live = False
    reopens = True

    def __init__(self, pairs: Sequence[PairSource]) -> None:
        self.name = f"{len(pairs)} pairs from {pairs[0].left.parent}"
        self._pairs = pairs

    def open(self, clock: Clock) -> FrameReader:
        return _FolderReader(self._pairs, clock)


class _FolderReader:
    unpaired = 0

    def __init__(self, pairs: Sequence[PairSource], clock: Clock) -> None:
        self._left = iter(pairs)
        self._clock = clock

    def read(self) -> SourceFrame | None:
        source = next(self._left, None)
        if source is None:
            return None
        try:
            pair = source.read()
        except InputError as error:
            nothing = np.empty((0, 0), np.uint8)
            return SourceFrame(
                nothing, nothing, self._clock(), name=source.name, problem=str(error)
            )
        return SourceFrame(pair.left, pair.right, self._clock(), name=source.name)

    def stop(self) -> None:
        self._left = iter(())

    def close(self) -> None:
        self._left = iter(())


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
        except InputError:
            for eye in eyes:
                eye.release()
            raise
        if len(eyes) == 1:
            return _SideBySideReader(eyes[0], clock)
        return _TwoCameraReader(eyes, clock, tolerance_ms=self._options.tolerance_ms)


class _Camera:
    """An open camera; stamps are the moment after its picture was grabbed."""

    def __init__(self, device: int | str, options: CameraOptions, clock: Clock) -> None:
        cv2 = import_cv2("cameras")
        self.name = f"camera {device}"
        self._clock = clock
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
        if not self._capture.grab():
            raise InputError(f"{self.name} stopped giving pictures; check its cable and power")
        stamp_s = self._clock()
        given, picture = self._capture.retrieve()
        if not given:
            raise InputError(
                f"{self.name} gave a picture that cannot be decoded; check its cable and mode"
            )
        return Stamped(_rgb(picture), stamp_s)

    def release(self) -> None:
        self._capture.release()

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


class _VideoFile:
    """An open video; stamps are the time inside it."""

    def __init__(self, path: Path) -> None:
        cv2 = import_cv2("videos")
        self._path = path
        if not path.is_file():
            raise InputError(f"{path} is not a file; give a video")
        _require_container(path)
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(
                f"{path} is damaged or no video that this OpenCV reads; convert it to MP4 or AVI"
            )
        sides = cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH
        height, width = (self._capture.get(side) for side in sides)
        if not height * width <= MAXIMUM_PIXELS:
            self._capture.release()
            raise InputError(
                f"{path} says that its pictures are {height:.0f}x{width:.0f}; at most "
                f"{MAXIMUM_PIXELS // 10**6} megapixels are read: scale it down first"
            )
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.period_s = 1 / rate_hz if 0 < rate_hz < 1000 else 1 / 30
        self._position, self._failure = cv2.CAP_PROP_POS_MSEC, cv2.error
        self._index = 0
        self._last_s = 0.0

    def read(self) -> Stamped | None:
        try:
            given, picture = self._capture.read()
        except self._failure as error:
            words = " ".join(str(error).split())
            raise InputError(
                f"{self._path} cannot be decoded: {words}; convert it again"
            ) from error
        if not given:
            if self._index == 0:
                raise InputError(
                    f"{self._path} has no frame that can be decoded; record or convert it again"
                )
            return None
        stamp_s = self._capture.get(self._position) / 1e3
        if self._index > 0 and not stamp_s > self._last_s:  # not every container has positions
            stamp_s = self._last_s + self.period_s
        self._last_s = stamp_s
        self._index += 1
        return Stamped(_rgb(picture), stamp_s)

    def release(self) -> None:
        self._capture.release()


def _require_container(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(188 + 1)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; check that you may read it"
        ) from error
    if not _CONTAINER.match(begin):
        raise InputError(
            f"{path} is damaged or no video that is read here; need AVI, MP4, MOV, Matroska, WebM, "
            "MPEG or Ogg: convert it"
        )


class _Videos:
    reopens = True

    def __init__(self, left: Path, right: Path | None, realtime: bool) -> None:
        self.name = str(left) if right is None else f"{left} and {right}"
        self.live = realtime
        self._paths = [left] if right is None else [left, right]

    def open(self, clock: Clock) -> FrameReader:
        eyes = [_VideoFile(path) for path in self._paths]
        reader: FrameReader
        if len(eyes) == 1:
            reader = _SideBySideReader(eyes[0], clock)
        else:
            reader = _TwoVideoReader(eyes, clock)
        return _Paced(reader, clock) if self.live else reader


class _SideBySideReader:
    """Splits the pictures of one eye into halves."""

    unpaired = 0

    def __init__(self, eye: _Camera | _VideoFile, clock: Clock) -> None:
        self._eye = eye
        self._clock = clock
        self._is_camera = isinstance(eye, _Camera)

    def read(self) -> SourceFrame | None:
        stamped = self._eye.read()
        if stamped is None:
            return None
        width = stamped.picture.shape[1]
        if width % 2:
            raise InputError(
                f"the pictures are {width} pixels wide; side by side they have two halves of one "
                "width: give two cameras or files instead"
            )
        left, right = stamped.picture[:, : width // 2], stamped.picture[:, width // 2 :]
        captured_s = stamped.stamp_s if self._is_camera else self._clock()
        return SourceFrame(left, right, captured_s, stamp_s=stamped.stamp_s)

    def stop(self) -> None:
        """Do nothing: a camera's read cannot be cut short, and ends with its next picture."""

    def close(self) -> None:
        self._eye.release()


class _TwoVideoReader:
    """Pairs two files by time, reading on in the one that is behind."""

    def __init__(self, eyes: Sequence[_VideoFile], clock: Clock) -> None:
        self._eyes: dict[Side, _VideoFile] = {"left": eyes[0], "right": eyes[1]}
        self._clock = clock
        self._pairer = Pairer(500 * min(eye.period_s for eye in eyes))

    @property
    def unpaired(self) -> int:
        return self._pairer.unpaired

    def read(self) -> SourceFrame | None:
        while True:
            side = self._pairer.older_side()
            stamped = self._eyes[side].read()
            if stamped is None:
                return None
            for left, right in self._pairer.offer(side, stamped):
                return SourceFrame(left.picture, right.picture, self._clock(), stamp_s=left.stamp_s)

    def stop(self) -> None:
        """Do nothing: a file does not wait."""

    def close(self) -> None:
        for eye in self._eyes.values():
            eye.release()


class _Paced:
    """Plays a file at its own speed."""

    def __init__(self, reader: FrameReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._start_s: float | None = None
        self._closing = threading.Event()

    @property
    def unpaired(self) -> int:
        return self._reader.unpaired

    def read(self) -> SourceFrame | None:
        frame = self._reader.read()
        if frame is None or frame.stamp_s is None:
            return None
        now_s = self._clock()
        if self._start_s is None:
            self._start_s = now_s - frame.stamp_s
        due_s = self._start_s + frame.stamp_s
        if self._closing.wait(max(0.0, due_s - now_s)):
            return None
        return SourceFrame(frame.left, frame.right, self._clock(), stamp_s=frame.stamp_s)

    def stop(self) -> None:
        self._closing.set()

    def close(self) -> None:
        self._reader.close()


class _TwoCameraReader:
    """Reads two cameras in two threads, so that neither waits for the other, and pairs by time."""

    def __init__(self, eyes: Sequence[_Camera], clock: Clock, *, tolerance_ms: float) -> None:
        self._pairer = Pairer(tolerance_ms)
        self._lock = threading.Lock()
        self._pairs: Slot[SourceFrame] = Slot(1, keep_latest=True)
        self._replaced = 0
        self._error: InputError | None = None
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
        try:
            return self._pairs.get()
        except Ended:
            if self._error is not None:
                raise self._error from None
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
        except InputError as error:
            self._error = error
            self._pairs.finish()
        finally:
            # By the thread that reads it: releasing a camera under a running read can crash.
            eye.release()


def _rgb(picture: NDArray[Any]) -> Image:
    """Return a decoded BGR or grey picture as RGB or grey."""
    if picture.ndim == 2:
        return picture
    cv2 = import_cv2("cameras and videos")
    converted: Image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return converted
