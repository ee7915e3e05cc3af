"""What the plugin's kernels compute on the tensor cores, from packed weights, thread by thread."""

import numpy as np

__all__ = ["as_the_kernel_computes", "as_the_kernel_mixes", "product"]


def product(a, b, d):
    """The tensor cores' 16x8x16 product of what 32 threads hold, all as (lane, registers)."""
    left, right, lanes = np.zeros((16, 16)), np.zeros((16, 8)), np.arange(32)
    row, part = lanes // 4, lanes % 4
    for i in range(2):
        left[row, 2 * part + i], left[row + 8, 2 * part + i] = a[:, i], a[:, 2 + i]
        left[row, 2 * part + 8 + i], left[row + 8, 2 * part + 8 + i] = a[:, 4 + i], a[:, 6 + i]
        right[2 * part + i, row], right[2 * part + 8 + i, row] = b[:, i], b[:, 2 + i]
    out = left @ right
    for i in range(2):
        d[:, i] += out[row, 2 * part + i]
        d[:, 2 + i] += out[row + 8, 2 * part + i]


def as_the_kernel_computes(weights, y):
    """Both pixelwise layers of 16 pixels without biases and GELU, thread by thread."""
    channels = y.shape[1]
    groups, row, part = channels // 16, np.arange(32) // 4, np.arange(32) % 4
    packed = weights.reshape(-1, 2, groups, 32, 2, 4).astype(float)
    own = 4 * part[:, None] + np.arange(4)  # channels of a thread, in each group of 16
    upper, lower = (
        np.stack([y[r[:, None], 16 * k + own] for k in range(groups)]) for r in (row, row + 8)
    )
    sums = np.zeros((groups, 2, 32, 4))
    for inward, outward in packed:
        h = np.zeros((2, 32, 4))
        for k in range(groups):
            a = np.concatenate(
                [upper[k][:, :2], lower[k][:, :2], upper[k][:, 2:], lower[k][:, 2:]], 1
            )
            for n in range(2):
                product(a, inward[k][:, n], h[n])
        a = np.concatenate([h[0][:, :2], h[0][:, 2:], h[1][:, :2], h[1][:, 2:]], 1)
        for k in range(groups):
            for n in range(2):
                product(a, outward[k][:, n], sums[k, n])
    out = np.zeros((16, channels))
    for k in range(groups):
        for r, half in ((row, slice(0, 2)), (row + 8, slice(2, 4))):
            out[r[:, None], 16 * k + own] = np.concatenate(
                [sums[k, 0][:, half], sums[k, 1][:, half]], 1
            )
    return out


def as_the_kernel_mixes(weights, x):
    """The 3x3 of 8x8 pixels out of 10x10, (10, 10, C/4 up to a multiple of 4), thread by thread."""
    channels, lane = x.shape[2], np.arange(32)
    fours, part = channels // 4, lane % 4
    rounds = -(-9 * fours // 4)
    packed = weights.reshape(rounds, -1, 32, 4).astype(float)
    out = np.zeros((64, 8 * packed.shape[1]))
    for row_warp in range(4):
        row = 16 * row_warp + lane // 4
        sums = np.zeros((packed.shape[1], 32, 4))
        for number, columns in enumerate(packed):
            tap, four = np.divmod(np.minimum(4 * number + part, 9 * fours - 1), fours)
            at = row // 8 + tap // 3, row % 8 + tap % 3
            own = 4 * four[:, None] + np.arange(4)
            upper, lower = (x[at[0][:, None] + n, at[1][:, None], own] for n in (0, 1))
            a = np.concatenate([upper[:, :2], lower[:, :2], upper[:, 2:], lower[:, 2:]], 1)
            for column, b in enumerate(columns):
                product(a, b, sums[column])
        for column, d in enumerate(sums):
            for i in range(2):
                out[row, 8 * column + 2 * part + i] = d[:, i]
                out[row + 8, 8 * column + 2 * part + i] = d[:, 2 + i]
    return out
