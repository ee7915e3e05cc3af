"""Work of a GPU that is recorded once, as a CUDA graph, and launched as a whole.

Where kernels are done sooner than Python launches the next one, the GPU waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from litestereo.errors import TrainingError

__all__ = ["record"]

# Of libraries that choose kernels and take memory in their first calls, which no graph may record.
_WARM_UP_CALLS = 3

_Answer = TypeVar("_Answer")


def record(
    run: Callable[[], _Answer],
    *,
    what: str,
    instead: str,
    generators: Sequence[torch.Generator] = (),
    ready: Callable[[], None] = lambda: None,
) -> tuple[torch.cuda.CUDAGraph, _Answer]:
    """Warm `run` up and record it; its answer's memory is written anew by each replay.

    Args:
        run: what is recorded; nothing in it may wait for the GPU.
        what: is recorded, for the message.
        instead: how to do without, likewise.
        generators: that it draws from; each replay goes on drawing.
        ready: is called between warming up and recording.

    Raises:
        TrainingError: it cannot be recorded.
    """
    # A stream of its own: cuBLAS keeps a workspace for each, which graphs recorded on the same one
    # would share (PyTorch #193402), and ours run at once.
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP_CALLS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    ready()
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        # Of this thread alone: NCCL's watches over its events at any moment, which would fail.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            answer = run()
    except RuntimeError as error:
        raise TrainingError(
            f"{what} cannot be recorded as a CUDA graph ({error}); {instead}"
        ) from error
    return graph, answer
