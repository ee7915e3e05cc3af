"""A batch of scenes as tables of primitives, and what the parts of a layout share.

Lengths are in baselines, so the right eye is at (1, 0, 0) and disparity = focal_px / depth. Axes
are the camera's: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

__all__ = [
    "BOXES",
    "BUILDINGS",
    "CLUTTER",
    "COUNT",
    "CYLINDERS",
    "ELLIPSOIDS",
    "FRONTAL",
    "GROUND",
    "INDOOR",
    "LAYERS",
    "OUT_OF_SIGHT",
    "PATCHES",
    "ROOM",
    "SIDE_WALLS",
    "STACKED",
    "STACKS",
    "STREET",
    "WALL",
    "Frame",
    "Scene",
]

# Rows of the tables.
PATCHES = slice(0, 24)
BOXES = slice(24, 34)
CYLINDERS = slice(34, 42)
ELLIPSOIDS = slice(42, 50)
ROOM = slice(50, 51)
COUNT = 51
# Rows with a part to play in some scenes.
WALL, GROUND, SIDE_WALLS = 0, 1, slice(2, 4)
STACKED = slice(12, 24)
STACKS, LAYERS = 3, 4
BUILDINGS = slice(24, 29)
# Kinds of scene.
CLUTTER, INDOOR, STREET, FRONTAL = range(4)
# Where primitives go that a scene does not have: behind the eyes.
OUT_OF_SIGHT = (0.0, 0.0, -1e5)


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
        paint: (B, P, 7) base colour RGB; contrast of the texture and of the detail; share of the
            texture's colourfulness that is left; the detail's texels per texel of the texture.
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
class Frame:
    """What the parts of a layout share: mode, camera and disparity range of each scene.

    Attributes:
        mode: (B,) int64 kind of scene.
        focal: (B,) focal length in pixels.
        principal: (B, 2) principal point (x, y) in pixels.
        nearest_px: (B,) disparity that the nearest things are placed at; parts may be nearer.
        farthest_px: (B,) disparity of the far wall.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
    """

    mode: Tensor
    focal: Tensor
    principal: Tensor
    nearest_px: Tensor
    farthest_px: Tensor
    height: int
    width: int

    def column(self, values: Tensor) -> Tensor:
        """Repeat (B,) values for every primitive: (B, P).

        Args:
            values: one of each scene.
        """
        return values[:, None].expand(-1, COUNT)

    def is_mode(self, mode: int) -> Tensor:
        """Return (B,) flags of the scenes of one kind.

        Args:
            mode: which kind.
        """
        return self.mode == mode
