"""Measured latencies, from the receipts that `stereo-bench` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestereo.errors import InputError
from litestereo.runtime.reading import JSON_MOST_BYTES, json_from, read_file

__all__ = ["Measurement", "read_measurements"]

_SCHEMA = "litestereo.latency"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured latency, from uint8 pictures on the host to disparity on the host.

    Attributes:
        model: name of the model.
        backend: what ran it.
        device: on what.
        precision: in what.
        inference_size: (height, width) of what the network saw.
        p50_ms: median of a pair.
        p99_ms: 99th percentile; the slowest pair where there are too few samples for one.
        source: the file it is from.
    """

    model: str
    backend: str
    device: str
    precision: str
    inference_size: tuple[int, int]
    p50_ms: float
    p99_ms: float
    source: str


def read_measurements(paths: Sequence[Path]) -> list[Measurement]:
    """Return the latencies in receipts, or in folders of them.

    Of a folder, files that are no receipts of latency are left out.

    Args:
        paths: files and folders.

    Raises:
        InputError: a file cannot be read, is no receipt, or is not whole.
    """
    found: list[Measurement] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        for file in files:
            content = _content(file)
            if isinstance(content, dict) and content.get("schema") == _SCHEMA:
                found += _of_receipt(content, file)
            elif not path.is_dir():
                raise InputError(f"{file} is no receipt of latency; need one of stereo-bench")
    return found


def _content(file: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return json_from(read_file(file, most_bytes=JSON_MOST_BYTES))
    except ValueError as error:
        raise InputError(
            f"cannot read measurements from {file}: {error}; need a receipt of stereo-bench"
        ) from error


def _of_receipt(receipt: dict[str, Any], file: Path) -> list[Measurement]:
    """Return the closed loops of a receipt whose samples say a median."""
    try:
        return [
            Measurement(
                model=str(subject["model"]),
                backend=str(subject["backend"]),
                device=str(subject["device"]),
                precision=str(subject["precision"]),
                inference_size=(
                    int(subject["inference_size"][0]),
                    int(subject["inference_size"][1]),
                ),
                p50_ms=float(total["p50_ms"]),
                p99_ms=float(total["max_ms"] if total["p99_ms"] is None else total["p99_ms"]),
                source=str(file),
            )
            for subject in receipt["subjects"]
            if (total := subject["closed"]["summary"]["total"])["p50_ms"] is not None
        ]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"the receipt {file} is not whole: {error!r}; measure again with stereo-bench"
        ) from error
