"""Cost volumes with disparity as channels: four dimensions at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.layers import full_precision
from litestereo.models.registry import DISPARITY_LEVELS

__all__ = [
    "CostStem3d",
    "all_pairs_volume",
    "correlation_volume",
    "grouped_correlation_volume",
    "mean_over_groups",
]

# Of the forms tried (1, 4, 8, 16), the fastest on a CPU, and within 7 % of it on an H200.
_SLICES_AT_ONCE = 4


@full_precision
def correlation_volume(left: Tensor, right: Tensor, *, levels: int = DISPARITY_LEVELS) -> Tensor:
    """Correlate each left pixel with the right pixels 0, 1, 2, ... columns to its left.

    Args:
        left: (B, C, H, W) features of the left image.
        right: (B, C, H, W) features of the right image.
        levels: number of disparities D.

    Returns:
        (B, D, H, W): channel d holds the mean over channels of left[x] * right[x - d], and 0
        where x < d.
    """
    # One product of matrices per row, of which the diagonals are kept. It computes some W columns
    # to keep D, which the backbone's maps outweigh; D shifted products take three times as long.
    batch, _, height, width = left.shape
    columns = width + levels
    # The maps are padded, not their product, whose every copy would weigh more than both of them.
    rows = F.pad(left, (0, levels + 1)).permute(0, 2, 3, 1) / left.shape[1]
    product = torch.matmul(rows, F.pad(right, (levels, 0)).permute(0, 2, 1, 3))
    # N + 1 rows of N numbers read back as N rows of N + 1, which slide by one per row: what stood
    # on a diagonal stands in a column, the largest disparity first.
    skewed = product.reshape(batch, height, columns, columns + 1)
    diagonals = skewed[:, :, :width, 1 : levels + 1].permute(0, 3, 1, 2)
    # A gather, because a flip becomes a slice of negative step, which not every engine takes.
    falling = torch.arange(levels - 1, -1, -1, device=left.device)
    return diagonals.index_select(1, falling)


@full_precision
def all_pairs_volume(left: Tensor, right: Tensor) -> Tensor:
    """Correlate each left pixel with every right pixel of its row.

    Args:
        left: (B, C, H, W) features of the left image.
        right: (B, C, H, W) features of the right image.

    Returns:
        (B, W, H, W): [b, v, y, x] is the mean over channels of left[y, x] * right[y, v].
    """
    rows = left.permute(0, 2, 3, 1) / left.shape[1]
    return torch.matmul(rows, right.permute(0, 2, 1, 3)).permute(0, 3, 1, 2)


@full_precision
def grouped_correlation_volume(
    left: Tensor, right: Tensor, *, groups: int, levels: int = DISPARITY_LEVELS
) -> Tensor:
    """Correlate group by group of neighbouring channels.

    Args:
        left: (B, C, H, W) features of the left image, C divisible by `groups`.
        right: (B, C, H, W) features of the right image.
        groups: number of groups G.
        levels: number of disparities D.

    Returns:
        (B * G, D, H, W), groups of one sample next to each other.
    """
    batch, channels, height, width = left.shape
    # Groups travel as batch, so that there is no fifth dimension.
    shape = (batch * groups, channels // groups, height, width)
    rows = left.reshape(shape) / shape[1]
    padded = F.pad(right.reshape(shape), (levels - 1, 0))
    # Shifted products here: the full product of each row would be G times that of all channels.
    planes = [
        (rows * padded[:, :, :, levels - 1 - d : -d or None]).sum(dim=1, keepdim=True)
        for d in range(levels)
    ]
    return torch.cat(planes, dim=1)


def mean_over_groups(volume: Tensor, *, groups: int) -> Tensor:
    """Average a (B * G, D, H, W) grouped volume to the (B, D, H, W) volume of all channels.

    Args:
        volume: (B * G, D, H, W) float, the groups of a picture side by side.
        groups: G.
    """
    rows, levels, height, width = volume.shape
    flat = volume.reshape(rows // groups, groups, levels * height, width)
    return flat.mean(dim=1).reshape(rows // groups, levels, height, width)


class _Conv3d(nn.Conv3d):
    """A 3-D convolution that lets its model move to channels_last, a format of 4-D tensors only.

    Of 3x3x3 taps, padding 1, no bias. Training takes the form of `_conv3d_as_2d`: forward and
    backward pass of the stem's three take a quarter of the time (259 ms instead of 1,092 for 4
    pairs of 256x512 on two cores; 7.5 ms instead of 33 for 32 pairs in bfloat16 on an H200).
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[2] % _SLICES_AT_ONCE == 0:
            return _conv3d_as_2d(input, self.weight)
        return super().forward(input)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        def as_matrix(tensor: Tensor) -> Tensor:
            return fn(tensor.flatten(1)).view(tensor.shape) if tensor.ndim == 5 else fn(tensor)

        return cast(nn.Module, super()._apply(as_matrix, recurse))  # type: ignore[no-untyped-call]


