"""Where things stand: a batch of random scenes as tables of primitives.

Lengths are in baselines, so the right eye is at (1, 0, 0) and disparity = focal_px / depth. Axes
are the camera's: x right, y down, z forward. Four kinds of scene are mixed: free clutter before a
wall, the inside of a room, a street with ground and sky, frontal cards and reliefs as on a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.textures import Atlas

__all__ = ["BOXES", "CYLINDERS", "ELLIPSOIDS", "PATCHES", "ROOM", "Scene", "sample_scenes"]

PATCHES = slice(0, 24)
BOXES = slice(24, 34)
CYLINDERS = slice(34, 42)
ELLIPSOIDS = slice(42, 50)
ROOM = slice(50, 51)
_COUNT = 51
_WALL, _GROUND, _SIDE_WALLS = 0, 1, slice(2, 4)
_BUILDINGS = slice(24, 29)
_STACKED = slice(12, 24)
_STACKS, _LAYERS = 3, 4
_CLUTTER, _INDOOR, _STREET, _FRONTAL = range(4)
_SHARES = [0.34, 0.18, 0.22, 0.26]


@dataclass
class Scene:
    """A batch of B scenes with P primitives each.

    Attributes:
        focal_px: (B,) focal length in pixels.
        principal: (B, 2) principal point (x, y) in pixels.
        misalignment: (B, 2) vertical offset of the right eye in pixels: constant, per image width.
        axes: (B, P, 3, 3) rows map world directions to unit local coordinates.
        centre: (B, P, 3) position in baselines.
        extent: (B, P, 3) half sizes in baselines.
        outline: (B, P) outline number of patches.
        waves: (B, P, 2, 4) relief of patches: amplitude, two wave numbers, phase in local units.
        texture: (B, P, 2) texture numbers of colour and of detail.
        uv: (B, P, 4) texels per baseline, rotation (rad), offset of column and row in texels.
        paint: (B, P, 5) base colour RGB, texture contrast, detail contrast.
        gloss: (B, P, 2) strength of the highlight, share of mirror reflection.
        light: (B, 4) unit vector towards the light, ambient share.
        shadow: (B, 10) three wave vectors (9) of the shadow pattern, depth of the shadows.
        sky: (B, 6) texture number, texels per pixel, RGB offset, contrast.
        pane: (B, 8) what is seen in a sheet of glass before the scene: depth in baselines,
            opacity, window (left, top, right, bottom) in baselines, texture number, texels per
            baseline. The disparity stays that of what is behind it.
    """

    focal_px: Tensor
    principal: Tensor
    misalignment: Tensor
    axes: Tensor
    centre: Tensor
    extent: Tensor
    outline: Tensor
    waves: Tensor
    texture: Tensor
    uv: Tensor
    paint: Tensor
    gloss: Tensor
    light: Tensor
    shadow: Tensor
    sky: Tensor
    pane: Tensor

    def tensors(self) -> list[Tensor]:
        """Return the fields in order."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass
class _Frame:
    """What the parts of a layout share: mode, camera and disparity range of each scene."""

    mode: Tensor
    focal: Tensor
    principal: Tensor
    nearest_px: Tensor
    farthest_px: Tensor
    height: int
    width: int

    def column(self, values: Tensor) -> Tensor:
        return values[:, None].expand(-1, _COUNT)

    def is_mode(self, mode: int) -> Tensor:
        return self.mode == mode


def sample_scenes(
    draw: Draw, atlas: Atlas, *, batch: int, size: tuple[int, int], max_disparity_px: float
) -> Scene:
    """Draw `batch` scenes for pictures of `size` (height, width), disparities up to the bound."""
    frame = _sample_frame(draw, batch, size, max_disparity_px)
    disparity = _object_disparities(draw, frame)
    depth = frame.column(frame.focal) / disparity
    centre = _free_centres(draw, frame, depth)
    extent = _object_extents(draw, frame, depth)
    angles = _object_angles(draw, frame)
    _place_planes(draw, frame, centre, extent, angles, depth)
    _place_room(draw, frame, centre, extent, angles, depth)
    _place_street(draw, frame, centre, extent, angles, depth)
    _thin_out(draw, centre)
    rotation = _rotations(angles)
    axes = rotation.transpose(-1, -2) / extent[..., None]
    scene = Scene(
        focal_px=frame.focal,
        principal=frame.principal,
        misalignment=_misalignment(draw, batch),
        axes=axes,
        centre=centre,
        extent=extent,
        outline=_outlines(draw, atlas, batch),
        waves=_waves(draw, frame, angles),
        **_materials(draw, atlas, frame, depth),
        **_lights(draw, atlas, frame, depth),
        pane=_pane(draw, atlas, frame),
    )
    _stack_patches(draw, scene)
    return scene


