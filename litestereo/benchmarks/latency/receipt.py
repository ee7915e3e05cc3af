"""The receipt of a run: what ran, where, every sample, and what they say.

A receipt is read back strictly: field by field, and its summaries must follow from its samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from litestereo._version import __version__
from litestereo.benchmarks.envelope import check_header, decode, header, read_json
from litestereo.benchmarks.latency.environment import Environment
from litestereo.benchmarks.latency.memory import Memory
from litestereo.benchmarks.latency.sensors import Reading
from litestereo.benchmarks.latency.statistics import Summary, even_turns, summarize
from litestereo.benchmarks.latency.warmup import Warmup
from litestereo.errors import InputError
from litestereo.runtime.files import write_atomic

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "STAGES",
    "Loop",
    "Memory",
    "Receipt",
    "Settings",
    "SubjectResult",
    "loop_from_samples",
    "read_receipt",
    "receipt_from_json",
    "write_receipt",
]

SCHEMA = "litestereo.latency"
SCHEMA_VERSION = 1

# Every stage, in order. "preprocess", "inference", "postprocess" and "total" are wall-clock times;
# "total" is from uint8 pictures to float32 disparity, both on the host. What a device does inside
# "inference" is told by its own clock (CUDA events): "host_to_device", "compute", "device_to_host";
# "enqueue" is the host's time to submit the work. Without a device, or where a backend does not
# say, these four do not exist. "response", in an open loop, counts from when the frame was due.
STAGES = (
    "preprocess",
    "inference",
    "host_to_device",
    "enqueue",
    "compute",
    "device_to_host",
    "postprocess",
    "total",
    "response",
)
_LONGEST_MS = 1e12  # thirty years; squares of it are finite
_DIGITS = 5  # of the samples in the file, after the point: 10 ns


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run was made.

    Attributes:
        iterations: of each subject in the closed loop.
        block: iterations of a subject in a row, before the next subject's turn.
        settle: iterations at the start of each turn that are not counted.
        rate_hz: of the camera in the open loop; None ran none.
        frames: of the camera, for each subject.
        threads: CPU threads that were asked for; None leaves it to each subject.
        seed: of the order of the turns.
        picture: what was matched.
    """

    iterations: int
    block: int
    settle: int
    rate_hz: float | None
    frames: int
    threads: int | None
    seed: int
    picture: str


@dataclass(frozen=True, slots=True)
class Loop:
    """The samples of one subject in one kind of loop.

    Attributes:
        kind: "closed", one pair after another without a pause, or "open", at a camera's rate.
        samples_ms: stage -> samples, in the order of measuring; stages that do not exist are left
            out.
        dropped: frames of the camera that were never matched, because newer ones had come.
        readings: of power, clocks and temperatures, after each turn; empty without a sensor.
        summary: stage -> what its samples say.
        turns: iterations of each turn, in order; None, in receipts of closed loops made before
            this was kept, is `Settings.block` for every turn.
    """

    kind: Literal["closed", "open"]
    samples_ms: dict[str, tuple[float, ...]]
    dropped: int
    readings: tuple[Reading, ...]
    summary: dict[str, Summary]
    turns: tuple[int, ...] | None = None

    @property
    def frames_per_second(self) -> float:
        """Pairs a second, one after another: 1000 / mean of "total"."""
        return 1e3 / self.summary["total"].mean_ms


@dataclass(frozen=True, slots=True)
class SubjectResult:
    """One subject at one size.

    Attributes:
        label: as typed, e.g. "las1@torch:autocast".
        size: (height, width) of the pictures.
        inference_size: (height, width) that was computed, padding included.
        model: name of the network or algorithm.
        backend: what ran it.
        device: what it ran on.
        precision: what it computed in.
        artifact_sha256: of the file with the weights; None where there is none.
        details: further settings of its own, e.g. what TF32 was.
        answer_px: median of its disparity on the picture, to see that it was at work.
        warmup: how it was warmed up, and whether it came to rest.
        closed: single stream.
        open: at the camera's rate; None if not asked for.
        memory: None if not asked for.
    """

    label: str
    size: tuple[int, int]
    inference_size: tuple[int, int]
    model: str
    backend: str
    device: str
    precision: str
    artifact_sha256: str | None
    details: dict[str, str]
    answer_px: float | None
    warmup: Warmup
    closed: Loop
    open: Loop | None
    memory: Memory | None

    @property
    def key(self) -> str:
        """Label and size, which tell it from the others."""
        return f"{self.label} {self.size[0]}x{self.size[1]}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Everything that `stereo-bench` says.

    Attributes:
        date: of the run, UTC, ISO 8601.
        command: as typed.
        settings: of the run.
        environment: machine and versions.
        subjects: in the order given, size by size.
        notes: what went otherwise than asked.
        litestereo_version: what measured.
    """

    date: str
    command: str
    settings: Settings
    environment: Environment
    subjects: tuple[SubjectResult, ...]
    notes: tuple[str, ...] = ()
    litestereo_version: str = __version__

    def subject(self, key: str) -> SubjectResult:
        """Return the subject of that key.

        Args:
            key: as in `SubjectResult.key`.

        Raises:
            KeyError: there is none.
        """
        for subject in self.subjects:
            if subject.key == key:
                return subject
        raise KeyError(key)

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; its form follows the dataclasses, field for field."""
        return {**header(SCHEMA, SCHEMA_VERSION), **asdict(self)}


