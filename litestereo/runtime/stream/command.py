"""Run an engine over a stream and write what was asked for: `stereo-run --camera` and the like."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import InputError
from litestereo.runtime.batch import (
    OutputOptions,
    as_seen,
    check_order,
    depth_notes,
    output_targets,
    pair_notes,
    result_notes,
    with_own_metric,
    write_outputs,
)
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.files import write_atomic
from litestereo.runtime.geometry.metric import MetricRun
from litestereo.runtime.images import StereoPair
from litestereo.runtime.preprocess import rgb_pair
from litestereo.runtime.stream.camera_sources import CameraOptions, cameras
from litestereo.runtime.stream.deadline import DeadlineOptions, Level
from litestereo.runtime.stream.folder_sources import folders
from litestereo.runtime.stream.frames import StreamResult
from litestereo.runtime.stream.jitter import JitterMeter
from litestereo.runtime.stream.sources import FrameSource
from litestereo.runtime.stream.stream import StereoStream, StreamOptions
from litestereo.runtime.stream.video_sources import videos
from litestereo.runtime.visualize import robust_maximum_px

__all__ = ["StreamRequest", "run_stream"]

Image = NDArray[np.uint8]
# A camera has no end: all that is asked for of each of its results would fill any disk.
_CAMERA_SAVE_EVERY = 30


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What the command line asks for.

    Attributes:
        videos: one side-by-side file, or left and right.
        cameras: same, of cameras.
        camera_options: what is asked of the cameras.
        folders: same, of folders.
        output: what is written of each result, and where.
        realtime: play videos at their own speed.
        rate_hz: target rate; None has no deadline.
        max_age_ms: greatest age of a result.
        shrinks: sizes to step down to under overload, as parts of the full one.
        frames: stop after so many results; None goes on to the source's end.
        save_every: write each so many results; 0 writes none; None writes all of files and each
            30th of cameras.
        metrics: file that is kept up to date with the health in Prometheus' text format; where it
            cannot be, that is said, and the stream goes on.
        reconnects: how often in a row a lost source is opened again.
        jitter: measure how much the answers move; the scene must stand still.
        report_every_s: time between lines of health.
    """

    videos: tuple[Path, ...] = ()
    cameras: tuple[str, ...] = ()
    camera_options: CameraOptions | None = None
    folders: tuple[Path, ...] = ()
    output: OutputOptions = dataclasses.field(default_factory=lambda: OutputOptions(Path("out")))
    realtime: bool = False
    rate_hz: float | None = None
    max_age_ms: float | None = None
    shrinks: tuple[float, ...] = ()
    frames: int | None = None
    save_every: int | None = None
    metrics: Path | None = None
    reconnects: int = 0
    jitter: bool = False
    report_every_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse more than one source, and a deadline's options without a deadline."""
        given = [each for each in (self.videos, self.cameras, self.folders) if each]
        if len(given) != 1 or len(given[0]) > 2:
            raise InputError(
                "need one source: --video, --camera or --folder; once for pictures that hold both "
                "eyes side by side, twice for left and right"
            )
        if self.camera_options is not None and not self.cameras:
            raise InputError("--camera-size and --camera-format belong to cameras; add --camera")
        if self.rate_hz is None and (self.shrinks or self.max_age_ms is not None):
            raise InputError("--shrink and --max-age belong to a deadline; give its --rate, too")
        if self.jitter and self.frames == 1:
            raise InputError("--jitter compares frames, and --frames is 1; give 2 or more")
        if self.output.names_a_file:
            raise InputError(f"output {self.output.output} is one file; a stream needs a folder")

    @property
    def saved_every(self) -> int:
        """Each so many results are written; 0: none."""
        if self.save_every is not None:
            return self.save_every
        return _CAMERA_SAVE_EVERY if self.cameras else 1

    def source(self) -> FrameSource:
        """Return the source; cameras that are numbers are OpenCV's indices."""
        if self.videos:
            return videos(*self.videos, realtime=self.realtime)
        if self.folders:
            return folders(*self.folders)
        devices = (int(each) if each.isdecimal() else each for each in self.cameras)
        return cameras(*devices, options=self.camera_options)

    def options(self) -> StreamOptions:
        """Return how the stream runs."""
        if self.rate_hz is None:
            return StreamOptions(reconnects=self.reconnects)
        ordered = sorted(set(self.shrinks), reverse=True)
        levels = (Level("full"), *(Level(f"{shrink:g}", shrink) for shrink in ordered))
        deadline = DeadlineOptions(1e3 / self.rate_hz, max_age_ms=self.max_age_ms, levels=levels)
        return StreamOptions(deadline=deadline, reconnects=self.reconnects)


