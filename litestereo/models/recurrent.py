"""LAS2-H's tail: a selective GRU that looks up the volumes and corrects the disparity."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.fasternet import WrappedFasterNetBlock
from litestereo.models.layers import ConvBlock, full_precision

__all__ = [
    "ChannelAttention",
    "ContextNet",
    "LookupPyramid",
    "MaskUpsampler",
    "SpatialAttention",
    "UpdateBlock",
    "UpdateContext",
    "sample_levels",
]

LOOKUP_RADIUS = 4
_TAPS = 2 * LOOKUP_RADIUS + 1
_HIDDEN = 64
_PAD = _TAPS + 1


@full_precision
def sample_levels(padded: Tensor, position: Tensor) -> Tensor:
    """Read a volume at 9 neighbouring positions along its channels, linear in between.

    Args:
        padded: (B, N + 20, H, W) volume of N levels with `_PAD` zero levels at both ends.
        position: (B, 1, H, W) level at the centre of the window; any value.

    Returns:
        (B, 9, H, W) values at position - 4 ... position + 4, 0 outside the volume.
    """
    base = torch.floor(position)
    weight = position - base
    # A window that starts further out reads only zeros, so the start can stop there.
    start = (base + (_PAD - LOOKUP_RADIUS)).clamp(0, padded.shape[1] - _TAPS - 1)
    steps = torch.arange(_TAPS + 1, device=padded.device).view(1, -1, 1, 1)
    values = torch.gather(padded, 1, start.long() + steps)
    near, far = values[:, :-1], values[:, 1:]
    return near + weight * (far - near)


def _halve_levels(volume: Tensor) -> Tensor:
    return 0.5 * (volume[:, 0::2] + volume[:, 1::2])


def _pad_levels(volume: Tensor) -> Tensor:
    return F.pad(volume, (0, 0, 0, 0, _PAD, _PAD))


class LookupPyramid:
    """Two levels of the group-wise volume and of the all-pairs volume, ready to be read."""

    def __init__(self, grouped: Tensor, pairs: Tensor, *, groups: int) -> None:
        """Keep (B * G, D, H, W) and (B, W, H, W) at full and at half resolution of the levels.

        Args:
            grouped: (B * G, D, H, W) correlation by groups.
            pairs: (B, W, H, W) correlation of each pixel with each column.
            groups: G.
        """
        self.groups = groups
        self.grouped = (_pad_levels(grouped), _pad_levels(_halve_levels(grouped)))
        self.pairs = (_pad_levels(pairs), _pad_levels(_halve_levels(pairs)))
        columns = torch.arange(pairs.shape[3], dtype=pairs.dtype, device=pairs.device)
        self.columns = columns.view(1, 1, 1, -1)

    def read(self, disparity: Tensor) -> Tensor:
        """Read both volumes around `disparity` (B, 1, H, W), quarter px; gives (B, 162, H, W).

        Args:
            disparity: (B, 1, H, W) float, quarter pixels.
        """
        batch, _, height, width = disparity.shape
        parts = []
        for level in range(2):
            scale = 0.5**level
            at = disparity * scale
            # Each group reads at the same place: (B, 1) -> (B, G) -> (B * G, 1).
            at_groups = at.repeat(1, self.groups, 1, 1)
            at_groups = at_groups.reshape(batch * self.groups, 1, height, width)
            taps = sample_levels(self.grouped[level], at_groups)
            parts.append(taps.reshape(batch, self.groups * _TAPS, height, width))
            parts.append(sample_levels(self.pairs[level], self.columns * scale - at))
        return torch.cat(parts, dim=1)


class ContextNet(nn.Module):
    """First hidden state and constant input of the GRU, from the left features."""

    def __init__(self, feature_channels: int) -> None:
        """Size both convolutions.

        Args:
            feature_channels: of the finest left features.
        """
        super().__init__()
        self.hidden_conv = nn.Conv2d(feature_channels, _HIDDEN, 3, padding=1)
        self.input_conv = nn.Conv2d(feature_channels, _HIDDEN, 3, padding=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to hidden state and input, (B, 64, H, W) each.

        Args:
            features: (B, C, H, W) float, the finest ones of the left picture.
        """
        return torch.tanh(self.hidden_conv(features)), torch.relu(self.input_conv(features))