def loop_from_samples(
    kind: Literal["closed", "open"],
    samples_ms: Mapping[str, tuple[float, ...]],
    *,
    turns: tuple[int, ...],
    dropped: int = 0,
    readings: tuple[Reading, ...] = (),
) -> Loop:
    """Return a loop with its summaries; samples are rounded first, as the file holds them.

    Args:
        kind: of the loop.
        samples_ms: milliseconds by stage, one of each iteration.
        turns: iterations of each turn, which are resampled together.
        dropped: frames that a newer one overtook.
        readings: of the sensor.
    """
    rounded = {
        name: tuple(round(v, _DIGITS) for v in values) for name, values in samples_ms.items()
    }
    return Loop(kind, rounded, dropped, readings, _summaries(rounded, turns=turns), turns)


def write_receipt(path: Path, receipt: Receipt) -> Path:
    """Write a receipt: indented, but the samples of a stage on one line.

    Args:
        path: the file.
        receipt: what `stereo-bench` measured.

    Raises:
        InputError: the place cannot be written.
    """
    return write_atomic(path, (_lines(receipt.to_json()) + "\n").encode())


def read_receipt(path: Path) -> Receipt:
    """Return the receipt in a file.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read, or is no whole receipt.
    """
    try:
        return receipt_from_json(read_json(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def receipt_from_json(content: Mapping[str, Any]) -> Receipt:
    """Return the receipt of which `Receipt.to_json` made `content`.

    Args:
        content: as `json.loads` gives it.

    Raises:
        InputError: a field is missing, unknown or not of its kind, or a summary does not follow
            from its samples.
    """
    check_header(content, SCHEMA, SCHEMA_VERSION, command="stereo-bench")
    body = {name: value for name, value in content.items() if not name.startswith("schema")}
    receipt = decode(Receipt, body, where="receipt")
    if receipt.settings.block < 1:
        raise InputError(f"receipt.settings.block is {receipt.settings.block}; need at least 1")
    keys = [subject.key for subject in receipt.subjects]
    if len(set(keys)) < len(keys):
        raise InputError(
            f"the receipt has a subject twice: {sorted(keys)}; it was edited: measure again"
        )
    for subject in receipt.subjects:
        for loop in (subject.closed, subject.open):
            if loop is not None:
                _check_loop(loop, f"{subject.key}, {loop.kind} loop", receipt.settings.block)
    return receipt


def _check_loop(loop: Loop, where: str, block: int) -> None:
    lengths = {len(values) for values in loop.samples_ms.values()}
    if not {"inference", "total"} <= set(loop.samples_ms) <= set(STAGES) or len(lengths) != 1:
        raise InputError(
            f"{where}: needs inference and total, and as many samples of every stage: measure again"
        )
    if not min(lengths):
        raise InputError(f"{where}: has no samples: measure again")
    if not all(0 <= v <= _LONGEST_MS for values in loop.samples_ms.values() for v in values):
        raise InputError(
            f"{where}: a latency is negative, or no time that anybody waits: measure again"
        )
    if loop.turns is None and loop.kind == "open":
        raise InputError(
            f"{where}: does not say how long its turns were, as receipts of earlier versions do "
            "not: its intervals are too narrow, measure again"
        )
    turns = even_turns(min(lengths), block=block) if loop.turns is None else loop.turns
    if loop.turns is not None and (min(turns, default=0) < 1 or sum(turns) != min(lengths)):
        raise InputError(f"{where}: its turns are not as long as its samples: measure again")
    expected = _summaries(loop.samples_ms, turns=turns)
    for stage in expected.keys() | loop.summary.keys():
        if not _agree(expected.get(stage), loop.summary.get(stage)):
            raise InputError(
                f"{where}: the summary of {stage} does not follow from its samples: the receipt "
                "was edited, measure again"
            )


def _agree(one: object, other: object) -> bool:
    """Compare summaries; NumPy's sums differ in the last digit between builds."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    if type(one) is type(other) and hasattr(one, "__dataclass_fields__"):
        names = [field.name for field in fields(one)]  # type: ignore[arg-type]
        return all(_agree(getattr(one, name), getattr(other, name)) for name in names)
    return one == other


def _summaries(
    samples_ms: Mapping[str, tuple[float, ...]], *, turns: Sequence[int]
) -> dict[str, Summary]:
    return {stage: summarize(values, turns=turns) for stage, values in samples_ms.items() if values}


def _lines(value: object, indent: int = 0) -> str:
    """Return JSON, indented, with lists of plain values on one line."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_lines(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(pad + item for item in items) + f"\n{' ' * indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list)) for item in value):
        items = [_lines(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(pad + item for item in items) + f"\n{' ' * indent}]"
    return json.dumps(value)
