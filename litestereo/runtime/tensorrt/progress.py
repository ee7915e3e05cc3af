"""Say that a long build is alive: a line every few seconds, with TensorRT's phase if it tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Heartbeat", "make_monitor"]


class Heartbeat:
    """Says a line at the start, every few seconds and at the end of a `with` block.

    TensorRT lets other threads run while it builds, so that this works for 8.6, too, which has no
    progress monitor.
    """

    def __init__(self, say: Callable[[str], None], what: str, *, every_s: float = 10.0) -> None:
        """Watch over `what`, e.g. "building las1 384x1248".

        Args:
            say: gets lines for a person.
            what: goes on.
            every_s: seconds between two lines.
        """
        self.phase = ""
        self._say, self._what, self._every_s = say, what, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="litestereo-build", daemon=True)
        self._start = time.monotonic()

    def __enter__(self) -> Heartbeat:
        """Start."""
        self._say(f"{self._what}: this is done once and takes minutes")
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Stop; say how long it took if it went well."""
        self._done.set()
        self._thread.join()
        if error is None:
            self._say(f"{self._what}: done in {self.seconds:.0f} s")

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._start

    def _beat(self) -> None:
        while not self._done.wait(self._every_s):
            phase = f", {self.phase}" if self.phase else ""
            self._say(f"{self._what}: {self.seconds:.0f} s{phase}")


def make_monitor(trt: Any, heartbeat: Heartbeat) -> Any | None:  # noqa: ANN401 - the module
    """Return a TensorRT progress monitor that tells `heartbeat`; None where there are none: 8.6.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        heartbeat: says the phase.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the class comes with the module
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self._steps[phase_name] = num_steps
            heartbeat.phase = phase_name

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name, 0)
            share = f" {step / steps:.0%}" if steps > 0 else ""
            heartbeat.phase = f"{phase_name}{share}"
            return True  # False would cancel the build

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
