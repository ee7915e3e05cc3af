"""Training steps by torch.compile, without what has given wrong gradients."""

from __future__ import annotations

import torch
from torch import nn

from litestereo.models.aggregation import ImageAttention

__all__ = ["compile_step"]

# Sums along two axes by one kernel. They came with torch 2.10, and gave wrong gradients there
# without a word (PyTorch #190796, #193061); LAS1's, compiled by 2.11, were wrong in such places.
_UNTRUSTED = "triton.mix_order_reduction"


class _LaunchedAttention(ImageAttention):
    """Runs its own code inside a compiled step, as its class, so that copies do, too.

    Compiled with the rest of LAS1 in stage self, its forward pass was right, but its gradients and
    those of all before it were up to 3.5 times their length off (torch 2.11 on an H200).
    """

    forward = torch.compiler.disable(ImageAttention.forward)  # type: ignore[no-untyped-call]


def compile_step(module: nn.Module) -> None:
    """Compile forward and backward pass of what is trained, in place.

    Args:
        module: network and loss.
    """
    for part in module.modules():
        if type(part) is ImageAttention:
            part.__class__ = _LaunchedAttention
    known = _UNTRUSTED in torch._inductor.list_options()
    module.compile(options={_UNTRUSTED: False} if known else None)
