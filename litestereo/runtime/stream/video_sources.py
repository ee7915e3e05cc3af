"""Video files, read through OpenCV."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path

from litestereo.errors import InputError
from litestereo.runtime.decode import MAXIMUM_PIXELS
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.stream.frames import SourceFrame
from litestereo.runtime.stream.opencv_eye import SideBySideReader, rgb_from_decoded
from litestereo.runtime.stream.pairing import Pairer, Side, Stamped
from litestereo.runtime.stream.sources import Clock, FrameReader, FrameSource

__all__ = ["videos"]

# How AVI, MP4 and MOV, Matroska and WebM, MPEG and Ogg begin. Playlists, which FFmpeg takes for
# videos too, name other files and addresses to read.
_CONTAINER = re.compile(
    rb"RIFF.{4}AVI |.{4}(?:ftyp|moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|\x00\x00\x01|G.{187}G|OggS",
    re.DOTALL,
)


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


class _Videos:
    # From its beginning a damaged file would only fail at the same place again.
    reopens = False

    def __init__(self, left: Path, right: Path | None, realtime: bool) -> None:
        self.name = str(left) if right is None else f"{left} and {right}"
        self.live = realtime
        self._paths = [left] if right is None else [left, right]

    def open(self, clock: Clock) -> FrameReader:
        eyes = [_VideoFile(path) for path in self._paths]
        reader: FrameReader
        if len(eyes) == 1:
            reader = SideBySideReader(eyes[0], clock, live=False)
        else:
            reader = _TwoVideoReader(eyes, clock)
        return _Paced(reader, clock) if self.live else reader


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
        return Stamped(rgb_from_decoded(picture), stamp_s)

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