def _sample_frame(draw: Draw, batch: int, size: tuple[int, int], bound_px: float) -> _Frame:
    height, width = size
    mode = draw.choice(_SHARES, batch)
    nearest = draw.log_uniform(batch, low=10.0, high=bound_px)
    # Streets and rooms end far away; cards and clutter stand before a wall at any distance.
    wall_share = draw.uniform(batch, low=0.04, high=0.7)
    distant = draw.chance(batch, p=0.3)
    wall_share = torch.where(distant, draw.log_uniform(batch, low=0.005, high=0.1), wall_share)
    far = torch.where((mode == _CLUTTER) | (mode == _FRONTAL), wall_share, wall_share * 0.35)
    return _Frame(
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


def _object_disparities(draw: Draw, frame: _Frame) -> Tensor:
    batch = frame.mode.shape[0]
    low, high = frame.column(frame.farthest_px), frame.column(frame.nearest_px)
    share = draw.uniform(batch, _COUNT)
    linear = low + (high - low) * share
    logarithmic = low * (high / low) ** share
    return torch.where(draw.chance(batch, 1, p=0.5), linear, logarithmic).clamp(min=1.0)


def _free_centres(draw: Draw, frame: _Frame, depth: Tensor) -> Tensor:
    batch = frame.mode.shape[0]
    column = frame.width * draw.uniform(batch, _COUNT, low=-0.1, high=1.25)
    row = frame.height * draw.uniform(batch, _COUNT, low=-0.1, high=1.1)
    per_px = depth / frame.column(frame.focal)
    x = (column - frame.principal[:, :1]) * per_px
    y = (row - frame.principal[:, 1:]) * per_px
    return torch.stack([x, y, depth], -1)


def _object_extents(draw: Draw, frame: _Frame, depth: Tensor) -> Tensor:
    """Half sizes, from specks to half the picture; many cylinders are thin poles or wires."""
    batch = frame.mode.shape[0]
    largest = 0.3 * frame.width
    size_px = draw.log_uniform(batch, _COUNT, low=5.0, high=largest)
    aspect = draw.log_uniform(batch, _COUNT, 3, low=0.45, high=1.6)
    extent_px = size_px[..., None] * aspect
    poles = slice(CYLINDERS.start, (CYLINDERS.start + CYLINDERS.stop) // 2 + 1)
    count = poles.stop - poles.start
    extent_px[:, poles, :2] = draw.log_uniform(batch, count, 1, low=0.8, high=6.0)
    extent_px[:, poles, 2] = draw.log_uniform(batch, count, low=30.0, high=frame.width)
    # Relief is in units of a patch's local z: tie it to the shorter side to bound the slope.
    extent_px[:, PATCHES, 2] = extent_px[:, PATCHES, :2].amin(dim=-1)
    return extent_px * (depth / frame.column(frame.focal))[..., None]


def _object_angles(draw: Draw, frame: _Frame) -> Tensor:
    """Yaw, pitch and roll in radians: free in clutter, upright in rooms and streets."""
    batch = frame.mode.shape[0]
    spread = torch.tensor([0.65, 0.35, 0.3, 0.3], device=draw.device)[frame.mode]
    tilt = draw.normal(batch, _COUNT, 2) * spread[:, None, None]
    tilt[:, BOXES] = draw.uniform(batch, BOXES.stop - BOXES.start, 2, low=-math.pi, high=math.pi)
    roll = draw.uniform(batch, _COUNT, low=-math.pi, high=math.pi)
    upright = (frame.is_mode(_INDOOR) | frame.is_mode(_STREET))[:, None]
    roll = torch.where(upright & draw.chance(batch, _COUNT, p=0.7), roll * 0.03, roll)
    tilt[..., 1] = torch.where(
        upright & draw.chance(batch, _COUNT, p=0.7), tilt[..., 1] * 0.05, tilt[..., 1]
    )
    angles = torch.cat([tilt, roll[..., None]], -1)
    angles = angles.clamp(-math.pi, math.pi)
    angles[:, PATCHES, :2] = angles[:, PATCHES, :2].clamp(-1.25, 1.25)
    # A cylinder's axis is its local z: tip it into the picture plane.
    angles[:, CYLINDERS, 1] += math.pi / 2
    return angles


def _set(target: Tensor, where: Tensor, index: int, value: Tensor) -> None:
    """Write `value` into primitive `index` of the scenes where `where` is true."""
    shape = (-1,) + (1,) * (target.ndim - 2)
    target[:, index] = torch.where(where.view(shape), value, target[:, index])


def _place_planes(
    draw: Draw, frame: _Frame, centre: Tensor, extent: Tensor, angles: Tensor, depth: Tensor
) -> None:
    """Put the far wall, the supporting plane and, sometimes, receding side walls."""
    batch = frame.mode.shape[0]
    closed = frame.is_mode(_CLUTTER) | frame.is_mode(_FRONTAL)
    far = frame.focal / frame.farthest_px.clamp(min=1.0)
    reach = far * frame.width / frame.focal
    zero, huge = torch.zeros_like(far), reach * 2.5
    slant = draw.normal(batch, 2) * torch.where(frame.is_mode(_FRONTAL), 0.12, 0.3)[:, None]
    _set(depth, closed, _WALL, far)
    _set(centre, closed, _WALL, torch.stack([zero, zero, far], -1))
    _set(extent, closed, _WALL, torch.stack([huge, huge, huge], -1))
    _set(angles, closed, _WALL, torch.cat([slant.clamp(-0.8, 0.8), zero[:, None]], -1))

    # Some clutter floats before the sky alone: a photo at infinity, as behind a window. Weights
    # that saw too little of it put it among the objects: 40 px off in two SceneFlow pairs.
    open_air = closed & draw.chance(batch, p=0.22)
    _set(centre, open_air, _WALL, torch.stack([zero, zero, zero - 1e5], -1))

    supported = (closed & draw.chance(batch, p=0.45)) | frame.is_mode(_STREET)
    drop = (frame.height - frame.principal[:, 1]) / frame.nearest_px
    lean = draw.normal(batch, 2, std=0.04)
    flat = torch.stack([lean[:, 0] * 0, math.pi / 2 + lean[:, 0], lean[:, 1]], -1)
    _set(depth, supported, _GROUND, frame.focal / (frame.nearest_px * 0.5))
    _set(centre, supported, _GROUND, torch.stack([zero, drop, far * 0.5], -1))
    wide = drop * 400 + reach
    _set(extent, supported, _GROUND, torch.stack([wide, wide, drop * 0.1], -1))
    _set(angles, supported, _GROUND, flat)

    for index, side in zip(range(_SIDE_WALLS.start, _SIDE_WALLS.stop), (-1.0, 1.0), strict=True):
        walled = draw.chance(batch, p=0.22) & (closed | frame.is_mode(_STREET))
        gap = drop * draw.uniform(batch, low=1.0, high=5.0)
        turn = math.pi / 2 + draw.normal(batch, std=0.12)
        _set(depth, walled, index, frame.focal / (frame.nearest_px * 0.4))
        _set(centre, walled, index, torch.stack([gap * side + 0.5, zero, far * 0.5], -1))
        tall = drop * draw.log_uniform(batch, low=0.5, high=30.0)
        _set(extent, walled, index, torch.stack([far * 3, tall, drop * 0.1], -1))
        _set(angles, walled, index, torch.stack([turn, zero, zero], -1))


def _place_room(
    draw: Draw, frame: _Frame, centre: Tensor, extent: Tensor, angles: Tensor, depth: Tensor
) -> None:
    """Enclose both eyes in a slightly turned box; in other scenes put the room out of sight."""
    batch = frame.mode.shape[0]
    far = frame.focal / frame.farthest_px.clamp(min=1.0)
    half_width = (far * frame.width / frame.focal * draw.uniform(batch, low=0.25, high=0.8)).clamp(
        min=4.0
    )
    floor = frame.height / frame.nearest_px * draw.uniform(batch, low=0.7, high=1.6)
    half_height = torch.maximum(floor, torch.full_like(floor, 2.5))
    reach = torch.stack([half_width, half_height, far], -1)
    shift = (
        draw.uniform(batch, 3, low=-0.35, high=0.35)
        * reach
        * torch.tensor([1.0, 0.6, 0.2], device=draw.device)
    )
    turn = draw.normal(batch, 3) * torch.tensor([0.25, 0.12, 0.03], device=draw.device)
    inside = frame.is_mode(_INDOOR)
    index = ROOM.start
    away = torch.tensor([0.0, 0.0, -1e5], device=draw.device).expand(batch, 3)
    depth[:, index] = far * 0.7
    centre[:, index] = torch.where(inside[:, None], shift, away)
    extent[:, index] = reach
    angles[:, index] = turn.clamp(-0.5, 0.5)


def _place_street(
    draw: Draw, frame: _Frame, centre: Tensor, extent: Tensor, angles: Tensor, depth: Tensor
) -> None:
    """Stand buildings, cars, poles and bushes on the ground of street scenes."""
    batch = frame.mode.shape[0]
    street = frame.is_mode(_STREET)
    drop = (frame.height - frame.principal[:, 1]) / frame.nearest_px
    road = drop * draw.uniform(batch, low=1.2, high=5.0)
    for index in range(BOXES.start, ELLIPSOIDS.stop):
        building = _BUILDINGS.start <= index < _BUILDINGS.stop
        pole = CYLINDERS.start <= index < CYLINDERS.stop
        low, high = (1.5, 9.0) if building else (0.8, 2.5) if pole else (0.15, 0.9)
        tall = drop * draw.log_uniform(batch, low=low, high=high)
        across = (
            drop * draw.log_uniform(batch, low=0.02, high=0.09)
            if pole
            else (tall * draw.log_uniform(batch, low=0.5, high=2.5))
        )
        along = across if pole else tall * draw.log_uniform(batch, low=0.5, high=4.0)
        z = drop * draw.log_uniform(batch, low=3.0, high=45.0)
        side = draw.uniform(batch, low=-1.0, high=1.0)
        beside = side.sign() * (road * (1 + 0.7 * side.abs()) + across)
        x = beside if building or pole else side * road * 1.6
        depth_now = torch.where(street, z, depth[:, index])
        depth[:, index] = depth_now
        _set(centre, street, index, torch.stack([x, drop - tall, z], -1))
        order = [across, along, tall] if pole else [across, tall, along]
        _set(extent, street, index, torch.stack(order, -1))
        yaw = draw.normal(batch, std=0.15)
        tip = torch.full_like(yaw, math.pi / 2 if pole else 0.0)
        _set(angles, street, index, torch.stack([yaw, tip, yaw * 0], -1))


def _thin_out(draw: Draw, centre: Tensor) -> None:
    """Put a share of the objects out of sight, so that scenes are crowded or nearly empty."""
    batch = centre.shape[0]
    hidden = draw.uniform(batch, _COUNT) > draw.uniform(batch, 1, low=0.2, high=1.2)
    hidden[:, : _SIDE_WALLS.stop] = False
    hidden[:, ROOM] = False
    away = torch.tensor([0.0, 0.0, -1e5], device=draw.device)
    centre.copy_(torch.where(hidden[..., None], away, centre))


def _rotations(angles: Tensor) -> Tensor:
    """Return (B, P, 3, 3) matrices whose columns are the local axes in the world."""
    (cy, cp, cr), (sy, sp, sr) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1)
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1)
    roll = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1)
    shape = (*cy.shape, 3, 3)
    return yaw.view(shape) @ pitch.view(shape) @ roll.view(shape)


