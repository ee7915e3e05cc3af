"""The pictures that scenes are covered with: photos from a folder, procedural ones, outlines.

All live in one `Atlas` on the device: RGB packed into int32 with a mip pyramid, so that one gather
reads one texel, and binary outlines for planar cut-outs.
"""

from __future__ import annotations

import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from litestereo.errors import InputError, TrainingError
from litestereo.runtime.decode import PICTURE_MOST_BYTES, decoded
from litestereo.runtime.reading import read_file

__all__ = ["Atlas", "load_atlas"]

_Array = NDArray[Any]

OUTLINE_SIZE = 256
_PROCEDURAL = 160
_OUTLINES = 96
# Levels below the one of a pixel's footprint: a box of texels blurs more than a lens does.
_SHARPER = 0.25
_MOST_DETAIL = 2.0  # times a photo's own detail finer than a hundredth of its side


@dataclass(frozen=True)
class Atlas:
    """Square textures with mip levels, and outlines, on one device.

    Attributes:
        texels: (count * pyramid,) int32, 0x00BBGGRR; level 0 of a texture first, then its mips.
        size: side of level 0 in texels, a power of two.
        count: number of textures; the first `photos` are photographs.
        photos: number of photographs.
        outlines: (n, OUTLINE_SIZE, OUTLINE_SIZE) bool, true inside; number 0 is a full square.
    """

    texels: Tensor
    size: int
    count: int
    photos: int
    outlines: Tensor

    @property
    def levels(self) -> int:
        """Number of mip levels, down to 4 texels a side."""
        return int(math.log2(self.size)) - 1

    @property
    def pyramid(self) -> int:
        """Texels of one texture over all its levels."""
        return sum((self.size >> level) ** 2 for level in range(self.levels))

    def sample(self, index: Tensor, u: Tensor, v: Tensor, lod: Tensor) -> Tensor:
        """Read textures with bilinear filtering at the nearest mip level, repeating at the borders.

        Args:
            index: int64 texture numbers, any shape S.
            u: column in level-0 texels, shape S.
            v: row in level-0 texels, shape S.
            lod: mip level (fractional; rounded), shape S.

        Returns:
            Colour in 0..1, shape (3, *S).
        """
        level = (lod + 0.5 - _SHARPER).floor().clamp(0, self.levels - 1)
        scale = torch.exp2(-level)
        side = (self.size * scale).to(torch.int64)
        # Texels before a level: size^2 * (1 + 1/4 + ...) = size^2 * 4/3 * (1 - 4^-level).
        before = (self.size**2 * 4.0 / 3.0 * (1 - scale * scale) + 0.5).floor().to(torch.int64)
        base = index * self.pyramid + before
        x, y = u * scale - 0.5, v * scale - 0.5
        x0, y0 = x.floor(), y.floor()
        fx, fy = x - x0, y - y0
        left, top = x0.to(torch.int64) & (side - 1), y0.to(torch.int64) & (side - 1)
        right, bottom = (left + 1) & (side - 1), (top + 1) & (side - 1)
        upper = _mix(self._rgb(base + top * side + left), self._rgb(base + top * side + right), fx)
        lower = _mix(
            self._rgb(base + bottom * side + left), self._rgb(base + bottom * side + right), fx
        )
        return _mix(upper, lower, fy)

    def _rgb(self, position: Tensor) -> Tensor:
        packed = self.texels[position]
        return torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16)]).float() / 255


def _mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return a + (b - a) * weight


def load_atlas(
    folder: Path | None, *, device: torch.device | str, size: int = 512, limit: int | None = None
) -> Atlas:
    """Load the photos below `folder`, add procedural textures and outlines, and pack them.

    Args:
        folder: searched recursively for .jpg, .jpeg and .png; None takes procedural ones alone.
        device: where the atlas lives.
        size: side of a texture, a power of two; photos are cropped to a square and resized.
        limit: at most so many photos, for small runs.

    Raises:
        TrainingError: there is no `folder`, or it holds no readable picture.
    """
    photos = [] if folder is None else _photos(folder, size=size, limit=limit)
    rng = np.random.default_rng(7)
    made = [_procedural(rng, kind, size) for kind in range(_PROCEDURAL)]
    with ThreadPoolExecutor() as pool:
        texels = torch.cat(list(pool.map(_packed_pyramid, photos + made)))
    outlines = torch.from_numpy(np.stack([_outline(rng, kind) for kind in range(_OUTLINES)]))
    return Atlas(
        texels=texels.to(device),
        size=size,
        count=len(photos) + len(made),
        photos=len(photos),
        outlines=outlines.to(device),
    )


