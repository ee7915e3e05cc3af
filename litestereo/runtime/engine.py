"""`StereoEngine`: three lines from a pair of pictures to a disparity map."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litestereo.assets import artifact_path
from litestereo.errors import EngineError, InputError
from litestereo.runtime.backends import (
    Backend,
    BackendOptions,
    GraphOptimization,
    open_backend,
)
from litestereo.runtime.manifest import Manifest
from litestereo.runtime.preprocess import (
    Frame,
    ScaleOptions,
    disparity_from_padded,
    fit,
    frame_for,
    map_from_padded,
    rgb_pair,
)
from litestereo.runtime.reach import CLIPPED_FROM
from litestereo.runtime.results import Inferred, Prepared, StereoResult, Timings
from litestereo.runtime.tensorrt.options import GpuOptions

if TYPE_CHECKING:
    from litestereo.runtime.cuda.gpu_array import GpuArray
    from litestereo.runtime.geometry.calibration import Calibration
    from litestereo.runtime.geometry.depth import DepthOptions
    from litestereo.runtime.geometry.in_graph import GraphRectification
    from litestereo.runtime.geometry.rig import MetricRig
    from litestereo.runtime.stream.frames import StreamResult
    from litestereo.runtime.stream.sources import FrameSource
    from litestereo.runtime.stream.stream import StereoStream, StreamOptions

__all__ = ["StereoEngine"]

Image = NDArray[np.uint8]

# As unsigned numbers, floats from 0 on have their own order; infinity, NaN and all below 0 are from
# here on. One pass says that a map is as it should be.
_INFINITY_BITS = 0x7F800000
_MOST_BANDS = 16  # of a map whose values at the range's end are counted; sides are multiples of 32


class StereoEngine:
    """A loaded artefact that turns rectified pairs into disparity; close it, or use `with`.

    It may be called from several threads: calls wait for each other.

    Example:
        with StereoEngine.load("las1") as engine:
            result = engine(left, right)  # uint8 RGB (H, W, 3) or grey (H, W)
        depth_m = focal_px * baseline_m / result.disparity_px
    """

    def __init__(self, backend: Backend, *, scaling: ScaleOptions | None = None) -> None:
        """Take over an open backend; `StereoEngine.load` is the usual way.

        Args:
            backend: with an artefact loaded; `close` closes it too.
            scaling: how pictures become what the network sees; None takes them as they are.
        """
        self._backend: Backend | None = backend
        self._manifest = backend.manifest
        self._scaling = scaling or ScaleOptions()
        self._lock = threading.Lock()
        self._may_hang = False
        self._process_id = os.getpid()
        _loaded.add(self)
        self._scaling.check_range(self._manifest.reach_px)
        self._rectification = _rectification(self._manifest, self._scaling)
        self._view: MetricRig | None = None
        self._last_frame: tuple[tuple[object, ...], Frame] | None = None

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        backend: str = "onnxruntime-cpu",
        max_disparity_px: float | None = None,
        scale: float | None = None,
        fit_within: tuple[int, int] | None = None,
        threads: int | None = None,
        graph_optimization: GraphOptimization = "all",
        gpu: GpuOptions | None = None,
    ) -> StereoEngine:
        """Return an engine that is ready to be called.

        Args:
            model: name of a bundled model ("las1"), or the path of an artefact.
            backend: what runs it, one of `BACKEND_NAMES`; never replaced by another one.
            max_disparity_px: largest disparity to expect in the given pictures. Above what the
                network reaches (188 px) it runs at a size reduced by just as much.
            scale: run at this multiple of the picture's size instead; disparities are scaled back.
            fit_within: run at the largest size, up to the picture's own, inside (height, width),
                before the sides are brought to multiples of 32.
            threads: CPU threads; None takes every core that the process may use.
            graph_optimization: how far the backend may rewrite the graph.
            gpu: how a GPU backend builds, caches and runs; None: its defaults.

        Raises:
            InputError: no such model, backend or option.
            EngineError: the artefact is damaged, foreign, or cannot run here.
            MissingDependencyError: the backend's package is not installed.
        """
        scaling = ScaleOptions(scale, fit_within, max_disparity_px)
        options = BackendOptions(threads, graph_optimization, gpu or GpuOptions())
        opened = open_backend(backend, artifact_path(model), options=options)
        try:
            return cls(opened, scaling=scaling)
        except (InputError, EngineError):
            opened.close()
            raise

    @property
    def manifest(self) -> Manifest:
        """What the artefact says about itself."""
        return self._manifest

    @property
    def scaling(self) -> ScaleOptions:
        """At what size it runs."""
        return self._scaling

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the network takes; None: it takes every size."""
        return self._open_backend().fixed_size

    @property
    def is_preparing(self) -> bool:
        """Whether a call takes long just now because its size is got ready: an engine is built."""
        return bool(getattr(self._backend, "is_preparing", False))

    @property
    def calibration(self) -> Calibration | None:
        """What depth follows from, where the artefact rectifies; None: it takes rectified pairs."""
        return None if self._rectification is None else self._rectification.calibration

    def rig(self, *, limits: DepthOptions | None = None) -> MetricRig:
        """Return what turns results into depth and points, for an artefact that rectifies.

        Its `rectified` shows raw pairs as the network sees them; inference does not need it.

        Args:
            limits: which depths and confidences count; None takes all.

        Raises:
            InputError: the artefact takes rectified pairs, and knows no rig.
        """
        if self._rectification is None:
            raise InputError(
                f"the artefact of {self._manifest.model} knows no rig; read one with "
                "MetricRig.read, or make one that rectifies: stereo-export --calib FILE"
            )
        from litestereo.runtime.geometry.rig import MetricRig

        return MetricRig(self._rectification.rig, limits=limits)

    def as_seen(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return a pair as results refer to it: the given one, unless the artefact rectifies.

        Args:
            left: (H, W, 3) uint8 RGB, as the engine is called with.
            right: same of the right camera.
        """
        if self._rectification is None:
            return left, right
        self._view = self._view or self.rig()
        return self._view.rectified(left, right)

    def __call__(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8], *, copy: bool = True
    ) -> StereoResult:
        """Return the disparity and confidence of a rectified pair.

        An artefact that was exported with a calibration takes that rig's raw pairs instead.

        Args:
            left: (H, W, 3) uint8 RGB or (H, W) uint8 grey, at least 32 pixels a side.
            right: same size.
            copy: False lets the result's maps lie in the backend's memory where nothing has to be
                resized, which spares copying them: the next call, of any thread, overwrites them,
                and while they are held `close` leaves that memory as it is.

        Raises:
            InputError: the pair cannot be used as it is.
            EngineError: the engine is closed, or the network failed.
        """
        prepared = self.prepare(left, right)
        with self._lock:
            # Finished inside the lock: a backend may reuse its output buffers in the next call.
            return self.finish(self._inferred(prepared), copy=copy)

    def input_buffers(self, size: tuple[int, int]) -> tuple[Image, Image]:
        """Return two (H, W, 3) uint8 arrays to fill with a pair, for calls that need not copy it.

        With backend tensorrt, and where pictures of this size need neither resizing nor padding,
        they are the memory that the GPU reads: fill them between calls, and give these very arrays
        to each call. They may be kept and filled again for as long as the engine is open. Elsewhere
        they are arrays like others.

        Args:
            size: (height, width) of the pictures.

        Example:
            left, right = engine.input_buffers((480, 640))
            while camera.read_into(left, right):
                result = engine(left, right)

        Raises:
            InputError: the network does not take such a picture.
            EngineError: the engine is closed, or one for this size cannot be made.
        """
        frame = self.frame_for(size)
        with self._lock:
            lend = getattr(self._open_backend(), "input_buffers", None)
            if lend is not None and frame.is_whole:
                pair: tuple[Image, Image] = lend(size)
                return pair
        return np.zeros((*size, 3), np.uint8), np.zeros((*size, 3), np.uint8)

    def frame_for(self, size: tuple[int, int], *, shrink: float = 1.0) -> Frame:
        """Return where a picture of `size` (height, width) comes to lie in what the network sees.

        Args:
            size: (height, width).
            shrink: more scaling, 0 to 1, on top of the engine's own.

        Raises:
            InputError: the network does not take such a picture.
            EngineError: the engine is closed.
        """
        fixed_size = self.fixed_size
        if self._rectification is not None:
            self._rectification.require_raw(size)
            seen = self._rectification.size
            return Frame(seen, seen, seen)
        range_px = self._manifest.reach_px
        return frame_for(
            size,
            scale=self._scaling.scale_for(size, range_px=range_px) * shrink,
            fixed_size=fixed_size,
            multiple_of=self._manifest.input.multiple_of,
            largest_ratio=self._scaling.largest_ratio(range_px=range_px),
        )

    def prepare(
        self, left: NDArray[np.uint8], right: NDArray[np.uint8], *, shrink: float = 1.0
    ) -> Prepared:
        """Return the pair as the network takes it: the first third of a call.

        `prepare`, `infer` and `finish` are a call in three parts, for threads that overlap them.
        A pair that needs no scaling and no margins comes back as the given arrays themselves: they
        must not change before `infer` is done.

        Args:
            left: as for a call.
            right: as for a call.
            shrink: run at this part, 0..1, of the size that a call would.

        Raises:
            InputError: the pair cannot be used as it is.
            EngineError: the engine is closed.
        """
        start = time.perf_counter()
        left, right = rgb_pair(left, right)
        frame = self._frame_of((left.shape[0], left.shape[1]), shrink)
        if self._rectification is not None:
            left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        else:
            left, right = fit(left, frame), fit(right, frame)
        return Prepared(left, right, frame, 1e3 * (time.perf_counter() - start))

    def infer(self, prepared: Prepared) -> Inferred:
        """Return what the network says of a prepared pair, in arrays that no later call touches.

        Args:
            prepared: by `prepare` of this engine.

        Raises:
            EngineError: the engine is closed, or the network failed.
        """
        self._open_backend()
        with self._lock:
            inferred = self._inferred(prepared)
            disparity, confidence = inferred.disparity.copy(), inferred.confidence.copy()
        return dataclasses.replace(inferred, disparity=disparity, confidence=confidence)

    def finish(self, inferred: Inferred, *, copy: bool = True) -> StereoResult:
        """Return the result in the given picture's pixels.

        Args:
            inferred: by `infer` of this engine.
            copy: False lets the result take over the arrays of `inferred`.

        Raises:
            EngineError: the network's answer is no number, or of a wrong size.
        """
        start = time.perf_counter()
        frame = inferred.frame
        peaks, lowest = _peaks(inferred.disparity, frame)
        _require_numbers(inferred.confidence, frame)
        disparity_px = disparity_from_padded(inferred.disparity, frame, copy=copy)
        if lowest < 0:
            np.maximum(disparity_px, 0, out=disparity_px)
        confidence = map_from_padded(inferred.confidence, frame, copy=copy)
        postprocess_ms = 1e3 * (time.perf_counter() - start)
        parts_ms = inferred.preprocess_ms, inferred.inference_ms, postprocess_ms
        backend, device, precision = inferred.ran
        scale = frame.width_ratio
        reach_px = self._manifest.reach_px / scale
        return StereoResult(
            disparity_px=disparity_px,
            confidence=confidence,
            timings=Timings(*parts_ms, total_ms=sum(parts_ms)),
            backend=backend,
            device=device,
            precision=precision,
            scale=scale,
            inference_size=frame.padded_size,
            max_disparity_px=reach_px,
            range_clipped=_share_from(disparity_px, CLIPPED_FROM * reach_px, peaks, frame),
        )

    def infer_gpu(
        self,
        left: object,
        right: object,
        *,
        stream: int = 0,
        disparity: object | None = None,
        confidence: object | None = None,
    ) -> tuple[GpuArray, GpuArray]:
        """Queue a pair that is on the GPU on the caller's stream: no copy, no padding, no waiting.

        Only of the tensorrt backend; `TensorRt.infer_gpu` describes the arguments. The pair must
        have a size that the network takes, and the answers are at that size, in its pixels.

        Args:
            left: (H, W, 3) uint8 RGB on the GPU, C-contiguous.
            right: same of the right camera.
            stream: CUDA stream of the caller, as a number; 0 is the default one.
            disparity: (H, W) float32 on the GPU to write into; None takes a buffer of the engine's.
            confidence: likewise.

        Raises:
            InputError: the backend has no GPU, or an array does not fit.
            EngineError: the engine is closed, or TensorRT failed.
        """
        self._open_backend()
        with self._lock:
            backend = self._open_backend()
            queue = getattr(backend, "infer_gpu", None)
            if queue is None:
                raise InputError(
                    f"the backend {backend.name} takes no GPU arrays; load with backend='tensorrt'"
                )
            queued: tuple[GpuArray, GpuArray] = queue(
                left, right, stream=stream, disparity=disparity, confidence=confidence
            )
            return queued

    def stream(
        self,
        source: FrameSource | Iterable[Any],
        *,
        options: StreamOptions | None = None,
        prepare: Callable[[Image, Image], tuple[Image, Image]] | None = None,
        post: Callable[[StreamResult], Any] | None = None,
    ) -> StereoStream:
        """Return a stream of results from cameras, videos, folders or any iterable of pairs.

        Capture, preparation, inference and post-processing overlap in threads of their own. A live
        source is never waited on by it: pairs that cannot be computed in time are dropped and
        counted.

        Args:
            source: of `litestereo.runtime.stream`, such as `cameras(0, 2)`; or an iterable of
                (left, right).
            options: deadline, watchdogs, reconnects.
            prepare: what each pair goes through first, such as a `Rectifier`.
            post: what each result goes through last, in its own thread; see `StreamResult.post`.

        Example:
            with StereoEngine.load("las1") as engine, engine.stream(cameras(0, 2)) as stream:
                for result in stream:
                    print(result.sequence, result.age_ms, result.stereo.disparity_px.shape)
        """
        from litestereo.runtime.stream.stream import StereoStream

        return StereoStream(self, source, options=options, prepare=prepare, post=post)

    def close(self) -> None:
        """Free the backend; closing twice is fine, and waits for a call that is under way.

        In a fork it does nothing: the backend is the parent's.
        """
        if self._process_id != os.getpid() or self._backend is None:
            return
        if not self._lock.acquire(blocking=not self._may_hang):
            _left_behind.append(self._backend)  # its memory may still be written to
            self._backend = None
            return
        try:
            backend, self._backend = self._backend, None
        finally:
            self._lock.release()
        if backend is not None:
            backend.close()

    def expect_no_answer(self) -> None:
        """Say that the call under way may never end: `close` then leaves it and its backend behind.

        A stream does so when the engine has not answered for too long. Restart the process soon.
        """
        self._may_hang = True

    def __enter__(self) -> StereoEngine:
        """Return the engine itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    def _inferred(self, prepared: Prepared) -> Inferred:
        """Run the network; the arrays are the backend's. Call it with the lock held."""
        backend = self._open_backend()
        start = time.perf_counter()
        disparity, confidence = backend.infer(prepared.left, prepared.right)
        self._may_hang = False
        return Inferred(
            disparity,
            confidence,
            prepared.frame,
            preprocess_ms=prepared.preprocess_ms,
            inference_ms=1e3 * (time.perf_counter() - start),
            ran=(backend.name, backend.device, backend.precision),
        )

    def _frame_of(self, size: tuple[int, int], shrink: float) -> Frame:
        """Return `frame_for`, remembered: a camera's pictures are all of one size."""
        self._open_backend()
        key, known = (size, shrink), self._last_frame
        if known is None or known[0] != key:
            known = self._last_frame = key, self.frame_for(size, shrink=shrink)
        return known[1]

    def _open_backend(self) -> Backend:
        # Neither ONNX Runtime's threads nor a CUDA context are there after a fork, and the lock
        # would never be given back if another thread's call held it just then.
        if self._process_id != os.getpid():
            raise EngineError(
                f"the engine was loaded in process {self._process_id} and this is a fork of it, "
                f"{os.getpid()}; load one in each process, after the fork"
            )
        if self._backend is None:
            raise EngineError("the engine is closed; load a new one with StereoEngine.load")
        return self._backend


def _keep_for_ever() -> None:
    """Keep a fork from freeing what it inherits of engines.

    ONNX Runtime 1.32 waits for threads that the fork does not have, and never ends.
    """
    for engine in _loaded:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine._backend))


