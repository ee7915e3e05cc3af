"""Slanted planes with exact disparity: where half precision would show as steps.

**Convention**: disparity(x, y) = across * x + down * y + offset, in pixels of the left picture;
the point at x in the left picture is at x - disparity in the right one.
"""

from __future__ import annotations

import numpy as np

__all__ = ["PLANES", "plane_residual_px", "rendered_plane"]

# (across, down, offset in pixels). Half has steps of 0.0625 px from 64 px on and of 0.125 px from
# 128 px on, so most of them reach there.
PLANES = (
    (0.0, 0.02, 20.0),
    (0.02, 0.01, 60.0),
    (0.03, -0.02, 90.0),
    (-0.02, 0.03, 130.0),
    (0.01, 0.05, 140.0),
    (0.01, -0.03, 160.0),
)
_LARGEST_PX = 180.0  # the networks end at 192
_MARGIN_PX = 8


def rendered_plane(plane, *, size, seed):
    """Return (left, right), (H, W, 3) uint8, of a textured plane."""
    height, width = size
    texture = _texture(np.random.default_rng(seed), (height, 2 * width))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down, offset = _coefficients(plane, size)
    # A column of the right picture shows the left picture's x with x - d(x, y) = column.
    seen = (columns + down * rows + offset) / (1 - across)
    return _sampled(texture, columns), _sampled(texture, seen)


def plane_residual_px(disparity, plane, *, size):
    """Return (RMS, largest) deviation from the best plane, where both pictures see it."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down, offset = _coefficients(plane, size)
    truth = across * columns + down * rows + offset
    inside = (columns - truth > _MARGIN_PX) & (columns < width - _MARGIN_PX)
    inside &= (rows >= _MARGIN_PX) & (rows < height - _MARGIN_PX)
    # Where the network is off by more than a pixel it erred, and precision is not the question.
    inside &= np.abs(disparity - truth) < 1
    if np.count_nonzero(inside) < 1000:
        return None
    terms = np.stack([columns[inside], rows[inside], np.ones(np.count_nonzero(inside))], axis=1)
    values = disparity[inside].astype(np.float64)
    fit, *_ = np.linalg.lstsq(terms, values, rcond=None)
    residual = values - terms @ fit
    return {
        "rms_px": float(np.sqrt(np.mean(residual**2))),
        "max_px": float(np.abs(residual).max()),
        "share": float(inside.mean()),
        "deepest_px": float(truth[inside].max()),
    }


def _coefficients(plane, size):
    """Return the plane in pixels, lowered where it would leave the networks' reach."""
    across, down, offset = plane
    height, width = size
    corners = [across * x + down * y for x in (0, width - 1) for y in (0, height - 1)]
    offset = min(offset, _LARGEST_PX - max(corners))
    return across, down, max(offset, 2.0 - min(corners))


def _texture(rng, size):
    """Return (H, W, 3) float noise of several scales."""
    height, width = size
    total = np.zeros((height, width, 3))
    for cell, weight in ((3, 0.35), (8, 0.3), (24, 0.35)):
        shape = (height // cell + 2, width // cell + 2)
        coarse = 0.8 * rng.random((*shape, 1)) + 0.2 * rng.random((*shape, 3))
        rows, columns = np.arange(height) / cell, np.arange(width) / cell
        smooth = _lines(_lines(coarse, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
        total += weight * smooth
    return 255 * np.clip(1.6 * (total - 0.5) + 0.5, 0, 1)


def _lines(values, positions):
    """Interpolate linearly along the first axis."""
    low = np.floor(positions).astype(int)
    part = (positions - low)[:, None, None]
    return (1 - part) * values[low] + part * values[low + 1]


def _sampled(texture, columns):
    """Return the texture at (row, column), linear between columns."""
    low = np.clip(np.floor(columns).astype(int), 0, texture.shape[1] - 2)
    part = np.clip(columns - low, 0, 1)[..., None]
    rows = np.arange(texture.shape[0])[:, None]
    mixed = (1 - part) * texture[rows, low] + part * texture[rows, low + 1]
    return np.round(mixed).astype(np.uint8)
