"""The search on blocks whose errors are known."""

import itertools
import json

import pytest

from litestereo.calibration.selection import pick_diverse
from litestereo.calibration.sensitivity import Block, search_blocks
from litestereo.calibration.statistics import measure_pair
from litestereo.runtime.images import StereoPair

BLOCKS = [Block("a", 4), Block("b", 3), Block("c", 2), Block("d", 1)]
ERRORS = {"a": 0.01, "b": 0.06, "c": 0.02, "d": 0.5}
LIMITS = {"mean_px": 0.1, "bias_px": 0.03}


def score(names):
    return {
        "mean_px": sum(ERRORS[name] for name in names),
        "bias_px": -0.02 * len(names) if "d" in names else 0.0,
        "unlimited": 7.0,
    }


def test_finds_the_best_set_that_any_search_finds():
    found = search_blocks(BLOCKS, score=score, limits=LIMITS)
    fitting = [
        names
        for count in range(5)
        for names in itertools.combinations(ERRORS, count)
        if score(names)["mean_px"] <= 0.1 and abs(score(names)["bias_px"]) <= 0.03
    ]
    costs = {block.name: block.cost for block in BLOCKS}
    best = max(fitting, key=lambda names: sum(costs[name] for name in names))
    assert set(found.chosen) == set(best) == {"a", "b", "c"}
    assert found.cost_share == pytest.approx(0.9)
    assert [one.added for one in found.alone] == ["a", "c", "b", "d"]
    assert found.alone[0].figures["unlimited"] == 7


def test_what_fits_after_a_block_that_does_not_is_still_taken():
    blocks = [Block("a", 100), Block("b", 30), Block("c", 1)]
    errors = {"a": 0.06, "b": 0.05, "c": 0.03}
    found = search_blocks(
        blocks, score=lambda names: {"e": sum(errors[n] for n in names)}, limits={"e": 0.1}
    )
    assert found.chosen == ("a", "c")
    assert {step.added: step.budget_used <= 1 for step in found.steps if step.blocks == 2} == {
        "c": True,
        "b": False,
    }


def test_nothing_fits():
    found = search_blocks(BLOCKS, score=lambda _: {"e": float("nan")}, limits={"e": 0.1})
    assert found.chosen == ()
    assert all(one.budget_used == float("inf") for one in found.alone)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["alone"][0]["figures"] == {
        "e": None
    }


def test_everything_fits_at_the_first_try():
    tried = []

    def counted(names):
        tried.append(names)
        return {"mean_px": 0.0, "bias_px": 0.0}

    found = search_blocks(BLOCKS, score=counted, limits=LIMITS)
    assert len(found.chosen) == 4
    assert len(tried) == len(BLOCKS) + 1
    assert found.to_json()["cost_share"] == 1.0


def test_k_centre_begins_in_the_middle_and_covers():
    from pairs import picture_pair

    stats = [measure_pair(StereoPair(*picture_pair(seed)), name=str(seed)) for seed in range(12)]
    picked = pick_diverse(stats, count=6)
    assert len(set(picked)) == 6
    assert set(pick_diverse(stats, count=99)) == set(range(12))
    assert pick_diverse([stats[0]] * 3, count=3) == [0, 1, 2]
    assert pick_diverse([], count=3) == []
