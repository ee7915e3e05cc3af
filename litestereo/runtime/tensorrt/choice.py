"""Keep an INT8 engine only where it pays: compared with FP16, side by side, on this GPU.

INT8 is not faster everywhere: small convolutions, reformats between layers and GPUs with fast half
make it slower as often as not. So nobody's table decides, but a run of both engines in turns. Nor
is an engine right because its graph is: TensorRT 8.6 made one that was 4 px off, of a graph that
ONNX Runtime answered within 0.1 px. So their answers are compared, too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.backend import TensorRt, build_ahead, load
from litestereo.runtime.tensorrt.options import GpuOptions, SizeRange

__all__ = ["LEAST_GAIN", "MOST_APART_PX", "Choice", "choose_engine", "timed_in_turns"]

LEAST_GAIN = 1.05
"""INT8 must take FP16's time divided by this at most: less would be the machine's own noise."""

MOST_APART_PX = 0.3
"""INT8's disparity may be so far from FP16's, on average over the pair: three times what the gate
of artefacts allows on average over many pairs, as one may be harder than most."""

Call = Callable[[], float]
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

_WARM_UP = 30
_ROUNDS = 30
_BLOCK = 10
_SETTLE = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """What was measured, and what is kept.

    Attributes:
        gpu: what it ran on.
        size: (height, width) of the pictures.
        int8_ms: median of the GPU's time for one pair; None where TensorRT refused to build it.
        fp16_ms: likewise.
        samples: calls of each that were timed.
        forced: keep INT8 whatever was measured.
        attestation: what each engine's layers compute in, in words.
        refused: TensorRT's words about the INT8 engine, "" where it was built.
        apart_px: mean absolute difference of the two engines' disparity, pixels; None where there
            is no INT8.
    """

    gpu: str
    size: tuple[int, int]
    int8_ms: float | None
    fp16_ms: float
    samples: int
    forced: bool
    attestation: Mapping[str, str]
    refused: str = ""
    apart_px: float | None = None

    @property
    def gain(self) -> float:
        """FP16's time over INT8's; above 1 is faster, 0 says that there is no INT8."""
        return 0.0 if self.int8_ms is None else self.fp16_ms / self.int8_ms

    @property
    def pays(self) -> bool:
        """Whether INT8 is faster by enough."""
        return self.gain >= LEAST_GAIN

    @property
    def agrees(self) -> bool:
        """Whether INT8's answer is FP16's, within what quantising may cost."""
        return self.apart_px is not None and self.apart_px <= MOST_APART_PX  # NaN is apart, too

    @property
    def kept(self) -> str:
        """Which engine is kept: "int8" or "fp16"."""
        return "int8" if (self.pays and self.agrees) or self.forced else "fp16"

    def __str__(self) -> str:
        """Say what was measured and what follows."""
        where = f"{self.gpu}, {self.size[0]}x{self.size[1]}"
        if self.int8_ms is None:
            return f"{where}: no INT8 engine can be built, so FP16 is kept: {self.refused}"
        measured = (
            f"{where}: INT8 {self.int8_ms:.3f} ms, FP16 "
            f"{self.fp16_ms:.3f} ms, {self.gain:.2f} times as fast ({self.samples} calls in "
            f"turns), disparity {self.apart_px:.3f} px apart"
        )
        if self.pays and self.agrees:
            return f"{measured}: INT8 is kept"
        faults = [] if self.agrees else [f"at most {MOST_APART_PX:g} px is allowed"]
        faults += [] if self.pays else [f"at least {LEAST_GAIN:.2f} times is asked for"]
        wanted = " and ".join(faults)
        if self.forced:
            return f"{measured}: {wanted}, but INT8 is kept by force"
        return f"{measured}: {wanted}, so FP16 is kept (--force keeps INT8)"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, for manifests and receipts."""
        found = {**asdict(self), "attestation": dict(self.attestation)}
        if self.apart_px is not None and not math.isfinite(self.apart_px):
            found["apart_px"] = None  # JSON has no such numbers; "agrees" says that it is wrong
        verdict = {"pays": self.pays, "agrees": self.agrees, "kept": self.kept}
        return {**found, "gain": round(self.gain, 4), **verdict}


