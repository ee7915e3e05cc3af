"""The colour of what rays meet: textures, light, highlights, mirrors, glass and sky."""

from __future__ import annotations

import torch
from torch import Tensor

from litestereo.training.scenes.rays import MISS, Hit, Vector, hit, pick
from litestereo.training.scenes.scene import Scene
from litestereo.training.scenes.textures import Atlas

__all__ = ["shade"]


def _surface_uv(hit: Hit, extent: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Texture coordinates in texels: the plane that the normal points out of, in baselines."""
    x, y, z = (p * extent[..., i] for i, p in enumerate(hit.position))
    nx, ny, nz = (n.abs() for n in hit.normal)
    across_x = ~hit.flat & (nx >= ny) & (nx >= nz)
    across_y = ~hit.flat & ~across_x & (ny >= nz)
    u, v = torch.where(across_x, y, x), torch.where(across_x | across_y, z, y)
    density, rotation, du, dv = uv.unbind(-1)
    cos, sin = rotation.cos(), rotation.sin()
    return (cos * u - sin * v) * density + du, (sin * u + cos * v) * density + dv


def shade(
    scene: Scene, atlas: Atlas, rays: tuple[Tensor, ...], nearest: Tensor, near: Tensor
) -> tuple[Tensor, Tensor]:
    """Return colour (B, 2, 3, H, W) and depth (B, 2, H, W) of what each ray meets.

    Args:
        scene: a batch of scenes.
        atlas: the textures and outlines.
        rays: x and y of each ray at depth 1, (B, 2, 1, H, W) each.
        nearest: what `nearest_primitive` gave.
        near: (B,) least depth that is seen.
    """
    index = nearest.clamp(min=0)
    point = hit(scene, rays, index, near)
    ray_x, ray_y = (ray.squeeze(2) for ray in rays)
    normal, facing = _world_normal(scene, index, point, ray_x, ray_y)
    uv, paint = pick(scene.uv, index), pick(scene.paint, index)
    texture, gloss = pick(scene.texture, index), pick(scene.gloss, index)
    u, v = _surface_uv(point, pick(scene.extent, index), uv)
    focal = scene.focal_px.view(-1, 1, 1, 1)
    # Texels under one pixel: between the short and the long side of the slanted footprint.
    footprint = point.depth / focal * uv[..., 0] / facing.clamp(min=0.06).sqrt()
    lod = footprint.clamp(min=1e-6).log2()
    colour = atlas.sample(texture[..., 0], u, v, lod)
    mirror_u, mirror_v = _mirrored(normal, ray_x, ray_y, atlas.size)
    mirrored = gloss[..., 1] > 0
    base, (contrast, detail_contrast, chroma, scale) = paint[..., :3], paint[..., 3:].unbind(-1)
    detail = atlas.sample(
        texture[..., 1],
        torch.where(mirrored, mirror_u, u * scale),
        torch.where(mirrored, mirror_v, v * scale),
        torch.where(mirrored, torch.full_like(lod, 1.0), lod + scale.log2()),
    )
    grey = colour.mean(0)
    colour = grey + chroma * (colour - grey)
    albedo = base.movedim(-1, 0) + contrast * (colour - 0.45)
    share = torch.where(mirrored, gloss[..., 1], torch.zeros_like(lod))
    albedo = albedo * (1 + torch.where(mirrored, 0.0, detail_contrast) * (detail - 0.45))
    albedo = albedo * (1 - share) + detail * share
    lit = albedo * _lighting(scene, normal, point.depth, ray_x, ray_y)
    lit = lit + _highlight(scene, normal, ray_x, ray_y) * gloss[..., 0]
    missed = nearest < 0
    lit = torch.where(missed, _sky(scene, atlas, ray_x, ray_y), lit)
    depth = torch.where(missed, MISS, point.depth)
    return _through_pane(scene, atlas, lit, depth, ray_x, ray_y).movedim(0, 2), depth


def _through_pane(
    scene: Scene, atlas: Atlas, lit: Tensor, depth: Tensor, ray_x: Tensor, ray_y: Tensor
) -> Tensor:
    """Mix in what a sheet of glass at its own depth shows, where it is before the scene."""
    away, opacity, left, top, right, bottom, _, density = (
        _per_scene(scene.pane, i) for i in range(8)
    )
    eye = torch.arange(2, device=depth.device, dtype=torch.float32).view(1, 2, 1, 1)
    x, y = eye + ray_x * away, ray_y * away
    inside = (x > left) & (x < right) & (y > top) & (y < bottom) & (away < depth)
    texture = _per_scene(scene.pane, 6).to(torch.int64).expand_as(x)
    focal = scene.focal_px.view(-1, 1, 1, 1)
    lod = (density * away / focal).log2().expand_as(x)
    shown = atlas.sample(texture, x * density, y * density, lod)
    return lit + (shown - lit) * (opacity * inside)


def _world_normal(
    scene: Scene, index: Tensor, hit: Hit, ray_x: Tensor, ray_y: Tensor
) -> tuple[Vector, Tensor]:
    """Return the unit normal towards the eye and the cosine between it and the ray."""
    axes = pick(scene.axes, index)
    nx, ny, nz = hit.normal
    x, y, z = (axes[..., 0, j] * nx + axes[..., 1, j] * ny + axes[..., 2, j] * nz for j in range(3))
    length = (x * x + y * y + z * z).sqrt().clamp(min=1e-12)
    along = (x * ray_x + y * ray_y + z) / length
    sign = torch.where(along > 0, -1.0, 1.0) / length
    cosine = along.abs() / (ray_x * ray_x + ray_y * ray_y + 1).sqrt()
    return (x * sign, y * sign, z * sign), cosine


def _per_scene(values: Tensor, column: int) -> Tensor:
    return values[:, column].view(-1, 1, 1, 1)


def _lighting(scene: Scene, normal: Vector, depth: Tensor, ray_x: Tensor, ray_y: Tensor) -> Tensor:
    """Ambient and diffuse light times a pattern of soft shadows fixed in the world."""
    light = [_per_scene(scene.light, i) for i in range(4)]
    diffuse = (normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]).clamp(min=0)
    shade = light[3] + (1 - light[3]) * diffuse
    eye = torch.arange(2, device=depth.device, dtype=torch.float32).view(1, 2, 1, 1)
    world = (eye + ray_x * depth, ray_y * depth, depth)
    pattern = torch.zeros_like(depth)
    for i in range(3):
        kx, ky, kz = (_per_scene(scene.shadow, 3 * i + j) for j in range(3))
        pattern = pattern + torch.sin(kx * world[0] + ky * world[1] + kz * world[2])
    dark = ((pattern - 0.4) * 4).clamp(0, 1)
    return shade * (1 - _per_scene(scene.shadow, 9) * dark)


def _reflected(normal: Vector, ray_x: Tensor, ray_y: Tensor) -> Vector:
    length = (ray_x * ray_x + ray_y * ray_y + 1).sqrt()
    x, y, z = ray_x / length, ray_y / length, 1 / length
    along = 2 * (x * normal[0] + y * normal[1] + z * normal[2])
    return x - along * normal[0], y - along * normal[1], z - along * normal[2]


def _highlight(scene: Scene, normal: Vector, ray_x: Tensor, ray_y: Tensor) -> Tensor:
    """Phong highlight: the mirror direction against the light, seen by each eye on its own."""
    mirror = _reflected(normal, ray_x, ray_y)
    lx, ly, lz = (_per_scene(scene.light, i) for i in range(3))
    return (mirror[0] * lx + mirror[1] * ly + mirror[2] * lz).clamp(min=0) ** 24


def _mirrored(normal: Vector, ray_x: Tensor, ray_y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    mirror = _reflected(normal, ray_x, ray_y)
    spread = size / (1.2 + mirror[2].abs())
    return mirror[0] * spread, mirror[1] * spread


def _sky(scene: Scene, atlas: Atlas, ray_x: Tensor, ray_y: Tensor) -> Tensor:
    """Colour at infinity: a picture that both eyes see in the same direction."""
    texture = _per_scene(scene.sky, 0).to(torch.int64).expand_as(ray_x)
    per_pixel = _per_scene(scene.sky, 1)
    scale = scene.focal_px.view(-1, 1, 1, 1) * per_pixel
    lod = per_pixel.log2().expand_as(ray_x)
    picture = atlas.sample(texture, ray_x * scale, ray_y * scale, lod)
    colour = torch.stack([_per_scene(scene.sky, 2 + i) for i in range(3)])
    return colour + _per_scene(scene.sky, 5) * (picture - 0.45)