def _conv3d_as_2d(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve groups of neighbouring slices as one picture of many channels each.

    Args:
        x: (B, C, D, H, W), D a multiple of 4.
        weight: (O, C, 3, 3, 3).

    Returns:
        (B, O, D, H, W): what `conv3d` with padding 1 gives.
    """
    batch, channels, depth, height, width = x.shape
    outputs, slices = weight.shape[0], _SLICES_AT_ONCE
    # Each group sees one slice more on both sides. Not by `unfold`: within the compiled network its
    # backward pass wrote over other memory (torch 2.13 on a CPU).
    shape = (batch, depth // slices, slices, channels, height, width)
    groups = x.transpose(1, 2).reshape(shape)
    zeros = torch.zeros_like(groups[:, :1, :1])
    before = torch.cat([zeros, groups[:, :-1, -1:]], 1)
    after = torch.cat([groups[:, 1:, :1], zeros], 1)
    pictures = torch.cat([before, groups, after], 2)
    pictures = pictures.reshape(-1, (slices + 2) * channels, height, width)
    # Slice i of a group looks at the slices i, i + 1 and i + 2 of what the group sees.
    taps = weight.transpose(1, 2)
    filters = torch.stack(
        [F.pad(taps, (0, 0, 0, 0, 0, 0, i, slices - 1 - i)) for i in range(slices)]
    )
    flat = filters.reshape(slices * outputs, (slices + 2) * channels, 3, 3)
    result = F.conv2d(pictures.contiguous(memory_format=torch.channels_last), flat, padding=1)
    return result.reshape(batch, depth, outputs, height, width).transpose(1, 2)


class _BatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation whose training pass suits tensors of few channels.

    PyTorch's kernel works on each channel with one block of threads: four channels leave a GPU
    idle. LAS1's training step took 214 ms with it and 136 ms without (H200, 32 pairs of 256x512).
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        variance, mean = torch.var_mean(input.float(), dim=(0, 2, 3, 4), correction=0)
        with torch.no_grad():
            count = input.numel() // input.shape[1]
            momentum = self.momentum or 0.0
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        shape = (1, -1, 1, 1, 1)
        return (input.float() * scale.view(shape) + shift.view(shape)).to(input.dtype)


class _Conv3dBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = _Conv3d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn = _BatchNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.bn(self.conv(x)))


class CostStem3d(nn.Sequential):
    """LAS1's first look at the volume: three 3x3x3 convolutions over disparity, rows, columns."""

    def __init__(self) -> None:
        """Build the 1 -> 4 -> 4 -> 1 channel chain."""
        super().__init__(_Conv3dBlock(1, 4), _Conv3dBlock(4, 4), _Conv3dBlock(4, 1))

    def forward(self, volume: Tensor) -> Tensor:
        """Map (B, D, H, W) to the same shape, values in [0, 6].

        Args:
            volume: (B, D, H, W) float.
        """
        # A five-dimensional view, never C times the volume. The same as 2-D convolutions over
        # three stacked levels takes 109 ms instead of 68 in ONNX Runtime (one core, 480x640).
        x = volume.unsqueeze(1)
        for block in self:
            x = block(x)
        return x.squeeze(1)