class ChannelAttention(nn.Module):
    """One gate per channel, from its mean and its maximum over the image."""

    def __init__(self) -> None:
        """Build the shared bottleneck."""
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(_HIDDEN, 4, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(4, _HIDDEN, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 64, H, W) to gates (B, 64, 1, 1).

        Args:
            x: (B, C, H, W) float.
        """
        mean = self.fc(x.mean(dim=(2, 3), keepdim=True))
        peak = self.fc(torch.amax(x, dim=(2, 3), keepdim=True))
        return torch.sigmoid(mean + peak)


class SpatialAttention(nn.Module):
    """One gate per pixel, from the mean and the maximum of its channels."""

    def __init__(self) -> None:
        """Build the 7x7 convolution."""
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 64, H, W) to gates (B, 1, H, W).

        Args:
            x: (B, C, H, W) float.
        """
        both = (x.mean(dim=1, keepdim=True), torch.amax(x, dim=1, keepdim=True))
        return torch.sigmoid(self.conv(torch.cat(both, dim=1)))


class _MotionEncoder(nn.Module):
    """Turn what was read from the volumes, and the disparity itself, into 64 channels."""

    def __init__(self, lookup_channels: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(lookup_channels, 128, 1)
        self.convc2 = nn.Conv2d(128, 128, 3, padding=1)
        self.convd1 = nn.Conv2d(1, 32, 7, padding=3)
        self.convd2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv = nn.Conv2d(160, 63, 1)

    def forward(self, lookup: Tensor, disparity: Tensor) -> Tensor:
        seen = torch.relu(self.convc2(torch.relu(self.convc1(lookup))))
        moved = torch.relu(self.convd2(torch.relu(self.convd1(disparity))))
        fused = torch.relu(self.conv(torch.cat((seen, moved), dim=1)))
        return torch.cat((fused, disparity), dim=1)


class _ConvGru(nn.Module):
    def __init__(self, *, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.convz = nn.Conv2d(192, _HIDDEN, kernel, padding=pad)
        self.convr = nn.Conv2d(192, _HIDDEN, kernel, padding=pad)
        self.convq = nn.Conv2d(192, _HIDDEN, kernel, padding=pad)

    def forward(self, hidden: Tensor, x: Tensor, joint: Tensor) -> Tensor:
        update = torch.sigmoid(self.convz(joint))
        reset = torch.sigmoid(self.convr(joint))
        proposal = torch.tanh(self.convq(torch.cat((reset * hidden, x), dim=1)))
        return (1.0 - update) * hidden + update * proposal


class _SelectiveGru(nn.Module):
    """A 1x1 and a 3x3 GRU, blended per pixel by the spatial attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU())
        self.conv1 = nn.Sequential(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU())
        self.small_gru = _ConvGru(kernel=1)
        self.large_gru = _ConvGru(kernel=3)

    def forward(self, hidden: Tensor, x: Tensor, attention: Tensor) -> Tensor:
        x = self.conv0(x)
        joint = self.conv1(torch.cat((x, hidden), dim=1))
        small = self.small_gru(hidden, x, joint)
        large = self.large_gru(hidden, x, joint)
        return cast(Tensor, attention * small + (1.0 - attention) * large)


class _DisparityHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            WrappedFasterNetBlock(_HIDDEN, expansion=4),
            WrappedFasterNetBlock(_HIDDEN, expansion=4),
            nn.Conv2d(_HIDDEN, 1, 3, padding=1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.conv(hidden))


class UpdateContext(NamedTuple):
    """What stays the same over the iterations: (B, 64, H, W) input and (B, 1, H, W) attention.

    Attributes:
        features: the input.
        attention: the gates of the hidden state.
    """

    features: Tensor
    attention: Tensor


class UpdateBlock(nn.Module):
    """One iteration: new hidden state and a correction of the disparity."""

    def __init__(self, *, groups: int) -> None:
        """Size the block for volumes of `groups` groups.

        Args:
            groups: of the grouped volume.
        """
        super().__init__()
        self.encoder = _MotionEncoder(2 * (groups + 1) * _TAPS)
        self.gru04 = _SelectiveGru()
        self.disp_head = _DisparityHead()
        self.mask = nn.Sequential(
            nn.Conv2d(_HIDDEN, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
        )

    def forward(
        self, hidden: Tensor, disparity: Tensor, *, lookup: Tensor, context: UpdateContext
    ) -> tuple[Tensor, Tensor]:
        """Give the next hidden state and the correction in quarter pixels (B, 1, H, W).

        Args:
            hidden: (B, 64, H, W) float.
            disparity: (B, 1, H, W) float, quarter pixels.
            lookup: what `LookupPyramid.read` gave at that disparity.
            context: what stays the same over the iterations.
        """
        motion = self.encoder(lookup, disparity)
        x = torch.cat((context.features, motion), dim=1)
        hidden = self.gru04(hidden, x, context.attention)
        return hidden, self.disp_head(hidden)

    def mask_features(self, hidden: Tensor) -> Tensor:
        """Map the hidden state to (B, 16, H, W) upsampling features.

        Args:
            hidden: (B, 64, H, W) float.
        """
        # The published scale: it evens out the gradients of the mask and the disparity.
        return 0.25 * cast(Tensor, self.mask(hidden))


class MaskUpsampler(nn.Module):
    """Bring upsampling features from 1/4 to 1/2 beside those of the image."""

    def __init__(self) -> None:
        """Build both convolutions."""
        super().__init__()
        up = nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1, bias=False)
        fuse = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.conv1 = ConvBlock(up, activation=nn.LeakyReLU(0.01))
        self.conv2 = ConvBlock(fuse, activation=nn.LeakyReLU(0.01))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Fuse (B, 16, H/4, W/4) and (B, 16, H/2, W/2) into (B, 32, H/2, W/2).

        Args:
            low: the coarser map.
            high: the finer map.
        """
        return cast(Tensor, self.conv2(torch.cat((self.conv1(low), high), dim=1)))