_left_behind: list[Backend] = []
_loaded: weakref.WeakSet[StereoEngine] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_ever)


def _rectification(manifest: Manifest, scaling: ScaleOptions) -> GraphRectification | None:
    """Return what the artefact's graph rectifies; its size is in the graph, too."""
    if not manifest.rectification:
        return None
    from litestereo.runtime.geometry.in_graph import GraphRectification

    inside = GraphRectification.from_json(manifest.rectification)
    if inside.raw_size != manifest.input.fixed_size or inside.size != manifest.answer_size:
        raise EngineError(
            f"the manifest's rig is for pictures of {inside.raw_size} and its input for "
            f"{manifest.input.fixed_size}; export it again"
        )
    resizes = scaling.scale is not None or scaling.fit_within is not None
    if resizes or (scaling.max_disparity_px or 0.0) > manifest.reach_px:
        height, width = inside.size
        raise InputError(
            f"the artefact rectifies to {height}x{width} in its graph and cannot run at another "
            "size; export one for a smaller --height and --width, which reaches nearer"
        )
    return inside


def _peaks(disparity: NDArray[np.float32], frame: Frame) -> tuple[list[float], float]:
    """Return the largest value in each of some bands of rows, from the top, and the least of all.

    The least is 0 if none is below. A map with what is no number is refused.
    """
    _require_size(disparity, "disparity", frame)
    bands = disparity.reshape(math.gcd(len(disparity), _MOST_BANDS), -1)
    peaks = bands.view(np.uint32).max(axis=1)
    if max(peaks.tolist()) < _INFINITY_BITS:
        return peaks.view(np.float32).tolist(), 0.0
    least, most = _extremes(disparity, "disparity")
    return [most], least


