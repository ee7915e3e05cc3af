"""What several tests share; its place also puts this folder on the import path."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# A job in the background, as of nohup, ignores interrupts, and so would the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared pictures and vectors, or skip."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with pictures and vectors is not there")
    return SHARED
