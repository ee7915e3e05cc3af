"""Streams: from cameras to results that carry their age, and the words to say what was lost.

    source -> captured -> prepared -> computed -> finished -> the caller

Each arrow is a thread and each name a slot that holds one pair. A live source never waits: what is
not fetched in time is replaced by what is newer, and counted.
"""

from __future__ import annotations

from litestereo.runtime.stream.camera_sources import CameraOptions, cameras
from litestereo.runtime.stream.deadline import DeadlineOptions, Level
from litestereo.runtime.stream.folder_sources import folders
from litestereo.runtime.stream.frames import SourceFrame, StreamResult
from litestereo.runtime.stream.heap import PauseMeter, steady_heap
from litestereo.runtime.stream.jitter import JitterMeter
from litestereo.runtime.stream.sources import PushSource, RepeatedPair
from litestereo.runtime.stream.stream import StereoStream, StreamOptions
from litestereo.runtime.stream.video_sources import videos

__all__ = [
    "CameraOptions",
    "DeadlineOptions",
    "JitterMeter",
    "Level",
    "PauseMeter",
    "PushSource",
    "RepeatedPair",
    "SourceFrame",
    "StereoStream",
    "StreamOptions",
    "StreamResult",
    "cameras",
    "folders",
    "steady_heap",
    "videos",
]