def _require_numbers(confidence: NDArray[np.float32], frame: Frame) -> None:
    """Refuse a map with what is no number."""
    _require_size(confidence, "confidence", frame)
    if int(confidence.view(np.uint32).max()) >= _INFINITY_BITS:
        _extremes(confidence, "confidence")


def _require_size(padded: NDArray[np.float32], name: str, frame: Frame) -> None:
    if padded.shape != frame.padded_size:
        raise EngineError(
            f"the network gave a {name} of {padded.shape} for {frame.padded_size}; "
            "the artefact is not what its manifest says: export it again"
        )


def _extremes(padded: NDArray[np.float32], name: str) -> tuple[float, float]:
    """Return a map's least and largest value; refuse what is no number."""
    least, most = float(padded.min()), float(padded.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise EngineError(
            f"the network's {name} holds NaN or infinity; its weights or its precision "
            "do not suit: export it again with the parity gate on"
        )
    return least, most


def _share_from(
    values: NDArray[np.float32], bound: float, peaks: list[float], frame: Frame
) -> float:
    """Return the share of values from the bound on; `peaks` are by `_peaks`, before scaling."""
    if max(peaks) / frame.width_ratio < bound:
        return 0.0
    counted = values
    if frame.is_whole:
        # Only what lies between the first and the last band that has any.
        rows, least = len(values) // len(peaks), float(np.float32(bound))
        high = [band for band, peak in enumerate(peaks) if peak >= least]
        counted = values[rows * high[0] : rows * (high[-1] + 1)]
    return float(np.count_nonzero(counted >= bound) / values.size)