def run_stream(
    engine: StereoEngine,
    request: StreamRequest,
    *,
    progress: Callable[[str], None],
    stopped: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run to the source's end, the asked number of results, or Ctrl-C; return a summary for JSON.

    Args:
        engine: that computes.
        request: what to do.
        progress: takes a line of health now and then.
        stopped: takes the summary where a handler of a signal ends the run by SystemExit, which is
            raised on.
    """
    request = dataclasses.replace(request, output=with_own_metric(request.output, engine))
    metric = MetricRun(request.output.metric, engine=engine) if request.output.metric else None
    tell = _once(progress)
    prepare = None if metric is None else _preparing(metric, tell)
    stream = engine.stream(request.source(), options=request.options(), prepare=prepare)
    writer = _Writer(engine, request, metric, progress, tell)
    reporter = _Reporter(stream, request, progress)
    jitter = JitterMeter() if request.jitter else None

    def summary(ended: str) -> dict[str, Any]:
        found = {
            "model": engine.manifest.model,
            "weights_sha256": engine.manifest.weights_sha256,
            "exported_by": engine.manifest.litestereo_version,
            "ended": ended,
            "saved": writer.saved,
            "health": stream.health,
            "steps": [dataclasses.asdict(step) for step in stream.steps],
        }
        if jitter is None:
            return found
        # One who stops early gets what there is.
        few = ended == "interrupt" and jitter.frames < 2
        return {**found, "jitter": None if few else jitter.report()}

    ended = "source"
    try:
        for count, result in enumerate(stream, start=1):
            writer.take(result)
            if jitter is not None:
                jitter.add(result.stereo.disparity_px)
            reporter.tell()
            if count == request.frames:
                ended = "frames"
                break
    except KeyboardInterrupt:
        ended = "interrupt"
    except SystemExit:
        stream.close()
        stopped(summary("interrupt"))
        raise
    finally:
        stream.close()
        reporter.tell(last=True)
    return summary(ended)


def _once(progress: Callable[[str], None]) -> Callable[[Iterable[str]], None]:
    """Return what says notes, each only the first time that it comes."""
    said: set[str] = set()

    def tell(notes: Iterable[str]) -> None:
        for note in notes:
            if note not in said:
                said.add(note)
                progress(note)

    return tell


def _preparing(
    metric: MetricRun, tell: Callable[[Iterable[str]], None]
) -> Callable[[Image, Image], tuple[Image, Image]]:
    """Return what rectifies each pair, if the calibration asks for it, and tells its notes."""

    def prepare(left: Image, right: Image) -> tuple[Image, Image]:
        pair = metric.prepared(StereoPair(*rgb_pair(left, right)))
        tell(pair.notes)
        return pair.left, pair.right

    return prepare


class _Writer:
    """Writes results, all in one colour scale: the first one's, unless one is given."""

    def __init__(
        self,
        engine: StereoEngine,
        request: StreamRequest,
        metric: MetricRun | None,
        progress: Callable[[str], None],
        tell: Callable[[Iterable[str]], None],
    ) -> None:
        self._engine = engine
        self._request = request
        self._metric = metric
        self._progress, self._tell = progress, tell
        self._options = request.output
        self._noted: set[str] = set()  # kinds of notes that were said of a result
        self._count = 0
        self.saved = 0

    def take(self, result: StreamResult) -> None:
        """Write a result if it is its turn; refuse a rig whose first pair looks swapped."""
        self._count += 1
        self._tell(result.frame.notes)
        every = self._request.saved_every
        if self._count > 1 and (every == 0 or (self._count - 1) % every):
            return
        pair = StereoPair(*rgb_pair(result.left, result.right))
        if self._count == 1:
            self._tell_of_first(pair_notes(pair))
            if not self._options.allow_swapped:
                check_order(pair)
        if every == 0:
            return
        pair = as_seen(self._engine, pair)
        if self._options.max_color_px is None:
            end_px = robust_maximum_px(result.stereo.disparity_px)
            self._options = dataclasses.replace(self._options, max_color_px=end_px)
        name = result.frame.name or f"frame_{result.sequence:06d}"
        targets = output_targets(name, self._options)
        if "view" in targets:
            # One page for the whole stream, always of the latest result: it is large.
            targets["view"] = self._options.output / "view.html"
        write_outputs(pair, result.stereo, targets=targets, options=self._options)
        if self._metric is not None:
            facts = self._metric.write(
                pair,
                result.stereo,
                size=result.frame.left.shape[:2],
                targets=targets,
                max_color_px=self._options.max_color_px,
            )
            if not self.saved:
                self._tell_of_first(depth_notes(facts))
        notes = result_notes(self._engine, result.stereo, options=self._options)
        for kind, note in notes.items():
            if kind not in self._noted:
                self._noted.add(kind)
                self._progress(f"{name}: {note}")
        if not self.saved and self._request.save_every is None and every > 1:
            folder = self._options.output
            self._progress(f"each {every}th result is written to {folder}; --save-every changes it")
        self.saved += 1

    def _tell_of_first(self, notes: Iterable[str]) -> None:
        """Say what was noticed of the first pair; the others come from the same cameras."""
        for note in notes:
            self._progress(f"first pair: {note}")


class _Reporter:
    """Tells the stream's health at most once in a while."""

    def __init__(
        self, stream: StereoStream, request: StreamRequest, progress: Callable[[str], None]
    ) -> None:
        self._stream = stream
        self._request = request
        self._progress = progress
        self._next_s = time.monotonic() + request.report_every_s
        self._is_written = True

    def tell(self, *, last: bool = False) -> None:
        """Say a line and bring the metrics' file up to date, if it is time."""
        now_s = time.monotonic()
        if now_s < self._next_s and not last:
            return
        self._next_s = now_s + self._request.report_every_s
        # Of a source that could not be opened the error says more.
        if not last or self._stream.health["frames_in"]:
            self._progress(self._stream.health_line())
        if self._request.metrics is not None:
            self._write(self._request.metrics)

    def _write(self, metrics: Path) -> None:
        """Write the metrics; where that fails, as on a full disk, say so once and go on."""
        try:
            write_atomic(metrics, self._stream.prometheus_text().encode())
        except InputError as error:
            if self._is_written:
                self._progress(f"the metrics are not up to date: {error}")
            self._is_written = False
        else:
            self._is_written = True