def _photos(folder: Path, *, size: int, limit: int | None) -> list[_Array]:
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}; give one of photos with --textures")
    kinds = {".jpg", ".jpeg", ".png"}
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds)[:limit]
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda path: _square_photo(path, size), paths))
    pictures = [picture for picture in read if picture is not None]
    if not pictures:
        raise TrainingError(
            f"{folder} holds no readable .jpg or .png; give a folder of photos with --textures"
        )
    return pictures


def _square_photo(path: Path, size: int) -> _Array | None:
    try:
        content = read_file(path, most_bytes=PICTURE_MOST_BYTES)
        picture = decoded(path, content, purpose="reading textures", color=True)
    except InputError:
        return None
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = picture[top : top + side, left : left + side, ::-1]
    small = cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=cv2.INTER_AREA)
    # A surface shows a part of a photo, and real surfaces have more fine detail than such parts.
    light = small.astype(np.float32)
    amount = (zlib.crc32(content) % 1000) / 1000 * _MOST_DETAIL
    detailed = light + amount * (light - cv2.GaussianBlur(light, (0, 0), size / 100))
    return np.clip(detailed, 0, 255).astype(np.uint8)


def _packed_pyramid(picture: _Array) -> Tensor:
    """Pack (S, S, 3) uint8 RGB and its halvings down to 4x4 into one int32 vector."""
    levels = []
    while True:
        rgb = picture.astype(np.int32)
        levels.append((rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16).reshape(-1))
        if picture.shape[0] == 4:
            return torch.from_numpy(np.concatenate(levels))
        half = picture.shape[0] // 2
        picture = cv2.resize(picture, (half, half), interpolation=cv2.INTER_AREA)


def _procedural(rng: np.random.Generator, kind: int, size: int) -> _Array:
    """Make one texture: noise of several grains, stripes, checks, dots, bricks or scribbles."""
    makers = (_noise, _fine_noise, _stripes, _checks, _dots, _bricks, _scribbles, _noise)
    grey = makers[kind % len(makers)](rng, size)
    # Two greys with a tint each: natural surfaces are seldom saturated.
    dark, light = rng.uniform(0, 255, (2, 1)) + rng.normal(0, 32, (2, 3))
    colour = dark + (light - dark) * grey[..., None]
    grain = rng.normal(0, rng.choice([0.0, 4.0, 12.0]), colour.shape)
    picture: _Array = np.clip(colour + grain, 0, 255).astype(np.uint8)
    return picture


def _noise(rng: np.random.Generator, size: int) -> _Array:
    total = np.zeros((size, size), np.float32)
    slope = rng.uniform(0.5, 1.1)
    for octave in range(2, int(math.log2(size)) + 1):
        cells: _Array = rng.random((2**octave, 2**octave), np.float32)
        cells = cv2.copyMakeBorder(cells, 2, 2, 2, 2, cv2.BORDER_WRAP)
        margin = 2 * size >> octave
        grown = cv2.resize(cells, (size + 2 * margin,) * 2, interpolation=cv2.INTER_CUBIC)
        total += grown[margin : margin + size, margin : margin + size] * 2.0 ** (-slope * octave)
    return _unit(total)


