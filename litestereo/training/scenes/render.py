"""Cast the rays of both eyes through a batch of scenes: colour, exact disparity, occlusion.

Everything is written component by component over (batch, view, primitive, row, column), so that
`torch.compile` fuses the search for the nearest hit into one kernel that never stores a hit it does
not keep. Uncompiled, the same code runs anywhere and is what the tests check.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from litestereo.training.scenes import layout
from litestereo.training.scenes.layout import Scene
from litestereo.training.scenes.textures import OUTLINE_SIZE, Atlas

__all__ = ["Rendered", "render"]

_MISS = 1e9
_SEARCH_STEPS = 3
_EXACT_STEPS = 10
_Vector = tuple[Tensor, Tensor, Tensor]


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
        nearest = _nearest(scene, atlas, rays, near)
        shaded, depth = _shade(scene, atlas, rays, nearest, near)
        colour = colour + shaded / len(offsets)
    if samples > 1:
        rays = _rays(scene, size, (0.0, 0.0))
        depth = _depth(scene, rays, _nearest(scene, atlas, rays, near), near)
    disparity = torch.where(depth < _MISS, scene.focal_px.view(-1, 1, 1, 1) / depth, 0.0)
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


def _local(axes: Tensor, centre: Tensor, rays: tuple[Tensor, ...]) -> tuple[_Vector, _Vector]:
    """Return ray origins and directions in local coordinates; axes (..., 3, 3), centre (..., 3)."""
    x, y = rays
    eye = torch.arange(2, device=x.device, dtype=torch.float32).view(1, 2, 1, 1, 1)
    to_eye = (eye - centre[..., 0], -centre[..., 1], -centre[..., 2])
    rows = [axes[..., i, :] for i in range(3)]
    origin = [r[..., 0] * to_eye[0] + r[..., 1] * to_eye[1] + r[..., 2] * to_eye[2] for r in rows]
    towards = [r[..., 0] * x + r[..., 1] * y + r[..., 2] for r in rows]
    return (origin[0], origin[1], origin[2]), (towards[0], towards[1], towards[2])


def _at(origin: _Vector, towards: _Vector, depth: Tensor) -> _Vector:
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


def _patch_depth(waves: Tensor, origin: _Vector, towards: _Vector, *, steps: int) -> Tensor:
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


def _box_depths(origin: _Vector, towards: _Vector) -> tuple[Tensor, Tensor]:
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


def _box_depth(origin: _Vector, towards: _Vector, near: Tensor) -> Tensor:
    entry, leave = _box_depths(origin, towards)
    depth = torch.where(entry > near, entry, leave)
    return torch.where(entry < leave, depth, _MISS)


def _room_depth(origin: _Vector, towards: _Vector) -> Tensor:
    entry, leave = _box_depths(origin, towards)
    return torch.where(entry < leave, leave, _MISS)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solve a t^2 + 2 b t + c = 0; return both roots and whether they are real."""
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    a = a.clamp(min=1e-12)
    return (-b - root) / a, (-b + root) / a, discriminant > 0


def _cylinder_depth(origin: _Vector, towards: _Vector, near: Tensor) -> Tensor:
    (ox, oy, oz), (tx, ty, tz) = origin, towards
    first, second, real = _roots(tx * tx + ty * ty, ox * tx + oy * ty, ox * ox + oy * oy - 1)
    first_in = (first > near) & ((oz + first * tz).abs() < 1)
    second_in = (second > near) & ((oz + second * tz).abs() < 1)
    depth = torch.where(first_in, first, torch.where(second_in, second, _MISS))
    return torch.where(real, depth, _MISS)


def _ellipsoid_depth(origin: _Vector, towards: _Vector, near: Tensor) -> Tensor:
    (ox, oy, oz), (tx, ty, tz) = origin, towards
    first, second, real = _roots(
        tx * tx + ty * ty + tz * tz, ox * tx + oy * ty + oz * tz, ox * ox + oy * oy + oz * oz - 1
    )
    depth = torch.where(first > near, first, second)
    return torch.where(real, depth, _MISS)


