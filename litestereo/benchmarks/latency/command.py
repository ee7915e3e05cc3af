"""What the command line of `stereo-bench` needs besides: sizes, files, words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from litestereo.benchmarks.latency.loops import Turn
from litestereo.benchmarks.latency.receipt import Receipt, write_receipt
from litestereo.benchmarks.latency.run import BenchRequest, run_bench
from litestereo.benchmarks.latency.tables import receipt_table
from litestereo.errors import InputError
from litestereo.runtime.files import require_writable

__all__ = ["bench_words", "parse_size", "time_subjects"]

_SMALLEST_PX, _LARGEST_PX = 32, 8192


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of "480x640".

    Args:
        text: what was typed, HEIGHTxWIDTH.

    Raises:
        InputError: another form, or a size that no subject takes.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(_SMALLEST_PX <= side <= _LARGEST_PX for side in size):
        raise InputError(
            f"size is {text!r}; need HEIGHTxWIDTH such as 480x640 (or 480 640), "
            f"each from {_SMALLEST_PX} to {_LARGEST_PX}"
        )
    return size


def time_subjects(
    request: BenchRequest,
    *,
    output: Path | None,
    say: Callable[[str], None],
    progress: Callable[[list[Turn]], Iterable[Turn]],
) -> Receipt:
    """Time what was asked for and write the receipt.

    Args:
        request: what to time, and how often.
        output: file of the receipt, ending in .json; None writes none.
        say: gets lines for a person.
        progress: is given the turns and yields each as it is taken, such as a bar.

    Raises:
        LiteStereoError: nothing can be timed, or the place cannot be written.
    """
    if output is not None and output.suffix != ".json":
        raise InputError(f"the receipt is a JSON file; {output} does not end in .json: name it so")
    if output is not None:
        require_writable(output)
    receipt = run_bench(request, say=say, progress=progress)
    if output is not None:
        say(f"receipt: {write_receipt(output, receipt)}")
    return receipt


def bench_words(receipt: Receipt, *, as_json: bool, width: int | None) -> str:
    """Return what goes to stdout: the table, or the receipt as JSON.

    Args:
        receipt: what `stereo-bench` measured.
        as_json: give the whole receipt instead of its table.
        width: columns of the terminal; None does not wrap.
    """
    return json.dumps(receipt.to_json()) if as_json else receipt_table(receipt, width=width)
