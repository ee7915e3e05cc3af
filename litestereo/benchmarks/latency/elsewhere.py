"""A subject in another interpreter: TensorRT and torch need not come for one version of Python.

The other process times its own calls exactly as `EngineSubject` does in this one; what goes back
and forth does not count. Pictures and answers travel as NumPy files in memory, commands and times
as lines of JSON. `python -m litestereo.benchmarks.latency.elsewhere` is that other process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

import litestereo
from litestereo.benchmarks.envelope import decode
from litestereo.benchmarks.latency.subjects import (
    EngineSettings,
    EngineSubject,
    Iteration,
    SubjectInfo,
    SubjectSpec,
)
from litestereo.errors import EngineError, LiteStereoError

__all__ = ["ElsewhereSubject"]

_MEMORY = Path("/dev/shm")
_CLOSE_S = 30.0


class ElsewhereSubject:
    """An `EngineSubject` in a process of `settings.python`."""

    def __init__(
        self, spec: SubjectSpec, *, settings: EngineSettings, device: str, threads: int | None
    ) -> None:
        """Start the process and load the artefact there.

        Args:
            spec: what to time.
            settings: whose `python` runs the subject.
            device: as in "cuda:1"; only the number counts.
            threads: of the CPU; None leaves the choice to the library.

        Raises:
            EngineError: the process cannot be started, or the artefact cannot run there.
        """
        self._folder = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self._sent: tuple[int, int] | None = None
        package = str(Path(litestereo.__file__).parents[1])
        paths = [package, os.environ.get("PYTHONPATH", "")]
        try:
            self._process = subprocess.Popen(
                [str(settings.python), "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )
        except OSError as error:
            self._folder.cleanup()
            raise EngineError(
                f"{settings.python} cannot be started: {error}; name a Python interpreter"
            ) from error
        try:
            self._ask(
                spec=asdict(spec),
                settings=settings.to_json(),
                device=device,
                threads=threads,
                folder=self._folder.name,
            )
        except EngineError:
            self.close()
            raise
        self._info: SubjectInfo | None = None

    def __call__(self, left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Iteration:
        """Match a pair there; the pictures are sent when they are others than the last ones.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """
        key = (id(left), id(right))
        if key != self._sent:
            np.save(self._file("pair"), np.stack([left, right]))
            self._sent, self._kept = key, (left, right)  # kept: an id is only good while it lives
            self._ask(read=True)
        answer = self._ask(match=True)
        if self._info is None:
            self._info = decode(SubjectInfo, answer["info"], where="info")
            self._disparity_px = np.load(self._file("disparity"), mmap_mode="r")
        return Iteration(answer["stages_ms"], np.array(self._disparity_px))

    @property
    def info(self) -> SubjectInfo:
        """What ran there in the last call.

        Raises:
            EngineError: nothing was matched yet.
        """
        if self._info is None:
            raise EngineError("a subject says what it is after its first pair; match one first")
        return self._info

    @property
    def process_id(self) -> int:
        """Of the other process, whose memory counts."""
        return self._process.pid

    def close(self) -> None:
        """End the process; closing twice is fine."""
        with suppress(BrokenPipeError):  # words for a process that has died
            _pipe(self._process.stdin).close()  # ends its loop
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()
        self._folder.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.npy"

    def _ask(self, **request: object) -> Mapping[str, Any]:
        """Send a line and return the answer's fields."""
        try:
            print(json.dumps(request), file=_pipe(self._process.stdin), flush=True)
            line = _pipe(self._process.stdout).readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            raise EngineError(
                f"the process of {self._process.args[0]!r} ended ({self._process.poll()}); "  # type: ignore[index]
                "its words are above, on stderr"
            )
        answer: Mapping[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError(str(answer["error"]))
        return answer


class _Worker:
    """The other process's side."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        settings = EngineSettings.from_json(request["settings"])
        self._folder = Path(request["folder"])
        self._subject = EngineSubject(
            SubjectSpec(**request["spec"]),
            device=request["device"],
            threads=request["threads"],
            settings=settings,
        )
        self._answer: npt.NDArray[np.float32] | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a line asks for."""
        if "read" in request:
            self._pair = tuple(np.load(self._folder / "pair.npy"))
            self._answer = None
            return {}
        iteration = self._subject(*self._pair)
        if self._answer is None:
            self._answer = np.lib.format.open_memmap(
                self._folder / "disparity.npy",
                mode="w+",
                dtype=np.float32,
                shape=iteration.disparity_px.shape,
            )
        self._answer[...] = iteration.disparity_px
        return {"stages_ms": iteration.stages_ms, "info": asdict(self._subject.info)}

    def close(self) -> None:
        """Free the GPU."""
        self._subject.close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer line by line until there are no more; our errors go back as words."""
    worker: _Worker | None = None
    for line in requests:
        request, reply = json.loads(line), {}
        try:
            if worker is None:
                worker = _Worker(request)
            else:
                reply = worker.answer(request)
        except LiteStereoError as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), file=answers, flush=True)
    if worker is not None:
        worker.close()


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may get between the answers
    _serve(sys.stdin, answers)