def _fine_noise(rng: np.random.Generator, size: int) -> _Array:
    cell = int(rng.choice([1, 2, 4]))
    return np.kron(rng.random((size // cell, size // cell)), np.ones((cell, cell)))


def _stripes(rng: np.random.Generator, size: int) -> _Array:
    x = np.arange(size) / size
    wave = np.sin(2 * np.pi * x * rng.integers(2, 48) + 0.8 * np.sin(2 * np.pi * x))
    profile = wave if rng.random() < 0.5 else np.sign(wave)
    grey = np.broadcast_to(profile, (size, size))
    return _unit(grey if rng.random() < 0.5 else grey.T)


def _checks(rng: np.random.Generator, size: int) -> _Array:
    rows, columns = (int(n) for n in 2 ** rng.integers(1, 6, 2))
    y, x = np.mgrid[:size, :size]
    odd: _Array = (x * columns // size + y * rows // size) % 2
    return odd.astype(np.float32)


def _dots(rng: np.random.Generator, size: int) -> _Array:
    grey = np.full((size, size), rng.random(), np.float32)
    for _ in range(int(rng.integers(40, 700))):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        cv2.circle(grey, centre, int(rng.integers(1, size // 24)), float(rng.random()), -1)
    return grey


def _bricks(rng: np.random.Generator, size: int) -> _Array:
    grey = np.full((size, size), 0.9, np.float32)
    rows, columns, joint = int(rng.integers(4, 20)), int(rng.integers(2, 10)), rng.integers(1, 4)
    height, width = size // rows, size // columns
    for row in range(rows):
        for column in range(columns + 1):
            x, y = column * width - (row % 2) * width // 2, row * height
            corner = (x + width - int(joint), y + height - int(joint))
            cv2.rectangle(grey, (x, y), corner, float(rng.uniform(0, 0.7)), -1)
    return grey


def _scribbles(rng: np.random.Generator, size: int) -> _Array:
    """Print-like rows of short strokes on a plain ground."""
    grey = np.full((size, size), 1.0, np.float32)
    pitch = int(rng.integers(10, 36))
    for y in range(pitch, size, pitch):
        for x in range(6, size - 6, max(4, pitch // 2)):
            if rng.random() < 0.8:
                points = rng.integers(-pitch // 3, pitch // 3 + 1, (4, 2)) + np.array([x, y])
                cv2.polylines(grey, [points.astype(np.int32)], False, float(rng.random() * 0.4), 1)
    return grey


def _unit(values: _Array) -> _Array:
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-6)


def _outline(rng: np.random.Generator, kind: int) -> _Array:
    """Make the outline of a planar cut-out: (OUTLINE_SIZE, OUTLINE_SIZE) bool."""
    if kind % 4 == 0:
        return np.ones((OUTLINE_SIZE, OUTLINE_SIZE), bool)
    makers = (_blob, _polygon, _leaves, _grid, _blob, _ring, _branches)
    return makers[kind % len(makers)](rng)


def _polar() -> tuple[_Array, _Array]:
    y, x = np.mgrid[-1 : 1 : OUTLINE_SIZE * 1j, -1 : 1 : OUTLINE_SIZE * 1j]
    return np.hypot(x, y), np.arctan2(y, x)


def _blob(rng: np.random.Generator) -> _Array:
    radius, angle = _polar()
    edge = np.full_like(angle, 0.7)
    for k in range(1, 9):
        edge += rng.normal(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 6.3))
    return radius < edge


def _polygon(rng: np.random.Generator) -> _Array:
    canvas = np.zeros((OUTLINE_SIZE, OUTLINE_SIZE), np.uint8)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 12))))
    radii = rng.uniform(0.35, 1.0, angles.size) * OUTLINE_SIZE / 2
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1) + OUTLINE_SIZE / 2
    cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
    return canvas > 0


def _leaves(rng: np.random.Generator) -> _Array:
    canvas = np.zeros((OUTLINE_SIZE, OUTLINE_SIZE), np.uint8)
    for _ in range(int(rng.integers(40, 260))):
        centre = np.clip(rng.normal(0.5, 0.2, 2), 0.02, 0.98) * OUTLINE_SIZE
        axes = rng.uniform(3, 16, 2)
        cv2.ellipse(
            canvas,
            (int(centre[0]), int(centre[1])),
            (int(axes[0]), int(axes[1]) // 2 + 1),
            float(rng.uniform(0, 180)),
            0,
            360,
            1,
            -1,
        )
    return canvas > 0


def _grid(rng: np.random.Generator) -> _Array:
    """Fences and nets: bars with a pitch, both ways or one."""
    y, x = np.mgrid[:OUTLINE_SIZE, :OUTLINE_SIZE]
    pitch_x, pitch_y = rng.integers(12, 52, 2)
    bar = rng.uniform(0.12, 0.4)
    upright: _Array = (x % pitch_x) < bar * pitch_x
    across: _Array = (y % pitch_y) < bar * pitch_y
    return upright if rng.random() < 0.4 else upright | across


def _ring(rng: np.random.Generator) -> _Array:
    radius, _ = _polar()
    inner = rng.uniform(0.3, 0.8)
    return (radius < 0.97) & (radius > inner)


def _branches(rng: np.random.Generator) -> _Array:
    canvas = np.zeros((OUTLINE_SIZE, OUTLINE_SIZE), np.uint8)
    for _ in range(int(rng.integers(3, 16))):
        steps = np.cumsum(rng.normal(0, 26, (6, 2)), 0) + rng.uniform(60, OUTLINE_SIZE - 60, 2)
        thickness = int(rng.integers(2, 8))
        cv2.polylines(canvas, [steps.astype(np.int32)], False, 1, thickness)
    return canvas > 0
