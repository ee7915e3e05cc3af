"""Where the primitives of a scene stand, how large they are and how they are turned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.scene import (
    BOXES,
    BUILDINGS,
    CLUTTER,
    COUNT,
    CYLINDERS,
    ELLIPSOIDS,
    FRONTAL,
    GROUND,
    INDOOR,
    LAYERS,
    OUT_OF_SIGHT,
    PATCHES,
    ROOM,
    SIDE_WALLS,
    STACKED,
    STACKS,
    STREET,
    WALL,
    Frame,
    Scene,
)

__all__ = [
    "Poses",
    "place_planes",
    "place_room",
    "place_street",
    "rotations",
    "scatter",
    "stack_patches",
    "thin_out",
]


@dataclass
class Poses:
    """Where the primitives of a batch of scenes are; the parts of the layout change it in turn.

    Attributes:
        depth: (B, P) in baselines, of what the eyes see of each: it scales materials.
        centre: (B, P, 3) in baselines.
        extent: (B, P, 3) half sizes in baselines.
        angles: (B, P, 3) yaw, pitch and roll in radians.
    """

    depth: Tensor
    centre: Tensor
    extent: Tensor
    angles: Tensor

    def place(self, index: int, where: Tensor, **values: Tensor) -> None:
        """Set attributes of one primitive, in some of the scenes.

        Args:
            index: of the primitive.
            where: (B,) bool, the scenes.
            values: by attribute: (B,) of the depth, (B, 3) or (3,) of the others.
        """
        for name, value in values.items():
            target = getattr(self, name)
            shape = (-1,) + (1,) * (target.ndim - 2)
            target[:, index] = torch.where(where.view(shape), value, target[:, index])


def scatter(draw: Draw, frame: Frame) -> Poses:
    """Put all primitives anywhere in the picture, of any size and turn.

    Args:
        draw: where random numbers come from.
        frame: what the parts of the layout share.
    """
    depth = frame.column(frame.focal) / _object_disparities(draw, frame)
    return Poses(
        depth=depth,
        centre=_free_centres(draw, frame, depth),
        extent=_object_extents(draw, frame, depth),
        angles=_object_angles(draw, frame),
    )


def _object_disparities(draw: Draw, frame: Frame) -> Tensor:
    """Spread objects between wall and nearest point: evenly in disparity or in its logarithm."""
    batch = frame.mode.shape[0]
    low, high = frame.column(frame.farthest_px), frame.column(frame.nearest_px)
    share = draw.uniform(batch, COUNT)
    linear = low + (high - low) * share
    logarithmic = low * (high / low) ** share
    return torch.where(draw.chance(batch, 1, p=0.5), linear, logarithmic).clamp(min=1.0)


def _free_centres(draw: Draw, frame: Frame, depth: Tensor) -> Tensor:
    """Scatter centres over the picture and a little beyond it."""
    batch = frame.mode.shape[0]
    column = frame.width * draw.uniform(batch, COUNT, low=-0.1, high=1.25)
    row = frame.height * draw.uniform(batch, COUNT, low=-0.1, high=1.1)
    per_px = depth / frame.column(frame.focal)
    x = (column - frame.principal[:, :1]) * per_px
    y = (row - frame.principal[:, 1:]) * per_px
    return torch.stack([x, y, depth], -1)


def _object_extents(draw: Draw, frame: Frame, depth: Tensor) -> Tensor:
    """Half sizes, from specks to half the picture; many cylinders are thin poles or wires."""
    batch = frame.mode.shape[0]
    # Some scenes have larger things than others; with few of them, surfaces cross the borders.
    scale = draw.log_uniform(batch, 1, low=0.6, high=3.5)
    size_px = scale * draw.log_uniform(batch, COUNT, low=5.0, high=0.3 * frame.width)
    aspect = draw.log_uniform(batch, COUNT, 3, low=0.45, high=1.6)
    extent_px = size_px[..., None] * aspect
    poles = slice(CYLINDERS.start, (CYLINDERS.start + CYLINDERS.stop) // 2 + 1)
    count = poles.stop - poles.start
    extent_px[:, poles, :2] = draw.log_uniform(batch, count, 1, low=0.8, high=6.0)
    extent_px[:, poles, 2] = draw.log_uniform(batch, count, low=30.0, high=frame.width)
    # Relief is in units of a patch's local z: tie it to the shorter side to bound the slope.
    extent_px[:, PATCHES, 2] = extent_px[:, PATCHES, :2].amin(dim=-1)
    return extent_px * (depth / frame.column(frame.focal))[..., None]


def _object_angles(draw: Draw, frame: Frame) -> Tensor:
    """Free in clutter, upright in rooms and streets."""
    batch = frame.mode.shape[0]
    spread = draw.constant(0.65, 0.35, 0.3, 0.3)[frame.mode]
    tilt = draw.normal(batch, COUNT, 2) * spread[:, None, None]
    tilt[:, BOXES] = draw.uniform(batch, BOXES.stop - BOXES.start, 2, low=-math.pi, high=math.pi)
    roll = draw.uniform(batch, COUNT, low=-math.pi, high=math.pi)
    upright = (frame.is_mode(INDOOR) | frame.is_mode(STREET))[:, None]
    roll = torch.where(upright & draw.chance(batch, COUNT, p=0.7), roll * 0.03, roll)
    tilt[..., 1] = torch.where(
        upright & draw.chance(batch, COUNT, p=0.7), tilt[..., 1] * 0.05, tilt[..., 1]
    )
    angles = torch.cat([tilt, roll[..., None]], -1)
    angles = angles.clamp(-math.pi, math.pi)
    angles[:, PATCHES, :2] = angles[:, PATCHES, :2].clamp(-1.25, 1.25)
    # A cylinder's axis is its local z: tip it into the picture plane.
    angles[:, CYLINDERS, 1] += math.pi / 2
    return angles


def place_planes(draw: Draw, frame: Frame, poses: Poses) -> None:
    """Put the far wall, the supporting plane and, sometimes, receding side walls.

    Args:
        draw: where random numbers come from.
        frame: what the parts of the layout share.
        poses: of all primitives; those of these ones are changed.
    """
    batch = frame.mode.shape[0]
    closed = frame.is_mode(CLUTTER) | frame.is_mode(FRONTAL)
    far = frame.focal / frame.farthest_px.clamp(min=1.0)
    reach = far * frame.width / frame.focal
    zero, huge = torch.zeros_like(far), reach * 2.5
    slant = draw.normal(batch, 2) * torch.where(frame.is_mode(FRONTAL), 0.12, 0.3)[:, None]
    poses.place(
        WALL,
        closed,
        depth=far,
        centre=torch.stack([zero, zero, far], -1),
        extent=torch.stack([huge, huge, huge], -1),
        angles=torch.cat([slant.clamp(-0.8, 0.8), zero[:, None]], -1),
    )

    # Some clutter floats before the sky alone: a photo at infinity, as behind a window. Weights
    # that saw too little of it put it among the objects: 40 px off in two SceneFlow pairs.
    open_air = closed & draw.chance(batch, p=0.22)
    poses.place(WALL, open_air, centre=draw.constant(*OUT_OF_SIGHT))

    supported = (closed & draw.chance(batch, p=0.45)) | frame.is_mode(STREET)
    drop = (frame.height - frame.principal[:, 1]) / frame.nearest_px
    lean = draw.normal(batch, 2, std=0.04)
    flat = torch.stack([lean[:, 0] * 0, math.pi / 2 + lean[:, 0], lean[:, 1]], -1)
    wide = drop * 400 + reach
    poses.place(
        GROUND,
        supported,
        depth=frame.focal / (frame.nearest_px * 0.5),
        centre=torch.stack([zero, drop, far * 0.5], -1),
        extent=torch.stack([wide, wide, drop * 0.1], -1),
        angles=flat,
    )

    for index, side in zip(range(SIDE_WALLS.start, SIDE_WALLS.stop), (-1.0, 1.0), strict=True):
        walled = draw.chance(batch, p=0.22) & (closed | frame.is_mode(STREET))
        gap = drop * draw.uniform(batch, low=1.0, high=5.0)
        turn = math.pi / 2 + draw.normal(batch, std=0.12)
        tall = drop * draw.log_uniform(batch, low=0.5, high=30.0)
        poses.place(
            index,
            walled,
            depth=frame.focal / (frame.nearest_px * 0.4),
            centre=torch.stack([gap * side + 0.5, zero, far * 0.5], -1),
            extent=torch.stack([far * 3, tall, drop * 0.1], -1),
            angles=torch.stack([turn, zero, zero], -1),
        )


def place_room(draw: Draw, frame: Frame, poses: Poses) -> None:
    """Enclose both eyes in a slightly turned box; in other scenes put the room out of sight.

    Args:
        draw: where random numbers come from.
        frame: what the parts of the layout share.
        poses: of all primitives; those of these ones are changed.
    """
    batch = frame.mode.shape[0]
    far = frame.focal / frame.farthest_px.clamp(min=1.0)
    half_width = (far * frame.width / frame.focal * draw.uniform(batch, low=0.25, high=0.8)).clamp(
        min=4.0
    )
    floor = frame.height / frame.nearest_px * draw.uniform(batch, low=0.7, high=1.6)
    half_height = torch.maximum(floor, torch.full_like(floor, 2.5))
    reach = torch.stack([half_width, half_height, far], -1)
    shift = draw.uniform(batch, 3, low=-0.35, high=0.35) * reach * draw.constant(1.0, 0.6, 0.2)
    turn = draw.normal(batch, 3) * draw.constant(0.25, 0.12, 0.03)
    inside = frame.is_mode(INDOOR)
    index = ROOM.start
    away = draw.constant(*OUT_OF_SIGHT).expand(batch, 3)
    poses.depth[:, index] = far * 0.7
    poses.centre[:, index] = torch.where(inside[:, None], shift, away)
    poses.extent[:, index] = reach
    poses.angles[:, index] = turn.clamp(-0.5, 0.5)


def place_street(draw: Draw, frame: Frame, poses: Poses) -> None:
    """Stand buildings, cars, poles and bushes on the ground of street scenes.

    Args:
        draw: where random numbers come from.
        frame: what the parts of the layout share.
        poses: of all primitives; those of these ones are changed.
    """
    batch = frame.mode.shape[0]
    street = frame.is_mode(STREET)
    drop = (frame.height - frame.principal[:, 1]) / frame.nearest_px
    road = drop * draw.uniform(batch, low=1.2, high=5.0)
    for index in range(BOXES.start, ELLIPSOIDS.stop):
        building = BUILDINGS.start <= index < BUILDINGS.stop
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
        order = [across, along, tall] if pole else [across, tall, along]
        yaw = draw.normal(batch, std=0.15)
        tip = torch.full_like(yaw, math.pi / 2 if pole else 0.0)
        poses.place(
            index,
            street,
            depth=z,
            centre=torch.stack([x, drop - tall, z], -1),
            extent=torch.stack(order, -1),
            angles=torch.stack([yaw, tip, yaw * 0], -1),
        )


def thin_out(draw: Draw, poses: Poses) -> None:
    """Put a share of the objects out of sight, so that scenes are crowded or nearly empty.

    Args:
        draw: where random numbers come from.
        poses: of all primitives; the centres of these ones are changed.
    """
    batch = poses.centre.shape[0]
    hidden = draw.uniform(batch, COUNT) > draw.log_uniform(batch, 1, low=0.08, high=1.5)
    hidden[:, : SIDE_WALLS.stop] = False
    hidden[:, ROOM] = False
    away = draw.constant(*OUT_OF_SIGHT)
    poses.centre = torch.where(hidden[..., None], away, poses.centre)


def stack_patches(draw: Draw, scene: Scene) -> None:
    """Lay some patches in fours closely behind each other.

    Of one outline and one material they are an extruded shape, cut in slices; of several they are
    leaves over leaves, with small steps in depth everywhere.

    Args:
        draw: where random numbers come from.
        scene: a batch of scenes.
    """
    batch = scene.centre.shape[0]
    stacked = draw.chance(batch, STACKS, 1, p=0.3)
    alike = stacked & draw.chance(batch, STACKS, 1, p=0.5)
    share = draw.log_uniform(batch, STACKS, 1, low=0.03, high=0.3)
    for where, names in (
        (stacked, ("axes", "centre", "extent", "waves")),
        (alike, ("outline", "texture", "uv", "paint", "gloss")),
    ):
        for name in names:
            values = getattr(scene, name)
            layers = values[:, STACKED].unflatten(1, (STACKS, LAYERS))
            mask = where.reshape(*where.shape, *(1,) * (layers.ndim - 3))
            values[:, STACKED] = torch.where(mask, layers[:, :, :1], layers).flatten(1, 2)
    depth = torch.arange(LAYERS, device=draw.device) * share * stacked
    # The third row of the axes is the unit normal over the third half size.
    along = scene.axes[:, STACKED, 2] * scene.extent[:, STACKED, 2:] ** 2
    scene.centre[:, STACKED] += along * depth.flatten(1)[..., None]


def rotations(angles: Tensor) -> Tensor:
    """Return (B, P, 3, 3) matrices whose columns are the local axes in the world.

    Args:
        angles: (B, P, 3) yaw, pitch and roll in radians.
    """
    (cy, cp, cr), (sy, sp, sr) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1)
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1)
    roll = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1)
    shape = (*cy.shape, 3, 3)
    return yaw.view(shape) @ pitch.view(shape) @ roll.view(shape)
