"""Where things stand: a batch of random scenes.

Four kinds of scene are mixed: free clutter before a wall, the inside of a room, a street with
ground and sky, frontal cards and reliefs as on a table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from litestereo.training.scenes.appearance import lights, materials, outlines, pane, waves
from litestereo.training.scenes.placement import (
    place_planes,
    place_room,
    place_street,
    rotations,
    scatter,
    stack_patches,
    thin_out,
)
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.scene import CLUTTER, FRONTAL, Frame, Scene
from litestereo.training.scenes.textures import Atlas

__all__ = ["sample_scenes"]

_SHARES = [0.34, 0.18, 0.22, 0.26]
# Columns for which a point so many pixels near is usual, and how many scenes keep to that. Things
# stick out nearer: in pairs of 512 columns the 99th percentile is 44 px at the median and 17 to
# 186 px in nine pairs of ten. In 26 real pairs, brought to that width, it is 19 to 88 px.
_COLUMNS, _USUAL_PX, _USUAL_SHARE = 512, (15.0, 60.0), 0.95


def sample_scenes(
    draw: Draw, atlas: Atlas, *, batch: int, size: tuple[int, int], max_disparity_px: float
) -> Scene:
    """Draw `batch` scenes for pictures of `size` (height, width), disparities up to the bound.

    Args:
        draw: where random numbers come from.
        atlas: the textures.
        batch: how many scenes.
        size: (height, width) of the pictures.
        max_disparity_px: no disparity is larger.
    """
    frame = _sample_frame(draw, batch, size, max_disparity_px)
    poses = scatter(draw, frame)
    place_planes(draw, frame, poses)
    place_room(draw, frame, poses)
    place_street(draw, frame, poses)
    thin_out(draw, poses)
    axes = rotations(poses.angles).transpose(-1, -2) / poses.extent[..., None]
    scene = Scene(
        focal_px=frame.focal,
        principal=frame.principal,
        misalignment=_misalignment(draw, batch),
        axes=axes,
        centre=poses.centre,
        extent=poses.extent,
        outline=outlines(draw, atlas, batch),
        waves=waves(draw, frame, poses.angles),
        **materials(draw, atlas, frame, poses.depth),
        **lights(draw, atlas, frame, poses.depth),
        pane=pane(draw, atlas, frame),
    )
    stack_patches(draw, scene)
    return scene


def _sample_frame(draw: Draw, batch: int, size: tuple[int, int], bound_px: float) -> Frame:
    height, width = size
    mode = draw.choice(_SHARES, batch)
    nearest = _nearest(draw, batch, width, bound_px)
    # Streets and rooms end far away; cards and clutter stand before a wall at any distance.
    wall_share = draw.uniform(batch, low=0.04, high=0.7)
    distant = draw.chance(batch, p=0.3)
    wall_share = torch.where(distant, draw.log_uniform(batch, low=0.005, high=0.1), wall_share)
    far = torch.where((mode == CLUTTER) | (mode == FRONTAL), wall_share, wall_share * 0.35)
    return Frame(
        mode=mode,
        focal=width * draw.log_uniform(batch, low=0.6, high=2.0),
        principal=torch.stack(
            [
                width * draw.uniform(batch, low=0.2, high=0.8),
                height * draw.uniform(batch, low=0.25, high=0.7),
            ],
            1,
        ),
        nearest_px=nearest,
        farthest_px=nearest * far,
        height=height,
        width=width,
    )


def _nearest(draw: Draw, batch: int, width: int, bound_px: float) -> Tensor:
    low, high = (px * width / _COLUMNS for px in _USUAL_PX)
    low, high = min(low, bound_px / 4), min(high, bound_px / 2)
    usual = draw.log_uniform(batch, low=low, high=high)
    close = draw.log_uniform(batch, low=high, high=bound_px)
    return torch.where(draw.chance(batch, p=_USUAL_SHARE), usual, close)


def _misalignment(draw: Draw, batch: int) -> Tensor:
    """A third of the rigs are rectified imperfectly: mostly by less than half a pixel."""
    offset = draw.normal(batch, 2, std=0.25).clamp(-0.6, 0.6)
    return offset * draw.chance(batch, 1, p=0.35)
