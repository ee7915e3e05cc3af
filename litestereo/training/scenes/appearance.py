"""What the primitives of a scene look like: outlines, relief, materials, light and glass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.scene import COUNT, GROUND, SIDE_WALLS, WALL, Frame
from litestereo.training.scenes.textures import Atlas

__all__ = ["lights", "materials", "outlines", "pane", "waves"]


def outlines(draw: Draw, atlas: Atlas, batch: int) -> Tensor:
    """Cut patches out along the atlas's outlines; walls and ground stay whole.

    Args:
        draw: where random numbers come from.
        atlas: the textures and outlines.
        batch: how many scenes.
    """
    outline = draw.integers(batch, COUNT, high=atlas.outlines.shape[0])
    outline[:, : SIDE_WALLS.stop] = 0
    return outline


def waves(draw: Draw, frame: Frame, angles: Tensor) -> Tensor:
    """Relief whose slope times the tilt's tangent stays below one, so that it can be solved.

    Args:
        draw: where random numbers come from.
        frame: what the parts of the layout share.
        angles: (B, P, 3) yaw, pitch and roll in radians.
    """
    batch = frame.mode.shape[0]
    wave_number = draw.normal(batch, COUNT, 2, 2, std=3.0).clamp(-8, 8)
    # A picture sees a fifth of the far wall: folds as of cloth need shorter waves than objects do.
    wave_number[:, WALL] *= draw.log_uniform(batch, 1, 1, low=2.0, high=12.0)
    slope = draw.uniform(batch, COUNT, 2, low=0.0, high=0.22)
    tilt = angles[..., :2].abs().sum(-1)
    curved = draw.chance(batch, COUNT, p=0.5) & (tilt < 0.7)
    curved[:, GROUND : SIDE_WALLS.stop] = False
    amplitude = slope / wave_number.norm(dim=-1).clamp(min=0.5) * curved[..., None]
    phase = draw.uniform(batch, COUNT, 2, high=2 * math.pi)
    return torch.cat([amplitude[..., None], wave_number, phase[..., None]], -1)


def materials(draw: Draw, atlas: Atlas, frame: Frame, depth: Tensor) -> dict[str, Tensor]:
    """Cover primitives with photos, patterns or plain paint, half of them in one hue.

    A second texture adds stains or grain; some are glossy or mirrors.

    Args:
        draw: where random numbers come from.
        atlas: the textures and outlines.
        frame: what the parts of the layout share.
        depth: (B, P) in baselines.
    """
    batch = frame.mode.shape[0]
    photo = draw.chance(batch, COUNT, 2, p=0.78 if atlas.photos else 0.0)
    of_photos = draw.integers(batch, COUNT, 2, high=max(atlas.photos, 1))
    made = atlas.photos + draw.integers(batch, COUNT, 2, high=atlas.count - atlas.photos)
    per_pixel = draw.log_uniform(batch, COUNT, low=0.6, high=3.2)
    density = per_pixel * frame.column(frame.focal) / depth
    rotation = draw.uniform(batch, COUNT, high=2 * math.pi) * draw.chance(batch, COUNT, p=0.6)
    offset = draw.uniform(batch, COUNT, 2, high=float(atlas.size))
    plain = draw.chance(batch, COUNT, p=0.13)
    contrast = torch.where(
        plain,
        draw.uniform(batch, COUNT, high=0.08),
        draw.uniform(batch, COUNT, low=0.35, high=1.25),
    )
    # Many things are of one colour, so that their outlines show by it.
    tinted = draw.chance(batch, COUNT, p=0.5)
    tint = draw.normal(batch, COUNT, 3) * torch.where(tinted, 0.16, 0.06)[..., None]
    base = draw.uniform(batch, COUNT, 1, low=0.12, high=0.75) + tint
    chroma = torch.where(tinted, draw.uniform(batch, COUNT, high=0.35), 1.0)
    detail = torch.where(
        plain, draw.uniform(batch, COUNT, high=0.12), draw.uniform(batch, COUNT, high=0.9)
    )
    # Stains are larger than what they lie on, grain is as fine as it.
    detail_scale = torch.where(
        draw.chance(batch, COUNT, p=0.5),
        draw.log_uniform(batch, COUNT, low=0.12, high=0.3),
        draw.log_uniform(batch, COUNT, low=0.8, high=2.5),
    )
    gloss = draw.uniform(batch, COUNT, 2) * draw.chance(batch, COUNT, 2, p=0.12)
    return {
        "texture": torch.where(photo, of_photos, made),
        "uv": torch.cat([density[..., None], rotation[..., None], offset], -1),
        "paint": torch.cat([base, torch.stack([contrast, detail, chroma, detail_scale], -1)], -1),
        "gloss": gloss * draw.constant(0.6, 0.45),
    }


def lights(draw: Draw, atlas: Atlas, frame: Frame, depth: Tensor) -> dict[str, Tensor]:
    """Choose the light, the pattern of shadows and what the sky shows.

    Args:
        draw: where random numbers come from.
        atlas: the textures and outlines.
        frame: what the parts of the layout share.
        depth: (B, P) in baselines.
    """
    batch = frame.mode.shape[0]
    toward = draw.normal(batch, 3) + draw.constant(0.0, -1.0, -1.0)
    toward = toward / toward.norm(dim=1, keepdim=True).clamp(min=1e-3)
    ambient = draw.uniform(batch, 1, low=0.35, high=0.95)
    scene_width = depth.median(dim=1).values * frame.width / frame.focal
    waves = draw.normal(batch, 9) * (12.0 / scene_width)[:, None]
    strength = draw.uniform(batch, 1, high=0.55) * draw.chance(batch, 1, p=0.5)
    texture = draw.integers(batch, 1, high=atlas.count).float()
    per_pixel = draw.log_uniform(batch, 1, low=0.2, high=2.0)
    colour = draw.uniform(batch, 1, low=0.3, high=1.0) + draw.normal(batch, 3, std=0.08)
    contrast = draw.uniform(batch, 1, high=1.1)
    return {
        "light": torch.cat([toward, ambient], 1),
        "shadow": torch.cat([waves, strength], 1),
        "sky": torch.cat([texture, per_pixel, colour, contrast], 1),
    }


def pane(draw: Draw, atlas: Atlas, frame: Frame) -> Tensor:
    """Hang a window, a shop front or a dirty screen before one scene in ten.

    Args:
        draw: where random numbers come from.
        atlas: the textures and outlines.
        frame: what the parts of the layout share.
    """
    batch = frame.mode.shape[0]
    depth = frame.focal / (frame.nearest_px * draw.uniform(batch, low=0.3, high=0.95))
    opacity = draw.uniform(batch, low=0.08, high=0.4) * draw.chance(batch, p=0.1)
    view = torch.stack([frame.focal * 0 + frame.width, frame.focal * 0 + frame.height], 1)
    corner = view * draw.uniform(batch, 2, low=-0.2, high=0.6) - frame.principal
    side = view * draw.uniform(batch, 2, low=0.3, high=1.2)
    window = torch.cat([corner, corner + side], 1) * (depth / frame.focal)[:, None]
    texture = draw.integers(batch, high=atlas.count).float()
    density = draw.log_uniform(batch, low=0.3, high=2.0) * frame.focal / depth
    return torch.cat(
        [torch.stack([depth, opacity], 1), window, torch.stack([texture, density], 1)], 1
    )
