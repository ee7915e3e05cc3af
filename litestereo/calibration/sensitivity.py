"""Find out what may be quantised: each block alone first, then the largest set within a budget.

Nothing here knows of networks: a block is a name with a cost, and whoever calls can score a set of
names. The figures of a set are all "less is better", and each has a limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["Block", "Scored", "Sensitivity", "search_blocks"]

Figures = Mapping[str, float]
Score = Callable[[frozenset[str]], Figures]

# Blocks that did not fit at the end of the order are tried one by one, so many times.
_LAST_TRIES = 8


@dataclass(frozen=True, slots=True)
class Block:
    """What is quantised together.

    Attributes:
        name: of the block.
        cost: its multiply-adds: what it is worth to have it in 8 bits.
    """

    name: str
    cost: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A set of blocks that was scored.

    Attributes:
        blocks: how many, or for a block alone 1.
        added: the block that was scored alone or added last.
        cost_share: their part, 0..1, of the cost of all blocks.
        figures: what was measured.
        budget_used: the largest figure in parts of its limit; above 1 is too much.
    """

    blocks: int
    added: str
    cost_share: float
    figures: Figures
    budget_used: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What the search found.

    Attributes:
        limits: of each figure.
        alone: each block by itself, in the order in which they are added.
        steps: the sets that were scored on the way, by size.
        chosen: names of the blocks of the largest set within the limits; may be empty.
    """

    limits: Figures
    alone: tuple[Scored, ...]
    steps: tuple[Scored, ...]
    chosen: tuple[str, ...]

    @property
    def cost_share(self) -> float:
        """Part, 0..1, of the cost that is in the chosen blocks."""
        return sum(one.cost_share for one in self.alone if one.added in self.chosen)

    def to_json(self) -> dict[str, object]:
        """Return the curve as JSON values; what is no finite number becomes null."""
        found = {**asdict(self), "cost_share": round(self.cost_share, 4)}
        for step in (*found["alone"], *found["steps"]):
            step["figures"] = {name: _finite(value) for name, value in step["figures"].items()}
            step["budget_used"] = _finite(step["budget_used"])
        return found


def search_blocks(
    blocks: Sequence[Block],
    *,
    score: Score,
    limits: Figures,
    progress: Callable[[str], None] = lambda _: None,
) -> Sensitivity:
    """Return the largest set of blocks whose figures stay within `limits`, and how it was found.

    Blocks are ordered by the share of the budget that each uses alone for its cost. The set is the
    longest beginning of that order that fits, found by halving, and what still fits after it.

    Args:
        blocks: candidates.
        score: measures a set of names.
        limits: name -> largest value, above 0, of each figure that counts.
        progress: told in one line how far it is.
    """
    total = sum(block.cost for block in blocks) or 1.0
    costs = {block.name: block.cost / total for block in blocks}

    def scored(names: Sequence[str]) -> Scored:
        figures = dict(score(frozenset(names)))
        share = sum(costs[name] for name in names)
        return Scored(len(names), names[-1], share, figures, _used(figures, limits))

    alone = []
    for index, block in enumerate(blocks):
        alone.append(scored([block.name]))
        if (index + 1) % 10 == 0:
            progress(f"{index + 1} of {len(blocks)} blocks scored")
    alone.sort(key=lambda one: one.budget_used / max(one.cost_share, 1e-12))
    order = [one.added for one in alone]
    chosen, steps = _longest(order, scored)
    for name in order[len(chosen) + 1 :][:_LAST_TRIES]:
        step = scored([*chosen, name])
        steps.append(step)
        if step.budget_used <= 1:
            chosen.append(name)
    steps.sort(key=lambda step: (step.blocks, step.budget_used))
    return Sensitivity(dict(limits), tuple(alone), tuple(steps), tuple(chosen))


def _longest(
    order: Sequence[str], scored: Callable[[Sequence[str]], Scored]
) -> tuple[list[str], list[Scored]]:
    """Return the longest beginning of the order that fits, by halving, and what was scored."""
    steps: list[Scored] = []
    fits, too_many, tried = 0, len(order) + 1, len(order)
    while too_many - fits > 1:
        step = scored(order[:tried])
        steps.append(step)
        if step.budget_used <= 1:
            fits = tried
        else:
            too_many = tried
        tried = (fits + too_many) // 2
    return list(order[:fits]), steps


def _finite(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return value if math.isfinite(value) else None


def _used(figures: Figures, limits: Figures) -> float:
    """Return the largest share of a limit; what is no number uses more than there is."""
    shares = [abs(figures[name]) / limit for name, limit in limits.items()]
    return max(share if share == share else float("inf") for share in shares)
