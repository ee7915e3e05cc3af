"""What cameras do to a rendered pair: exposure, colour, lens blur, noise, JPEG, black borders.

Some of it strikes both eyes alike, some each eye on its own, as on real rigs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from litestereo.training.scenes.random import Draw

__all__ = [
    "blank_borders",
    "blur",
    "expose",
    "grey",
    "jpeg",
    "noise",
    "per_eye",
    "sharpen",
    "vignette",
]

_LUMA = (0.299, 0.587, 0.114)
_TOE, _SHOULDER = 0.06, 0.75  # brightness below and above which the response bends
# Annex K of ITU-T T.81: the luminance table that most encoders scale by quality.
_QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def expose(draw: Draw, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Take both pictures with imperfect cameras.

    Args:
        draw: source of randomness.
        left: (B, 3, H, W) colour, 0..1, not clipped; H and W multiples of 8.
        right: likewise.

    Returns:
        Both pictures as float32 RGB, whole numbers in 0..255.
    """
    pair = torch.stack([left, right], 1)
    pair = _contrast(draw, pair)
    pair = _tone(draw, pair)
    pair = vignette(draw, pair)
    pair = blur(draw, pair)
    pair = sharpen(draw, pair)
    pair = noise(draw, pair)
    pair = grey(draw, pair)
    pair = jpeg(draw, pair.clamp(0, 1))
    pair = blank_borders(draw, (pair.clamp(0, 1) * 255).round())
    return pair[:, 0].contiguous(), pair[:, 1].contiguous()


def per_eye(shared: Tensor, difference: Tensor) -> Tensor:
    """Shape (B, 1, C) and (B, 2, C) to (B, 2, C, 1, 1): a shared draw and each eye's own share.

    Args:
        shared: what both eyes have.
        difference: what each has of its own.
    """
    return (shared + difference)[..., None, None]


def _tone(draw: Draw, pair: Tensor) -> Tensor:
    """Exposure by the pair's mean, white balance, gamma; in 40 % of the rigs the eyes differ.

    In four rigs of five the response bends at both ends, in the fifth it is cut off.
    """
    batch = pair.shape[0]
    differs = draw.chance(batch, 1, 1, p=0.4)
    # An automatic exposure, as cameras have: a dark scene or a bright one comes out usable.
    brightness = pair.clamp(0, 1.5).mean((1, 2, 3, 4)).clamp(min=0.01)
    # As in 72 real pairs: mean grey values of 70 to 172 of 255, half of them above 108.
    wanted = draw.log_uniform(batch, low=0.26, high=0.68)
    gain = per_eye(
        (wanted / brightness).log()[:, None, None], draw.normal(batch, 2, 1, std=0.1) * differs
    )
    white = per_eye(
        draw.normal(batch, 1, 3, std=0.06), draw.normal(batch, 2, 3, std=0.03) * differs
    )
    gamma = per_eye(
        draw.normal(batch, 1, 1, std=0.18), draw.normal(batch, 2, 1, std=0.06) * differs
    )
    exposed = pair * (gain + white).exp()
    film = draw.chance(batch, 1, 1, 1, 1, p=0.8)
    return torch.where(film, _film(exposed), exposed).clamp(min=1e-4) ** gamma.exp()


def _film(exposed: Tensor) -> Tensor:
    """Bend both ends, as sensors' curves do: what is very dark or bright keeps some texture."""
    toe, shoulder = _TOE, 1 - _SHOULDER
    dark = toe * ((exposed - toe).clamp(max=0) / toe).exp()
    bright = 1 - shoulder * (-(exposed - _SHOULDER).clamp(min=0) / shoulder).exp()
    return torch.where(exposed < toe, dark, torch.where(exposed > _SHOULDER, bright, exposed))


def _contrast(draw: Draw, pair: Tensor) -> Tensor:
    """Let the deviation be 0.3 to 0.85 of the mean, as in real pictures."""
    seen = pair.clamp(0, 1.5)
    mean = seen.mean((1, 2, 3, 4), keepdim=True)
    spread = seen.mean(2, keepdim=True).std((1, 2, 3, 4), keepdim=True) / mean.clamp(min=0.01)
    wanted = draw.log_uniform(pair.shape[0], 1, 1, 1, 1, low=0.3, high=0.85)
    return mean + (pair - mean) * (wanted / spread.clamp(min=0.01)).clamp(0.7, 1.6)


