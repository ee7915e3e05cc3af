"""The work behind `stereo-bench`: load, warm up, take turns, write the receipt down."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial

import numpy as np

from litestereo.benchmarks.latency.environment import read_environment
from litestereo.benchmarks.latency.loops import (
    Case,
    Samples,
    Turn,
    closed_turn,
    open_turn,
    turns,
    within,
)
from litestereo.benchmarks.latency.memory import Memory, measure_memory
from litestereo.benchmarks.latency.pictures import PICTURE, bench_pair
from litestereo.benchmarks.latency.receipt import (
    Loop,
    Receipt,
    Settings,
    SubjectResult,
    loop_from_samples,
)
from litestereo.benchmarks.latency.sensors import Sensor, gpu_index, open_sensor
from litestereo.benchmarks.latency.subjects import (
    EngineSettings,
    Subject,
    SubjectSpec,
    open_subject,
    require_subject,
)
from litestereo.benchmarks.latency.warmup import Warmup, WarmupOptions, warm_up
from litestereo.errors import InputError, LiteStereoError

__all__ = ["BenchOptions", "BenchRequest", "run_bench"]

_OPEN_TURN_S = 2.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How the samples are taken.

    Attributes:
        iterations: of each subject in the closed loop, rounded up to whole turns.
        block: iterations of a turn.
        settle: iterations before them that are not counted.
        rate_hz: of the open loop's camera; None runs no open loop.
        frames: of that camera, for each subject.
        minutes: after which no further round begins, for each loop; None has no limit.
        warmup: when a subject counts as warm.
        memory: whether the memory is measured, each subject in a process of its own.
        seed: of the order of the turns.
    """

    iterations: int = 300
    block: int = 10
    settle: int = 2
    rate_hz: float | None = None
    frames: int = 300
    minutes: float | None = None
    warmup: WarmupOptions = field(default_factory=WarmupOptions)
    memory: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what gives no samples."""
        for name in ("iterations", "block", "frames"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; need at least 1")
        if self.rate_hz is not None and not 0 < self.rate_hz <= 1000:
            raise InputError(f"rate_hz is {self.rate_hz}; need more than 0, at most 1000")


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What is timed.

    Attributes:
        subjects: as typed; see `subjects`.
        sizes: (height, width) of the pictures.
        device: of torch.
        threads: CPU threads; None leaves it to each subject.
        settings: of the tensorrt subjects.
        command: the command line, for the receipt.
        options: how the samples are taken.
    """

    subjects: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...] = ((480, 640),)
    device: str = "cpu"
    threads: int | None = None
    settings: EngineSettings = field(default_factory=EngineSettings)
    command: str = ""
    options: BenchOptions = field(default_factory=BenchOptions)

    def __post_init__(self) -> None:
        """Refuse nothing to time, and the same twice."""
        if not self.subjects or not self.sizes:
            raise InputError("nothing to time; name a subject such as las1@onnxruntime-cpu")
        labels = [SubjectSpec.parse(text).label for text in self.subjects]
        for names in (labels, self.sizes):
            if len(set(names)) < len(names):
                raise InputError(f"the same twice in {', '.join(map(str, names))}; drop one")


@dataclass(slots=True)
class _Prepared:
    """A case with what is known before its turns."""

    label: str
    size: tuple[int, int]
    case: Case
    warmup: Warmup
    memory: Memory | None
    answer_px: float | None


