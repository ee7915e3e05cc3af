"""Matchers whose answers are known, and a small folder of data sets to score them on."""

from __future__ import annotations

import numpy as np
import pytest
import trees

from litestereo.benchmarks.matchers import Match


class Constant:
    """Answers the same disparity everywhere, with a hole in the last row if asked to."""

    def __init__(self, disparity_px=trees.DISPARITY_PX, *, confident=False, hole=False):
        self.disparity_px = disparity_px
        self.confident = confident
        self.hole = hole
        self.asked = []

    name = "constant"

    def __call__(self, left, right, *, largest_px=None):
        self.asked.append(largest_px)
        disparity = np.full(left.shape[:2], self.disparity_px, np.float32)
        if self.hole:
            disparity[-1] = np.nan
        confidence = np.linspace(0, 1, disparity.size, dtype=np.float32)
        return Match(disparity, confidence.reshape(disparity.shape) if self.confident else None)


@pytest.fixture
def constant():
    return Constant


@pytest.fixture
def data(tmp_path):
    """Four sets: two of KITTI, one with masks, one described by meta.json."""
    root = tmp_path / "data"
    for make in (trees.kitti2012, trees.kitti2015, trees.middeval3, trees.meta):
        make(root / make.__name__)
    return root


@pytest.fixture
def run_command(capsys):
    """Turn a command's main function into one that returns (status, stdout, stderr)."""

    def command(main):
        def run(*arguments):
            try:
                status = main([str(argument) for argument in arguments])
            except SystemExit as leaving:
                status = leaving.code or 0
            return status, *capsys.readouterr()

        return run

    return command
