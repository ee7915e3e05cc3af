"""A teacher's labels on real pairs, kept on disk under hashes, so that none is made twice."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from litestereo.benchmarks.scenes import DisparityFile, Scene
from litestereo.runtime.files import write_atomic
from litestereo.training.teacher import Teacher

__all__ = ["consistent", "flipped_pair", "label_pairs", "masked_label", "near_edge"]

_FORM = "2"
"""Counts up when labels or masks are made otherwise, so that old files are not taken."""

_CONSISTENT_PX = 1.0
_EDGE_PERCENTILE = 90.0
# Where all is flat the steepest tenth is no edge.
_FLAT_PX = 0.5
_Map = NDArray[np.float32]


def label_pairs(
    teacher: Teacher,
    scenes: Sequence[Scene],
    *,
    sha256: str,
    folder: Path,
    progress: Callable[[Iterable[Scene]], Iterable[Scene]] = iter,
) -> tuple[Scene, ...]:
    """Return the scenes with the teacher's masked labels as their truth; old labels are reused.

    A file's name is the hash of teacher, both pictures and the form of the label, so a label can
    never belong to another pair or teacher. Each is written as soon as it is made.

    Args:
        teacher: what labels.
        scenes: the pairs; ground truth that they may have is not read.
        sha256: of the teacher's file.
        folder: where the labels are kept.
        progress: wraps the scenes, as a progress bar does.
    """
    labelled = []
    for scene in progress(scenes):
        path = folder / f"{_key(scene, sha256)}.npz"
        if not path.exists():
            content = io.BytesIO()
            label = masked_label(teacher, *scene.load_pair())
            np.savez_compressed(content, disparity_px=label)
            write_atomic(path, content.getvalue())
        truth = DisparityFile(path, key="disparity_px", zero_known=True)
        labelled.append(replace(scene, truth=truth, visibility=None))
    return tuple(labelled)


def _key(scene: Scene, teacher_sha256: str) -> str:
    digest = hashlib.sha256(f"{_FORM} {teacher_sha256}".encode())
    for path in (scene.left, scene.right):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def masked_label(teacher: Teacher, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> _Map:
    """Return the teacher's disparity, from 0 up; NaN where both views disagree by 1 px or at edges.

    Args:
        teacher: matches a pair.
        left: (H, W, 3) uint8 RGB, rectified.
        right: same of the right camera.
    """
    # What is a little below 0 is the sky.
    disparity_px = np.maximum(teacher(left, right), 0)
    of_right = np.maximum(teacher(*flipped_pair(left, right)), 0)[:, ::-1]
    kept = consistent(disparity_px, of_right) & ~near_edge(disparity_px)
    return np.where(kept, disparity_px, np.float32(np.nan))


def flipped_pair(
    left: NDArray[np.uint8], right: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pair in a mirror: the right picture becomes a left one.

    Args:
        left: (H, W, 3) uint8 RGB, rectified.
        right: same of the right camera.
    """
    return np.ascontiguousarray(right[:, ::-1]), np.ascontiguousarray(left[:, ::-1])


def consistent(disparity_px: _Map, of_right_px: _Map) -> NDArray[np.bool_]:
    """Tell where the right view's disparity agrees with the left one's within 1 px.

    Args:
        disparity_px: (H, W) of the left view.
        of_right_px: (H, W) of the right view, in its own pixels.
    """
    width = disparity_px.shape[1]
    known = np.isfinite(disparity_px)
    column = np.arange(width, dtype=np.float32) - np.where(known, disparity_px, 0)
    inside = known & (column >= 0) & (column <= width - 1)
    nearest = np.clip(np.rint(column), 0, width - 1).astype(np.int64)
    other = np.take_along_axis(of_right_px, nearest, axis=1)
    agrees: NDArray[np.bool_] = inside & (np.abs(other - disparity_px) < _CONSISTENT_PX)
    return agrees


def near_edge(disparity_px: _Map) -> NDArray[np.bool_]:
    """Tell where the disparity's slope is in its steepest tenth and above half a pixel.

    Args:
        disparity_px: (H, W) float32; NaN counts as 0.
    """
    filled = np.nan_to_num(disparity_px, nan=0.0)
    slope_y, slope_x = np.gradient(filled)
    slope = np.hypot(slope_x, slope_y)
    steep: NDArray[np.bool_] = slope > max(float(np.percentile(slope, _EDGE_PERCENTILE)), _FLAT_PX)
    return steep