def _misalignment(draw: Draw, batch: int) -> Tensor:
    """A third of the rigs are rectified imperfectly: up to about half a pixel."""
    offset = draw.normal(batch, 2, std=0.25).clamp(-0.6, 0.6)
    return offset * draw.chance(batch, 1, p=0.35)


def _outlines(draw: Draw, atlas: Atlas, batch: int) -> Tensor:
    outline = draw.integers(batch, _COUNT, high=atlas.outlines.shape[0])
    outline[:, : _SIDE_WALLS.stop] = 0
    return outline


def _waves(draw: Draw, frame: _Frame, angles: Tensor) -> Tensor:
    """Relief whose slope times the tilt's tangent stays below one, so that it can be solved."""
    batch = frame.mode.shape[0]
    wave_number = draw.normal(batch, _COUNT, 2, 2, std=3.0).clamp(-8, 8)
    # A picture sees a fifth of the far wall: folds as of cloth need shorter waves than objects do.
    wave_number[:, _WALL] *= draw.log_uniform(batch, 1, 1, low=2.0, high=12.0)
    slope = draw.uniform(batch, _COUNT, 2, low=0.0, high=0.22)
    tilt = angles[..., :2].abs().sum(-1)
    curved = draw.chance(batch, _COUNT, p=0.5) & (tilt < 0.7)
    curved[:, _GROUND : _SIDE_WALLS.stop] = False
    amplitude = slope / wave_number.norm(dim=-1).clamp(min=0.5) * curved[..., None]
    phase = draw.uniform(batch, _COUNT, 2, high=2 * math.pi)
    return torch.cat([amplitude[..., None], wave_number, phase[..., None]], -1)