def vignette(draw: Draw, pair: Tensor) -> Tensor:
    """Darken the corners in three rigs of ten; `pair` is (B, 2, 3, H, W) here and below.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    height, width = pair.shape[-2:]
    x = torch.linspace(-1, 1, width, device=pair.device)
    y = torch.linspace(-1, 1, height, device=pair.device)[:, None] * height / width
    strength = draw.uniform(pair.shape[0], 1, 1, 1, 1, high=0.35)
    strength = strength * draw.chance(pair.shape[0], 1, 1, 1, 1, p=0.3)
    return pair * (1 - strength * (x * x + y * y))


def blur(draw: Draw, pair: Tensor) -> Tensor:
    """Gaussian blur: a little always, for the pixel's own aperture; at times more in one eye.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    batch = pair.shape[0]
    sigma = draw.uniform(batch, 1, low=0.25, high=0.65)
    soft = draw.chance(batch, 1, p=0.15)
    sigma = torch.where(soft, draw.uniform(batch, 1, low=0.6, high=1.6), sigma)
    own = draw.uniform(batch, 2, high=0.5) * draw.chance(batch, 1, p=0.2)
    sigma = (sigma + own).reshape(-1, 1)
    taps = torch.arange(-3, 4, device=pair.device, dtype=torch.float32)
    kernel = torch.exp(-(taps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = pair.reshape(1, -1, *pair.shape[-2:])
    flat = F.pad(flat, (3, 3, 3, 3), mode="replicate")
    flat = F.conv2d(flat, kernel[..., None, :], groups=flat.shape[1])
    flat = F.conv2d(flat, kernel[..., None], groups=flat.shape[1])
    return flat.reshape(pair.shape)


def sharpen(draw: Draw, pair: Tensor) -> Tensor:
    """Raise fine detail in six rigs of ten, as cameras do to what their lenses blur.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    batch = pair.shape[0]
    amount = draw.uniform(batch, 1, 1, 1, high=1.5) * draw.chance(batch, 1, 1, 1, p=0.6)
    flat = pair.flatten(1, 2)
    soft = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (flat + amount * (flat - soft)).reshape(pair.shape)


def noise(draw: Draw, pair: Tensor) -> Tensor:
    """Shot and read noise, drawn for each eye.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    batch = pair.shape[0]
    read = draw.log_uniform(batch, 1, 1, 1, 1, low=0.001, high=0.03)
    shot = draw.log_uniform(batch, 1, 1, 1, 1, low=0.001, high=0.03)
    noisy = draw.chance(batch, 1, 1, 1, 1, p=0.75)
    spread = (read**2 + shot**2 * pair.clamp(min=0)).sqrt() * noisy
    return pair + draw.normal(*pair.shape) * spread


def grey(draw: Draw, pair: Tensor) -> Tensor:
    """Take the colour out of an eighth of the pairs.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    weights = draw.constant(*_LUMA).view(1, 1, 3, 1, 1)
    brightness = (pair * weights).sum(2, keepdim=True).expand_as(pair)
    return torch.where(draw.chance(pair.shape[0], 1, 1, 1, 1, p=0.12), brightness, pair)


def jpeg(draw: Draw, pair: Tensor) -> Tensor:
    """Quantise 8x8 cosine blocks as JPEG does in a quarter of the rigs; full-size chroma.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W) float, left and right of each rig, 0 to 1.
    """
    batch, height, width = pair.shape[0], *pair.shape[-2:]
    chosen = draw.chance(batch, p=0.25)
    quality = draw.uniform(batch, low=40.0, high=95.0)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(-1, 1, 1, 1, 1, 1, 1)
    table = draw.constant(*_QUANTISATION).view(8, 1, 8)
    step = (table * scale).clamp(min=1.0) / 255
    blocks = pair.reshape(batch, 2, 3, height // 8, 8, width // 8, 8)
    transform = _cosines(pair.device)
    cosine = torch.einsum("ij,bvchjwk,lk->bvchiwl", transform, blocks, transform)
    # The step is stated for a transform of pixel values; ours is orthonormal on 0..1.
    cosine = (cosine / step).round() * step
    back = torch.einsum("ji,bvchjwk,kl->bvchiwl", transform, cosine, transform)
    return torch.where(chosen.view(-1, 1, 1, 1, 1), back.reshape(pair.shape), pair)


def blank_borders(draw: Draw, pair: Tensor) -> Tensor:
    """Blacken borders in a tenth of the rigs, where rectifying finds no picture to take.

    Each side's goes from one width to another with a bend, as a turned and undistorted picture's
    does, and differs by eye.

    Args:
        draw: where random numbers come from.
        pair: (B, 2, 3, H, W), left and right of each rig.
    """
    batch, height, width = pair.shape[0], *pair.shape[-2:]
    size = draw.log_uniform(batch, 1, 1, 1, low=0.01, high=0.08)
    size = size * draw.chance(batch, 1, 1, 1, p=0.1)
    sides = (size * draw.uniform(batch, 2, 4, 3, low=-1.0))[..., None, None]
    x = torch.linspace(0, 1, width, device=pair.device)
    y = torch.linspace(0, 1, height, device=pair.device)[:, None]
    black = torch.zeros_like(pair[:, :, 0], dtype=torch.bool)
    for side, (inwards, along) in enumerate(((x, y), (1 - x, y), (y, x), (1 - y, x))):
        begin, end, bend = sides[:, :, side].unbind(2)
        black |= inwards < begin + (end - begin) * along + 2 * bend * along * (1 - along)
    return torch.where(black[:, :, None], 0.0, pair)


def _cosines(device: torch.device) -> Tensor:
    """Orthonormal 8-point DCT-II matrix."""
    k = torch.arange(8, device=device, dtype=torch.float32)
    matrix = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    matrix[0] /= math.sqrt(2)
    return matrix