def choose_engine(
    int8: Path, fp16: Path, *, pair: Pair, options: GpuOptions, force: bool = False
) -> Choice:
    """Build both artefacts' engines where they are not cached, compare them, and keep one.

    Where FP16 is kept, the INT8 engine is removed from the cache. It is kept, too, where this
    TensorRT refuses to build INT8.

    Args:
        int8: INT8 artefact of a fixed size, or of any if `options` state a fixed size range.
        fp16: FP16 artefact of the same model, weights and size.
        pair: left and right, (H, W, 3) uint8 RGB, rectified, of the artefacts' size.
        options: how engines are built and run.
        force: keep INT8 whatever is measured.

    Raises:
        EngineError: the artefacts or the pair do not belong together, or an engine cannot be built
            or run; INT8's only with `force`.
        MissingDependencyError: tensorrt, or a package for GPU memory, is not installed.
    """
    size = _common_size(int8, fp16, options.size_range)
    if any(picture.shape != (*size, 3) for picture in pair):
        raise EngineError(
            f"the pair to compare on is {pair[0].shape} and {pair[1].shape}; need {(*size, 3)}"
        )
    cached, refused = None, ""
    try:
        cached = build_ahead(int8, options=options)
    except EngineError as error:
        if force:
            raise
        refused = str(error)
    artifacts = {"int8": int8, "fp16": fp16} if cached else {"fp16": fp16}
    with ExitStack() as opened:
        backends = {}
        for kind, artifact in artifacts.items():
            backends[kind] = _load(artifact, options)
            opened.callback(backends[kind].close)
        times_ms = timed_in_turns({k: _call(b, pair) for k, b in backends.items()})
        answers = {k: b.infer(*pair)[0].copy() for k, b in backends.items()}
        choice = Choice(
            gpu=backends["fp16"].device,
            size=size,
            int8_ms=median(times_ms["int8"]) if cached else None,
            fp16_ms=median(times_ms["fp16"]),
            samples=len(times_ms["fp16"]),
            forced=force,
            attestation={kind: str(backend.attestation) for kind, backend in backends.items()},
            refused=refused,
            apart_px=float(np.abs(answers["int8"] - answers["fp16"]).mean()) if cached else None,
        )
    if choice.kept == "fp16" and cached and cached.path is not None:
        for file in (cached.path.with_suffix(".json"), cached.path):
            file.unlink(missing_ok=True)
    options.say(str(choice))
    return choice


def timed_in_turns(
    calls: Mapping[str, Call], *, rounds: int = _ROUNDS, block: int = _BLOCK
) -> dict[str, list[float]]:
    """Return milliseconds of each call, taken in blocks whose order is shuffled each round.

    What changes in the machine (clocks, heat, other load) then hits all alike. The first calls of
    a block bring a call's own data back and are not counted.

    Args:
        calls: run once and give milliseconds, by name.
        rounds: how often each has its turn.
        block: counted calls in a turn.
    """
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    shuffler, order = random.Random(0), list(calls)
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            for _ in range(_SETTLE):
                calls[name]()
            times_ms[name] += [calls[name]() for _ in range(block)]
    return times_ms


def _common_size(int8: Path, fp16: Path, asked: SizeRange | None) -> tuple[int, int]:
    """Return the size of both, which must be of one network; `asked` is that of dynamic ones."""
    manifests = read_artifact(int8).manifest, read_artifact(fp16).manifest
    kinds = tuple(manifest.precision for manifest in manifests)
    if kinds != ("int8", "fp16"):
        raise EngineError(f"{int8} is {kinds[0]} and {fp16} is {kinds[1]}; need int8 and fp16")
    for name in ("model", "weights_sha256"):
        first, second = (getattr(manifest, name) for manifest in manifests)
        if first != second:
            raise EngineError(
                f"{int8} has {name} {first} and {fp16} {second}; export both from the same weights"
            )
    free = asked.largest if asked is not None and asked.is_fixed else None
    sizes = [manifest.input.fixed_size or free for manifest in manifests]
    if sizes[0] is None or sizes[0] != sizes[1]:
        raise EngineError(
            f"{int8} has size {sizes[0]} and {fp16} {sizes[1]}; export both with the same --height "
            "and --width"
        )
    return sizes[0]


def _load(artifact: Path, options: GpuOptions) -> TensorRt:
    return load(artifact, BackendOptions(gpu=options))


def _call(backend: TensorRt, pair: Pair) -> Call:
    """Return a call that matches the pair and gives the GPU's own milliseconds for the network."""

    def call() -> float:
        backend.infer(*pair)
        times = backend.device_times()
        if times is None:
            raise EngineError("the GPU gives no times for a call, so nothing can be compared")
        return times.compute_ms

    return call