def _stack_patches(draw: Draw, scene: Scene) -> None:
    """Lay some patches in fours closely behind each other.

    Of one outline and one material they are an extruded shape, cut in slices; of several they are
    leaves over leaves, with small steps in depth everywhere.
    """
    batch = scene.centre.shape[0]
    stacked = draw.chance(batch, _STACKS, 1, p=0.3)
    alike = stacked & draw.chance(batch, _STACKS, 1, p=0.5)
    share = draw.log_uniform(batch, _STACKS, 1, low=0.03, high=0.3)
    for where, names in (
        (stacked, ("axes", "centre", "extent", "waves")),
        (alike, ("outline", "texture", "uv", "paint", "gloss")),
    ):
        for name in names:
            values = getattr(scene, name)
            layers = values[:, _STACKED].unflatten(1, (_STACKS, _LAYERS))
            mask = where.reshape(*where.shape, *(1,) * (layers.ndim - 3))
            values[:, _STACKED] = torch.where(mask, layers[:, :, :1], layers).flatten(1, 2)
    depth = torch.arange(_LAYERS, device=draw.device) * share * stacked
    # The third row of the axes is the unit normal over the third half size.
    along = scene.axes[:, _STACKED, 2] * scene.extent[:, _STACKED, 2:] ** 2
    scene.centre[:, _STACKED] += along * depth.flatten(1)[..., None]


