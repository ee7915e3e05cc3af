"""Cast the rays of both eyes through a batch of scenes: colour, exact disparity, occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from litestereo.training.scenes.rays import MISS, exact_depth, nearest_primitive
from litestereo.training.scenes.scene import Scene
from litestereo.training.scenes.shading import shade
from litestereo.training.scenes.textures import Atlas

__all__ = ["Rendered", "render"]


@dataclass
class Rendered:
    """Both views of a batch of scenes.

    Attributes:
        left: (B, 3, H, W) colour in 0..1, not clipped.
        right: (B, 3, H, W) likewise.
        disparity_px: (B, 1, H, W) of the left view; 0 where the sky is seen.
        visible: (B, 1, H, W) bool, true where the right eye sees the same point.
    """

    left: Tensor
    right: Tensor
    disparity_px: Tensor
    visible: Tensor


def render(
    scene: Scene, atlas: Atlas, *, size: tuple[int, int], max_disparity_px: float, samples: int = 1
) -> Rendered:
    """Render both views of `size` (height, width).

    Args:
        scene: B scenes.
        atlas: textures and outlines, on the scenes' device.
        size: (height, width) in pixels.
        max_disparity_px: nothing nearer is drawn, so that no disparity is larger.
        samples: colour samples for each pixel; 1 leaves edges hard, 2 smooths them.
    """
    near = scene.focal_px / max_disparity_px
    offsets = ((0.0, 0.0),) if samples == 1 else ((-0.25, -0.25), (0.25, 0.25))
    colour = torch.zeros((), device=scene.centre.device)
    for offset in offsets:
        rays = _rays(scene, size, offset)
        nearest = nearest_primitive(scene, atlas, rays, near)
        shaded, depth = shade(scene, atlas, rays, nearest, near)
        colour = colour + shaded / len(offsets)
    if samples > 1:
        rays = _rays(scene, size, (0.0, 0.0))
        depth = exact_depth(scene, rays, nearest_primitive(scene, atlas, rays, near), near)
    disparity = torch.where(depth < MISS, scene.focal_px.view(-1, 1, 1, 1) / depth, 0.0)
    left, right = disparity[:, :1], disparity[:, 1:]
    return Rendered(
        left=colour[:, 0], right=colour[:, 1], disparity_px=left, visible=_visible(left, right)
    )


def _rays(scene: Scene, size: tuple[int, int], offset: tuple[float, float]) -> tuple[Tensor, ...]:
    """Return ray directions (B, 2, 1, H, W) x and y at depth 1; the right eye may be misaligned."""
    height, width = size
    device = scene.focal_px.device
    column = torch.arange(width, device=device, dtype=torch.float32) + offset[0]
    row = torch.arange(height, device=device, dtype=torch.float32) + offset[1]
    view = torch.arange(2, device=device, dtype=torch.float32).view(1, 2, 1, 1, 1)
    focal = scene.focal_px.view(-1, 1, 1, 1, 1)
    cx, cy = (value.view(-1, 1, 1, 1, 1) for value in scene.principal.unbind(1))
    lift, turn = (value.view(-1, 1, 1, 1, 1) for value in scene.misalignment.unbind(1))
    x = (column - cx) / focal + torch.zeros_like(view)
    y = (row[:, None] - cy + view * (lift + turn * (column - cx) / width)) / focal
    y = y + torch.zeros_like(x)
    return x + torch.zeros_like(y), y


def _visible(left: Tensor, right: Tensor) -> Tensor:
    """True where the right eye, looking at a left pixel's point, has the same disparity there."""
    width = left.shape[-1]
    column = torch.arange(width, device=left.device) - left
    nearby = right.gather(3, column.round().to(torch.int64).clamp(0, width - 1))
    # Half a pixel of rounding on a slanted surface changes disparity by less than this.
    return (column >= 0) & (column <= width - 1) & ((nearby - left).abs() < 1.0)