def run_bench(
    request: BenchRequest,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[Turn]], Iterable[Turn]] = iter,
    opener: Callable[..., Subject] | None = None,
) -> Receipt:
    """Time subjects side by side in one run.

    A subject that cannot be loaded or fails its first pair becomes a note, and the rest is timed;
    a package that one lacks is said before any is.

    Args:
        request: what and how.
        say: takes a line about each subject as it is loaded.
        progress: wraps the turns, as a progress bar does.
        opener: loads a subject in place of `open_subject`; a parameter for tests.

    Raises:
        LiteStereoError: no subject can be timed, or one fails in the middle.
    """
    options = request.options
    opener = opener or partial(open_subject, settings=request.settings)
    for text in request.subjects:
        require_subject(SubjectSpec.parse(text))
    gpu = gpu_index(request.device, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    environment = read_environment(gpu=gpu)  # first: the load of the machine without us
    notes: list[str] = []
    with ExitStack() as stack:
        sensor = stack.enter_context(open_sensor(gpu=gpu))
        prepared = _prepare_all(request, opener=opener, say=say, notes=notes, stack=stack)
        if not prepared:
            raise InputError(f"no subject can be timed: {'; '.join(notes)}")
        _loop_all([one.case for one in prepared], options, sensor=sensor, progress=progress)
        subjects = tuple(_result(one, options) for one in prepared)
    taken = max(subject.closed.summary["total"].samples for subject in subjects)
    if taken < options.iterations:
        notes.append(f"{taken} of {options.iterations} iterations in {options.minutes:g} minutes")
    return Receipt(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.command,
        settings=Settings(
            iterations=options.iterations,
            block=options.block,
            settle=options.settle,
            rate_hz=options.rate_hz,
            frames=options.frames if options.rate_hz else 0,
            threads=request.threads,
            seed=options.seed,
            picture=PICTURE,
        ),
        environment=environment,
        subjects=subjects,
        notes=tuple(notes),
    )


def _prepare_all(
    request: BenchRequest,
    *,
    opener: Callable[..., Subject],
    say: Callable[[str], None],
    notes: list[str],
    stack: ExitStack,
) -> list[_Prepared]:
    """Load and warm up every subject at every size; memory first, while the GPU is empty."""
    wanted = [(text, size) for size in request.sizes for text in request.subjects]
    memories: dict[tuple[str, tuple[int, int]], Memory] = {}
    if request.options.memory:
        for text, size in wanted:
            say(f"memory of {text} at {size[0]}x{size[1]}")
            try:
                memories[text, size] = measure_memory(
                    text,
                    size=size,
                    device=request.device,
                    threads=request.threads,
                    settings=request.settings,
                )
            except LiteStereoError as error:
                notes.append(str(error))
    prepared = []
    for text, size in wanted:
        try:
            one = _prepare(text, size, request, opener=opener, memory=memories.get((text, size)))
        except LiteStereoError as error:
            notes.append(f"{text} at {size[0]}x{size[1]} was not timed: {error}")
            say(notes[-1])
            continue
        stack.callback(one.case.subject.close)
        prepared.append(one)
        rest = "at rest" if one.warmup.at_rest else "not at rest"
        say(f"{one.case.key} {rest} after {one.warmup.iterations} iterations")
    return prepared


def _prepare(
    text: str,
    size: tuple[int, int],
    request: BenchRequest,
    *,
    opener: Callable[..., Subject],
    memory: Memory | None,
) -> _Prepared:
    spec = SubjectSpec.parse(text)
    pair = bench_pair(size)
    subject = opener(spec, device=request.device, threads=request.threads)
    try:
        warmup = warm_up(lambda: subject(*pair).stages_ms["total"], options=request.options.warmup)
        answer_px = _answer_px(subject(*pair).disparity_px, size)
    except BaseException:
        subject.close()
        raise
    case = Case(f"{spec.label} {size[0]}x{size[1]}", subject, pair)
    return _Prepared(spec.label, size, case, warmup, memory, answer_px)


def _answer_px(disparity_px: np.ndarray, size: tuple[int, int]) -> float | None:
    """Return the median disparity, and None where nothing was answered."""
    if disparity_px.shape != size:
        raise InputError(
            f"a subject gave a disparity of {disparity_px.shape} for {size}; need one for each "
            "pixel of the left picture"
        )
    known = disparity_px[np.isfinite(disparity_px)]
    return round(float(np.median(known)), 3) if known.size else None


def _loop_all(
    cases: list[Case],
    options: BenchOptions,
    *,
    sensor: Sensor,
    progress: Callable[[list[Turn]], Iterable[Turn]],
) -> None:
    """Run the closed loop's turns, then the open loop's."""
    limit_s = None if options.minutes is None else 60 * options.minutes
    rounds = -(-options.iterations // options.block)
    listed = turns(cases, rounds=rounds, seed=options.seed)
    for turn in within(progress(listed), limit_s=limit_s):
        closed_turn(turn.case, settle=options.settle, block=options.block, sensor=sensor)
    if options.rate_hz is None:
        return
    frames = max(1, min(options.frames, round(_OPEN_TURN_S * options.rate_hz)))
    listed = turns(cases, rounds=-(-options.frames // frames), seed=options.seed)
    for turn in within(progress(listed), limit_s=limit_s):
        open_turn(turn.case, rate_hz=options.rate_hz, frames=frames, sensor=sensor)


def _result(one: _Prepared, options: BenchOptions) -> SubjectResult:
    info = one.case.subject.info
    opened = one.case.open if options.rate_hz is not None else None
    return SubjectResult(
        label=one.label,
        size=one.size,
        inference_size=info.inference_size,
        model=info.model,
        backend=info.backend,
        device=info.device,
        precision=info.precision,
        artifact_sha256=info.artifact_sha256,
        details=info.details,
        answer_px=one.answer_px,
        warmup=one.warmup,
        closed=_loop("closed", one.case.closed),
        open=None if opened is None else _loop("open", opened),
        memory=one.memory,
    )


def _loop(kind: str, samples: Samples) -> Loop:
    return loop_from_samples(
        kind,  # type: ignore[arg-type]  # one of the two literals above
        {stage: tuple(values) for stage, values in samples.stages_ms.items()},
        turns=tuple(samples.turns),
        dropped=samples.dropped,
        readings=tuple(samples.readings),
    )
