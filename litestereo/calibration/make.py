"""Make a calibration set: look at all candidates, keep a diverse part, say what it covers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from litestereo.calibration.coverage import Coverage, cover, require_enough
from litestereo.calibration.options import HELD_OUT_EVERY, CalibrateOptions
from litestereo.calibration.selection import drop_near_duplicates, pick_diverse
from litestereo.calibration.sources import Candidate, CandidateList, find_candidates
from litestereo.calibration.statistics import PairStatistics, measure_pair
from litestereo.calibration.store import CalibrationSet, require_free, write_set
from litestereo.errors import CalibrationError
from litestereo.runtime.files import require_writable
from litestereo.runtime.images import StereoPair
from litestereo.runtime.pair_order import pair_order

__all__ = ["make_set"]

_SAID_EVERY = 20


def make_set(
    texts: Sequence[str],
    *,
    output: Path,
    options: CalibrateOptions | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[CalibrationSet, Coverage]:
    """Write a calibration set of the pairs that `texts` mean; see `find_candidates`.

    Args:
        texts: folders, patterns, files, side-by-side pictures, videos.
        output: folder of the set; must not exist.
        options: how many pairs, and what is refused.
        progress: told in one line what is done.

    Returns:
        The set, and what it covers.

    Raises:
        CalibrationError: too few different pairs, a pair that cannot be used, or a folder that
            cannot be written.
        InputError: left and right pictures differ in number or name.
    """
    options = options or CalibrateOptions()
    require_free(output)
    require_writable(output.parent, folder=True)
    candidates = find_candidates(texts, options=options)
    pairs, positions, broken = _measure(candidates, progress)
    if broken and not options.skip_broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise CalibrationError(f"{broken[0]}{more}; remove it, or leave it out with --skip-broken")
    total = len(pairs) + len(broken)
    distinct = drop_near_duplicates(pairs)
    dropped = len(pairs) - len(distinct)
    require_enough(len(distinct), candidates=total, near_duplicates=dropped, unusable=len(broken))
    different = [pairs[index] for index in distinct]
    picked = [distinct[index] for index in pick_diverse(different, count=options.count)]
    held_out = set(picked[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])
    coverage = cover(
        [pairs[index] for index in picked],
        candidates=total,
        unusable=broken,
        near_duplicates=dropped,
        held_out=len(held_out),
    )
    chosen = [(positions[index], index in held_out) for index in picked]
    return write_set(
        output,
        _read_again(candidates, chosen),
        coverage=coverage.to_json(),
        options=options.to_json(),
    ), coverage


def _measure(
    candidates: CandidateList, progress: Callable[[str], None]
) -> tuple[list[PairStatistics], list[int], list[str]]:
    """Return the statistics of the usable pairs, their positions, and what is wrong with others."""
    pairs: list[PairStatistics] = []
    positions: list[int] = []
    broken: list[str] = []
    for position, candidate in enumerate(candidates):
        if position and position % _SAID_EVERY == 0:
            progress(f"{position} pairs looked at")
        measured, problem = _examined(candidate)
        if measured is None:
            broken.append(problem)
        else:
            pairs.append(measured)
            positions.append(position)
    return pairs, positions, broken


def _examined(candidate: Candidate) -> tuple[PairStatistics | None, str]:
    """Return a pair's statistics, or why it cannot be calibrated with."""
    if candidate.pair is None:
        return None, candidate.problem
    measured = measure_pair(candidate.pair, name=candidate.name)
    if measured.is_grey[0] != measured.is_grey[1]:
        grey, colour = ("left", "right") if measured.is_grey[0] else ("right", "left")
        return None, (
            f"{candidate.name}: the {grey} picture is grey and the {colour} one in colour; a pair "
            "needs both alike: check that they belong together, or convert both to grey"
        )
    if pair_order(candidate.pair.left, candidate.pair.right).looks_swapped:
        return None, f"{candidate.name}: left and right look swapped; exchange them"
    return measured, ""


def _read_again(
    candidates: CandidateList, chosen: Collection[tuple[int, bool]]
) -> Iterator[tuple[str, StereoPair, bool]]:
    """Yield the chosen pairs in the order in which they were picked, each with its own name."""
    wanted = {position for position, _ in chosen}
    found: dict[int, tuple[str, StereoPair]] = {}
    for position, candidate in enumerate(candidates.only(wanted)):
        if position in wanted and candidate is not None and candidate.pair is not None:
            found[position] = candidate.name, candidate.pair
    names: set[str] = set()
    for position, held_out in chosen:
        if position not in found:
            raise CalibrationError("a picture changed while the set was made; make it again")
        given, pair = found[position]
        numbered = (f"{given}#{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([given], numbered) if name not in names)
        names.add(name)
        yield name, pair, held_out