def _nearest(scene: Scene, atlas: Atlas, rays: tuple[Tensor, ...], near: Tensor) -> Tensor:
    """Return which primitive each ray meets first: (B, 2, H, W) int64; -1 for none."""
    near = near.view(-1, 1, 1, 1, 1)

    def table(values: Tensor, part: slice) -> Tensor:
        """Shape (B, P, ...) as (B, 1, P', 1, 1, ...)."""
        values = values[:, part]
        return values.reshape(values.shape[0], 1, values.shape[1], 1, 1, *values.shape[2:])

    def group(part: slice) -> tuple[_Vector, _Vector]:
        return _local(table(scene.axes, part), table(scene.centre, part), rays)

    origin, towards = group(layout.PATCHES)
    waves = table(scene.waves, layout.PATCHES)
    depth = _patch_depth(waves, origin, towards, steps=_SEARCH_STEPS)
    x, y, _ = _at(origin, towards, depth)
    inside = _inside_outline(atlas, table(scene.outline, layout.PATCHES), x, y)
    best, index = _closest(torch.where(inside, depth, _MISS), near, layout.PATCHES)
    for part, depths in (
        (layout.BOXES, _box_depth(*group(layout.BOXES), near)),
        (layout.CYLINDERS, _cylinder_depth(*group(layout.CYLINDERS), near)),
        (layout.ELLIPSOIDS, _ellipsoid_depth(*group(layout.ELLIPSOIDS), near)),
        (layout.ROOM, _room_depth(*group(layout.ROOM))),
    ):
        depth, number = _closest(depths, near, part)
        index = torch.where(depth < best, number, index)
        best = torch.minimum(depth, best)
    return torch.where(best < _MISS, index, -1)


def _closest(depth: Tensor, near: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    depth = torch.where((depth > near) & (depth < _MISS), depth, _MISS)
    best, index = depth.min(dim=2)
    return best, index + part.start


@dataclass
class _Hit:
    """The surface point of each ray: local position and normal, kind of primitive, depth."""

    depth: Tensor
    position: _Vector
    normal: _Vector
    flat: Tensor


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Read (B, P, ...) at index (B, 2, H, W): (B, 2, H, W, ...)."""
    batch = torch.arange(values.shape[0], device=values.device).view(-1, 1, 1, 1)
    return values[batch, index]


def _hit(scene: Scene, rays: tuple[Tensor, ...], index: Tensor, near: Tensor) -> _Hit:
    """Solve the winning primitive of each ray again, exactly."""
    flat_rays = tuple(ray.squeeze(2)[:, :, None] for ray in rays)
    axes = _pick(scene.axes, index)[:, :, None]
    centre = _pick(scene.centre, index)[:, :, None]
    origin, towards = _local(axes, centre, flat_rays)
    near = near.view(-1, 1, 1, 1, 1)
    waves = _pick(scene.waves, index)[:, :, None]
    kind = index[:, :, None]
    is_patch = kind < layout.PATCHES.stop
    is_box = (kind >= layout.BOXES.start) & (kind < layout.BOXES.stop)
    is_cylinder = (kind >= layout.CYLINDERS.start) & (kind < layout.CYLINDERS.stop)
    is_ellipsoid = (kind >= layout.ELLIPSOIDS.start) & (kind < layout.ELLIPSOIDS.stop)
    depth = _room_depth(origin, towards)
    depth = torch.where(is_ellipsoid, _ellipsoid_depth(origin, towards, near), depth)
    depth = torch.where(is_cylinder, _cylinder_depth(origin, towards, near), depth)
    depth = torch.where(is_box, _box_depth(origin, towards, near), depth)
    patch = _patch_depth(waves, origin, towards, steps=_EXACT_STEPS)
    depth = torch.where(is_patch, patch, depth)
    position = _at(origin, towards, depth)
    normal = _normal(position, waves, is_patch, is_box | (kind >= layout.ROOM.start), is_cylinder)
    return _Hit(
        depth=depth.squeeze(2),
        position=_squeeze(position),
        normal=_squeeze(normal),
        flat=is_patch.squeeze(2),
    )


def _squeeze(vector: _Vector) -> _Vector:
    return vector[0].squeeze(2), vector[1].squeeze(2), vector[2].squeeze(2)


def _normal(
    position: _Vector, waves: Tensor, is_patch: Tensor, is_box: Tensor, is_cylinder: Tensor
) -> _Vector:
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


def _depth(scene: Scene, rays: tuple[Tensor, ...], nearest: Tensor, near: Tensor) -> Tensor:
    depth = _hit(scene, rays, nearest.clamp(min=0), near).depth
    return torch.where(nearest >= 0, depth, _MISS)


def _surface_uv(hit: _Hit, extent: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Texture coordinates in texels: the plane that the normal points out of, in baselines."""
    x, y, z = (p * extent[..., i] for i, p in enumerate(hit.position))
    nx, ny, nz = (n.abs() for n in hit.normal)
    across_x = ~hit.flat & (nx >= ny) & (nx >= nz)
    across_y = ~hit.flat & ~across_x & (ny >= nz)
    u, v = torch.where(across_x, y, x), torch.where(across_x | across_y, z, y)
    density, rotation, du, dv = uv.unbind(-1)
    cos, sin = rotation.cos(), rotation.sin()
    return (cos * u - sin * v) * density + du, (sin * u + cos * v) * density + dv


def _shade(
    scene: Scene, atlas: Atlas, rays: tuple[Tensor, ...], nearest: Tensor, near: Tensor
) -> tuple[Tensor, Tensor]:
    """Return colour (B, 2, 3, H, W) and depth (B, 2, H, W) of what each ray meets."""
    index = nearest.clamp(min=0)
    hit = _hit(scene, rays, index, near)
    ray_x, ray_y = (ray.squeeze(2) for ray in rays)
    normal, facing = _world_normal(scene, index, hit, ray_x, ray_y)
    uv, paint = _pick(scene.uv, index), _pick(scene.paint, index)
    texture, gloss = _pick(scene.texture, index), _pick(scene.gloss, index)
    u, v = _surface_uv(hit, _pick(scene.extent, index), uv)
    focal = scene.focal_px.view(-1, 1, 1, 1)
    # Texels under one pixel: between the short and the long side of the slanted footprint.
    footprint = hit.depth / focal * uv[..., 0] / facing.clamp(min=0.06).sqrt()
    lod = footprint.clamp(min=1e-6).log2()
    colour = atlas.sample(texture[..., 0], u, v, lod)
    mirror_u, mirror_v = _mirrored(normal, ray_x, ray_y, atlas.size)
    mirrored = gloss[..., 1] > 0
    detail = atlas.sample(
        texture[..., 1],
        torch.where(mirrored, mirror_u, u * 0.17),
        torch.where(mirrored, mirror_v, v * 0.17),
        torch.where(mirrored, torch.full_like(lod, 1.0), lod - 2.5),
    )
    base, contrast, detail_contrast = paint[..., :3], paint[..., 3], paint[..., 4]
    albedo = base.movedim(-1, 0) + contrast * (colour - 0.45)
    share = torch.where(mirrored, gloss[..., 1], torch.zeros_like(lod))
    albedo = albedo * (1 + torch.where(mirrored, 0.0, detail_contrast) * (detail - 0.45))
    albedo = albedo * (1 - share) + detail * share
    lit = albedo * _lighting(scene, normal, hit.depth, ray_x, ray_y)
    lit = lit + _highlight(scene, normal, ray_x, ray_y) * gloss[..., 0]
    missed = nearest < 0
    lit = torch.where(missed, _sky(scene, atlas, ray_x, ray_y), lit)
    depth = torch.where(missed, _MISS, hit.depth)
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
    scene: Scene, index: Tensor, hit: _Hit, ray_x: Tensor, ray_y: Tensor
) -> tuple[_Vector, Tensor]:
    """Return the unit normal towards the eye and the cosine between it and the ray."""
    axes = _pick(scene.axes, index)
    nx, ny, nz = hit.normal
    x, y, z = (axes[..., 0, j] * nx + axes[..., 1, j] * ny + axes[..., 2, j] * nz for j in range(3))
    length = (x * x + y * y + z * z).sqrt().clamp(min=1e-12)
    along = (x * ray_x + y * ray_y + z) / length
    sign = torch.where(along > 0, -1.0, 1.0) / length
    cosine = along.abs() / (ray_x * ray_x + ray_y * ray_y + 1).sqrt()
    return (x * sign, y * sign, z * sign), cosine


