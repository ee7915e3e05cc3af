"""Where rays meet primitives: the search for the nearest one, and its surface point, exactly.

Everything is written component by component over (batch, view, primitive, row, column), so that
`torch.compile` fuses the search for the nearest hit into one kernel that never stores a hit it does
not keep. Uncompiled, the same code runs anywhere and is what the tests check.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from litestereo.training.scenes.scene import BOXES, CYLINDERS, ELLIPSOIDS, PATCHES, ROOM, Scene
from litestereo.training.scenes.textures import OUTLINE_SIZE, Atlas

__all__ = ["MISS", "Hit", "Vector", "exact_depth", "hit", "nearest_primitive", "pick"]

# The depth of what no ray meets.
MISS = 1e9
_SEARCH_STEPS = 3
_EXACT_STEPS = 10
Vector = tuple[Tensor, Tensor, Tensor]


def _local(axes: Tensor, centre: Tensor, rays: tuple[Tensor, ...]) -> tuple[Vector, Vector]:
    """Return ray origins and directions in local coordinates; axes (..., 3, 3), centre (..., 3)."""
    x, y = rays
    eye = torch.arange(2, device=x.device, dtype=torch.float32).view(1, 2, 1, 1, 1)
    to_eye = (eye - centre[..., 0], -centre[..., 1], -centre[..., 2])
    rows = [axes[..., i, :] for i in range(3)]
    origin = [r[..., 0] * to_eye[0] + r[..., 1] * to_eye[1] + r[..., 2] * to_eye[2] for r in rows]
    towards = [r[..., 0] * x + r[..., 1] * y + r[..., 2] for r in rows]
    return (origin[0], origin[1], origin[2]), (towards[0], towards[1], towards[2])


def _at(origin: Vector, towards: Vector, depth: Tensor) -> Vector:
    return (
        origin[0] + towards[0] * depth,
        origin[1] + towards[1] * depth,
        origin[2] + towards[2] * depth,
    )


def _no_zero(values: Tensor) -> Tensor:
    return torch.where(values.abs() < 1e-9, torch.full_like(values, 1e-9), values)


def _relief(waves: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Height of a patch above its plane, in local units; waves (..., 2, 4)."""
    total = torch.zeros_like(x)
    for i in range(2):
        amplitude, kx, ky, phase = waves[..., i, :].unbind(-1)
        total = total + amplitude * torch.sin(kx * x + ky * y + phase)
    return total


def _patch_depth(waves: Tensor, origin: Vector, towards: Vector, *, steps: int) -> Tensor:
    """Meet the relief by fixed-point steps, which contract because slopes are bounded."""
    dz = _no_zero(towards[2])
    depth = -origin[2] / dz
    for _ in range(steps):
        x, y, _ = _at(origin, towards, depth)
        depth = (_relief(waves, x.clamp(-1.5, 1.5), y.clamp(-1.5, 1.5)) - origin[2]) / dz
    return depth


def _inside_outline(atlas: Atlas, outline: Tensor, x: Tensor, y: Tensor) -> Tensor:
    inside = (x.abs() < 1) & (y.abs() < 1)
    column = ((x.clamp(-1, 1) * 0.5 + 0.5) * (OUTLINE_SIZE - 1)).to(torch.int64)
    row = ((y.clamp(-1, 1) * 0.5 + 0.5) * (OUTLINE_SIZE - 1)).to(torch.int64)
    return inside & atlas.outlines[outline, row, column]


def _box_depths(origin: Vector, towards: Vector) -> tuple[Tensor, Tensor]:
    """Return where the rays enter and leave the unit cube; entry > exit is a miss."""
    entry, leave = None, None
    for o, t in zip(origin, towards, strict=True):
        t = _no_zero(t)
        a, b = (-1 - o) / t, (1 - o) / t
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        entry = low if entry is None else torch.maximum(entry, low)
        leave = high if leave is None else torch.minimum(leave, high)
    assert entry is not None
    assert leave is not None
    return entry, leave


