"""The thread that copies the second picture of a pair."""

import threading
import time

import numpy as np
import pytest

from litestereo.runtime.tensorrt.side_copy import SideCopier

LARGE, SMALL = (384, 1248, 3), (8, 8, 3)


@pytest.fixture
def copier():
    copier = SideCopier()
    yield copier
    copier.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "litestereo-copy"]


@pytest.mark.parametrize("shape", [LARGE, SMALL])
def test_both_are_copied(copier, rng, shape):
    sources = rng.integers(0, 256, (2, *shape), np.uint8)
    for _ in range(20):
        copies = np.zeros_like(sources)
        copier.copy((copies[0], sources[0]), (copies[1], sources[1]))
        np.testing.assert_array_equal(copies, sources)


def test_small_pictures_start_no_thread(copier):
    picture = np.zeros(SMALL, np.uint8)
    copier.copy((picture.copy(), picture), (picture.copy(), picture))
    assert not threads()


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_array_that_does_not_fit_is_an_error_and_the_next_pair_goes_through(copier, rng, wrong):
    sources = rng.integers(0, 256, (2, *LARGE), np.uint8)
    copies = np.zeros_like(sources)
    pairs = [[copies[0], sources[0]], [copies[1], sources[1]]]
    pairs[wrong] = [copies[wrong], np.zeros((5, 7, 3), np.uint8)]
    with pytest.raises(ValueError, match="broadcast"):
        copier.copy(*map(tuple, pairs))
    copier.copy((copies[0], sources[0]), (copies[1], sources[1]))
    np.testing.assert_array_equal(copies, sources)


def test_what_an_interrupted_call_left_is_not_taken_for_the_next_ones(copier, rng, monkeypatch):
    sources = rng.integers(0, 256, (2, *LARGE), np.uint8)
    copies = np.zeros_like(sources)
    copier.copy((copies[0], sources[0]), (copies[1], sources[1]))
    # A call that was interrupted while it waited: its job is done, and nobody took the answer.
    copier._jobs.put((next(copier._numbers), (copies[1].copy(), sources[1])))
    real = np.copyto

    def late(destination, source):
        time.sleep(0.02 * np.shares_memory(destination, copies[1]))
        real(destination, source)

    monkeypatch.setattr(np, "copyto", late)
    copies[:] = 0
    copier.copy((copies[0], sources[0]), (copies[1], sources[1]))
    np.testing.assert_array_equal(copies, sources)


def test_closing_ends_the_thread_and_may_be_done_twice(copier):
    picture = np.zeros(LARGE, np.uint8)
    copier.copy((picture.copy(), picture), (picture.copy(), picture))
    assert threads()
    copier.close()
    copier.close()
    assert not threads()