def _per_scene(values: Tensor, column: int) -> Tensor:
    return values[:, column].view(-1, 1, 1, 1)


def _lighting(scene: Scene, normal: _Vector, depth: Tensor, ray_x: Tensor, ray_y: Tensor) -> Tensor:
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


def _reflected(normal: _Vector, ray_x: Tensor, ray_y: Tensor) -> _Vector:
    length = (ray_x * ray_x + ray_y * ray_y + 1).sqrt()
    x, y, z = ray_x / length, ray_y / length, 1 / length
    along = 2 * (x * normal[0] + y * normal[1] + z * normal[2])
    return x - along * normal[0], y - along * normal[1], z - along * normal[2]


def _highlight(scene: Scene, normal: _Vector, ray_x: Tensor, ray_y: Tensor) -> Tensor:
    """Phong highlight: the mirror direction against the light, seen by each eye on its own."""
    mirror = _reflected(normal, ray_x, ray_y)
    lx, ly, lz = (_per_scene(scene.light, i) for i in range(3))
    return (mirror[0] * lx + mirror[1] * ly + mirror[2] * lz).clamp(min=0) ** 24


def _mirrored(normal: _Vector, ray_x: Tensor, ray_y: Tensor, size: int) -> tuple[Tensor, Tensor]:
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


def _visible(left: Tensor, right: Tensor) -> Tensor:
    """True where the right eye, looking at a left pixel's point, has the same disparity there."""
    width = left.shape[-1]
    column = torch.arange(width, device=left.device) - left
    nearby = right.gather(3, column.round().to(torch.int64).clamp(0, width - 1))
    # Half a pixel of rounding on a slanted surface changes disparity by less than this.
    return (column >= 0) & (column <= width - 1) & ((nearby - left).abs() < 1.0)
