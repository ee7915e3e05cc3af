"""Pairs that differ in what a set should cover: texture, light, colour and disparity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

__all__ = ["picture_pair", "write_folders"]

SIZE = (64, 128)


def picture_pair(seed: int, *, grey: bool = False, size: tuple[int, int] = SIZE):
    """Return (left, right), (H, W, 3) uint8 RGB: a textured wall at a disparity of its own."""
    height, width = size
    rng = np.random.default_rng(seed)
    disparity_px = 2 + 3 * (seed % 7)
    noise = rng.integers(0, 256, (height // 8, (width + 64) // 8, 3)).astype(np.float32)
    wall = cv2.resize(noise, (width + 64, height), interpolation=cv2.INTER_CUBIC)
    wall = np.clip(wall * (0.3 + 0.1 * (seed % 8)), 0, 255).astype(np.uint8)
    if grey:
        wall = np.repeat(wall[..., :1], 3, axis=2)
    left = wall[:, :width]
    right = wall[:, disparity_px : disparity_px + width]
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def write_folders(folder: Path, count: int, *, first: int = 0, **options) -> Path:
    """Write `count` scenes with left.png and right.png below `folder`, and return it."""
    for seed in range(first, first + count):
        scene = folder / f"scene_{seed:03d}"
        scene.mkdir(parents=True)
        for name, image in zip(("left", "right"), picture_pair(seed, **options), strict=True):
            cv2.imwrite(str(scene / f"{name}.png"), image[..., ::-1])
    return folder