def _pane(draw: Draw, atlas: Atlas, frame: _Frame) -> Tensor:
    """Hang a window, a shop front or a dirty screen before one scene in ten."""
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


def _materials(draw: Draw, atlas: Atlas, frame: _Frame, depth: Tensor) -> dict[str, Tensor]:
    batch = frame.mode.shape[0]
    photo = draw.chance(batch, _COUNT, 2, p=0.78 if atlas.photos else 0.0)
    of_photos = draw.integers(batch, _COUNT, 2, high=max(atlas.photos, 1))
    made = atlas.photos + draw.integers(batch, _COUNT, 2, high=atlas.count - atlas.photos)
    per_pixel = draw.log_uniform(batch, _COUNT, low=0.35, high=2.8)
    density = per_pixel * frame.column(frame.focal) / depth
    rotation = draw.uniform(batch, _COUNT, high=2 * math.pi) * draw.chance(batch, _COUNT, p=0.6)
    offset = draw.uniform(batch, _COUNT, 2, high=float(atlas.size))
    plain = draw.chance(batch, _COUNT, p=0.13)
    contrast = torch.where(
        plain,
        draw.uniform(batch, _COUNT, high=0.08),
        draw.uniform(batch, _COUNT, low=0.35, high=1.25),
    )
    base = draw.uniform(batch, _COUNT, 1, low=0.12, high=0.75) + draw.normal(
        batch, _COUNT, 3, std=0.06
    )
    detail = draw.uniform(batch, _COUNT, high=0.9) * ~plain
    gloss = draw.uniform(batch, _COUNT, 2) * draw.chance(batch, _COUNT, 2, p=0.12)
    return {
        "texture": torch.where(photo, of_photos, made),
        "uv": torch.cat([density[..., None], rotation[..., None], offset], -1),
        "paint": torch.cat([base, contrast[..., None], detail[..., None]], -1),
        "gloss": gloss * torch.tensor([0.6, 0.45], device=draw.device),
    }


def _lights(draw: Draw, atlas: Atlas, frame: _Frame, depth: Tensor) -> dict[str, Tensor]:
    batch = frame.mode.shape[0]
    toward = draw.normal(batch, 3) + torch.tensor([0.0, -1.0, -1.0], device=draw.device)
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