def _box_depth(origin: Vector, towards: Vector, near: Tensor) -> Tensor:
    entry, leave = _box_depths(origin, towards)
    depth = torch.where(entry > near, entry, leave)
    return torch.where(entry < leave, depth, MISS)


def _room_depth(origin: Vector, towards: Vector) -> Tensor:
    entry, leave = _box_depths(origin, towards)
    return torch.where(entry < leave, leave, MISS)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solve a t^2 + 2 b t + c = 0; return both roots and whether they are real."""
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    a = a.clamp(min=1e-12)
    return (-b - root) / a, (-b + root) / a, discriminant > 0


def _cylinder_depth(origin: Vector, towards: Vector, near: Tensor) -> Tensor:
    (ox, oy, oz), (tx, ty, tz) = origin, towards
    first, second, real = _roots(tx * tx + ty * ty, ox * tx + oy * ty, ox * ox + oy * oy - 1)
    first_in = (first > near) & ((oz + first * tz).abs() < 1)
    second_in = (second > near) & ((oz + second * tz).abs() < 1)
    depth = torch.where(first_in, first, torch.where(second_in, second, MISS))
    return torch.where(real, depth, MISS)


def _ellipsoid_depth(origin: Vector, towards: Vector, near: Tensor) -> Tensor:
    (ox, oy, oz), (tx, ty, tz) = origin, towards
    first, second, real = _roots(
        tx * tx + ty * ty + tz * tz, ox * tx + oy * ty + oz * tz, ox * ox + oy * oy + oz * oz - 1
    )
    depth = torch.where(first > near, first, second)
    return torch.where(real, depth, MISS)


def nearest_primitive(scene: Scene, atlas: Atlas, rays: tuple[Tensor, ...], near: Tensor) -> Tensor:
    """Return which primitive each ray meets first: (B, 2, H, W) int64; -1 for none.

    Args:
        scene: a batch of scenes.
        atlas: the textures and outlines.
        rays: x and y of each ray at depth 1, (B, 2, 1, H, W) each.
        near: (B,) least depth that is seen.
    """
    near = near.view(-1, 1, 1, 1, 1)

    def table(values: Tensor, part: slice) -> Tensor:
        """Shape (B, P, ...) as (B, 1, P', 1, 1, ...)."""
        values = values[:, part]
        return values.reshape(values.shape[0], 1, values.shape[1], 1, 1, *values.shape[2:])

    def group(part: slice) -> tuple[Vector, Vector]:
        return _local(table(scene.axes, part), table(scene.centre, part), rays)

    origin, towards = group(PATCHES)
    waves = table(scene.waves, PATCHES)
    depth = _patch_depth(waves, origin, towards, steps=_SEARCH_STEPS)
    x, y, _ = _at(origin, towards, depth)
    inside = _inside_outline(atlas, table(scene.outline, PATCHES), x, y)
    best, index = _closest(torch.where(inside, depth, MISS), near, PATCHES)
    for part, depths in (
        (BOXES, _box_depth(*group(BOXES), near)),
        (CYLINDERS, _cylinder_depth(*group(CYLINDERS), near)),
        (ELLIPSOIDS, _ellipsoid_depth(*group(ELLIPSOIDS), near)),
        (ROOM, _room_depth(*group(ROOM))),
    ):
        depth, number = _closest(depths, near, part)
        index = torch.where(depth < best, number, index)
        best = torch.minimum(depth, best)
    return torch.where(best < MISS, index, -1)


def _closest(depth: Tensor, near: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    depth = torch.where((depth > near) & (depth < MISS), depth, MISS)
    best, index = depth.min(dim=2)
    return best, index + part.start


@dataclass
class Hit:
    """The surface point of each ray: local position and normal, kind of primitive, depth.

    Attributes:
        depth: (B, 2, H, W) float along the optical axis.
        position: in the primitive's own coordinates.
        normal: in the primitive's own coordinates.
        flat: how the surface is textured.
    """

    depth: Tensor
    position: Vector
    normal: Vector
    flat: Tensor


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Read (B, P, ...) at index (B, 2, H, W): (B, 2, H, W, ...).

    Args:
        values: of each of P primitives.
        index: which primitive, int64.
    """
    batch = torch.arange(values.shape[0], device=values.device).view(-1, 1, 1, 1)
    return values[batch, index]


def hit(scene: Scene, rays: tuple[Tensor, ...], index: Tensor, near: Tensor) -> Hit:
    """Solve the winning primitive of each ray again, exactly.

    Args:
        scene: a batch of scenes.
        rays: x and y of each ray at depth 1, (B, 2, 1, H, W) each.
        index: (B, 2, H, W) int64, which primitive.
        near: (B,) least depth that is seen.
    """
    flat_rays = tuple(ray.squeeze(2)[:, :, None] for ray in rays)
    axes = pick(scene.axes, index)[:, :, None]
    centre = pick(scene.centre, index)[:, :, None]
    origin, towards = _local(axes, centre, flat_rays)
    near = near.view(-1, 1, 1, 1, 1)
    waves = pick(scene.waves, index)[:, :, None]
    kind = index[:, :, None]
    is_patch = kind < PATCHES.stop
    is_box = (kind >= BOXES.start) & (kind < BOXES.stop)
    is_cylinder = (kind >= CYLINDERS.start) & (kind < CYLINDERS.stop)
    is_ellipsoid = (kind >= ELLIPSOIDS.start) & (kind < ELLIPSOIDS.stop)
    depth = _room_depth(origin, towards)
    depth = torch.where(is_ellipsoid, _ellipsoid_depth(origin, towards, near), depth)
    depth = torch.where(is_cylinder, _cylinder_depth(origin, towards, near), depth)
    depth = torch.where(is_box, _box_depth(origin, towards, near), depth)
    patch = _patch_depth(waves, origin, towards, steps=_EXACT_STEPS)
    depth = torch.where(is_patch, patch, depth)
    position = _at(origin, towards, depth)
    normal = _normal(position, waves, is_patch, is_box | (kind >= ROOM.start), is_cylinder)
    return Hit(
        depth=depth.squeeze(2),
        position=_squeeze(position),
        normal=_squeeze(normal),
        flat=is_patch.squeeze(2),
    )


def _squeeze(vector: Vector) -> Vector:
    return vector[0].squeeze(2), vector[1].squeeze(2), vector[2].squeeze(2)


def _normal(
    position: Vector, waves: Tensor, is_patch: Tensor, is_box: Tensor, is_cylinder: Tensor
) -> Vector:
    """Return the local normal, not of unit length, before scaling by the axes."""
    x, y, z = position
    slope_x, slope_y = torch.zeros_like(x), torch.zeros_like(y)
    for i in range(2):
        amplitude, kx, ky, phase = waves[..., i, :].unbind(-1)
        wave = amplitude * torch.cos(kx * x + ky * y + phase)
        slope_x, slope_y = slope_x + kx * wave, slope_y + ky * wave
    largest = torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
    face = [torch.where(p.abs() >= largest, p, torch.zeros_like(p)) for p in position]
    nx = torch.where(is_patch, -slope_x, torch.where(is_box, face[0], x))
    ny = torch.where(is_patch, -slope_y, torch.where(is_box, face[1], y))
    round_z = torch.where(is_cylinder, torch.zeros_like(z), z)
    nz = torch.where(is_patch, torch.ones_like(z), torch.where(is_box, face[2], round_z))
    return nx, ny, nz


def exact_depth(scene: Scene, rays: tuple[Tensor, ...], nearest: Tensor, near: Tensor) -> Tensor:
    """Depth (B, 2, H, W) of the primitives that `nearest_primitive` found.

    Args:
        scene: a batch of scenes.
        rays: x and y of each ray at depth 1, (B, 2, 1, H, W) each.
        nearest: what `nearest_primitive` gave.
        near: (B,) least depth that is seen.
    """
    depth = hit(scene, rays, nearest.clamp(min=0), near).depth
    return torch.where(nearest >= 0, depth, MISS)
