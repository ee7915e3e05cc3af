"""An interrupt between any two steps of the interpreter leaves no temporary file behind."""

import sys
from contextlib import suppress

import pytest
from kill_campaign import temporary_files

from litestereo.runtime import files
from litestereo.runtime.files import replacing, write_atomic

# An interrupt between opening a file and its `with` leaves the closing to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Interrupt:
    """Raises KeyboardInterrupt once, before the given instruction of `files`, as a signal would."""

    def __init__(self, at):
        self.at, self.seen = at, 0

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self)

    def __exit__(self, *_):
        sys.settrace(self._before)

    def __call__(self, frame, event, _):
        if frame.f_code.co_filename != files.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt
        return self


def make_file(path):
    write_atomic(path, b"whole")


def make_folder(path):
    with replacing(path, folder=True) as folder:
        (folder / "a").write_bytes(b"whole")


def no_locks(*_):
    raise OSError("no locks here")


def interrupted(make):
    """Call `make` with 1, 2, ... and an interrupt before that instruction; yield after each."""
    for at in range(1, 10_000):
        interrupt = Interrupt(at)
        with suppress(KeyboardInterrupt), interrupt:
            make(at)
        if interrupt.seen < at:
            return
        yield at


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("make", [make_file, make_folder])
def test_an_interrupt_anywhere_leaves_all_or_nothing(tmp_path, monkeypatch, make, locks):
    if not locks:
        monkeypatch.setattr(files.fcntl, "flock", no_locks)
    for at in interrupted(lambda at: make(tmp_path / f"result_{at}")):
        assert temporary_files(tmp_path) == set(), f"instruction {at}"
    assert at >= 100
    assert (tmp_path / f"result_{at + 1}").exists()


def test_an_interrupt_leaves_what_another_maker_holds(tmp_path):
    path = tmp_path / "result"
    with replacing(path) as others:
        for at in interrupted(lambda _: make_file(path)):
            assert temporary_files(tmp_path) == {others}, f"instruction {at}"
    assert at >= 100
