"""Batches that are made beside the step before them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from litestereo.training.loop import Source
    from litestereo.training.scenes.stream import Batch

__all__ = ["Ahead"]


class Ahead:
    """Makes the next batch on a CUDA stream of its own while a step runs.

    Neither the renderer's kernels nor the network's fill a large GPU all the time.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        """Take the source.

        Args:
            source: makes the batches, on `device`.
            device: a CUDA GPU.
        """
        self._source, self._device = source, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))  # brings what the source holds
        self._made: Batch | None = None
        self._given = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def next(self) -> Batch:
        """Return the source's next batch, and begin the one after it."""
        batch = self._made or self._make()
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for field in fields(batch):
            getattr(batch, field.name).record_stream(current)
        # One step at most is queued behind the running one: each batch that waits takes memory.
        self._given.synchronize()
        self._given.record(current)
        self._made = self._make()
        return batch

    def _make(self) -> Batch:
        with torch.cuda.stream(self._stream):
            return self._source.next()
