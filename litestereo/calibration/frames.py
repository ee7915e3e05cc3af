"""The pairs of a set as a network sees them: through the runtime's own preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from litestereo.calibration.store import CalibrationSet, StoredPair
from litestereo.errors import CalibrationError
from litestereo.runtime.images import StereoPair
from litestereo.runtime.preprocess import Frame, padded_pair

__all__ = ["LARGEST_SIZE", "NetworkPair", "network_pair", "network_pairs", "require_fitting"]

LARGEST_SIZE = (544, 1280)
"""What pairs are scaled down to for an artefact of dynamic size: larger ones take their time and
show the network nothing that it would not see at this size."""

_LEAST_FILLED = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPair:
    """A pair ready for a network.

    Attributes:
        name: where it came from.
        left: (H, W, 3) uint8 RGB, H and W multiples of 32.
        right: same.
        frame: where the picture is inside.
    """

    name: str
    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    frame: Frame

    @property
    def feed(self) -> dict[str, NDArray[np.uint8]]:
        """The artefact's inputs by name."""
        return {"left": self.left, "right": self.right}


def network_pair(
    pair: StereoPair,
    *,
    name: str,
    size: tuple[int, int] | None = None,
    limit: tuple[int, int] = LARGEST_SIZE,
) -> NetworkPair:
    """Return a pair scaled down and padded, as `StereoEngine` would.

    Args:
        pair: the pictures.
        name: where they came from.
        size: fixed (height, width) of the artefact; None: dynamic.
        limit: of a dynamic one: (height, width) that pairs are scaled down to.
    """
    height, width = pair.left.shape[:2]
    limit = size or limit
    scale = min(1.0, limit[0] / height, limit[1] / width)
    left, right, frame = padded_pair(pair.left, pair.right, scale=scale, fixed_size=size)
    return NetworkPair(name, left, right, frame)


def network_pairs(
    calibration: CalibrationSet,
    stored: Iterable[StoredPair],
    *,
    size: tuple[int, int] | None = None,
    limit: tuple[int, int] = LARGEST_SIZE,
) -> Iterator[NetworkPair]:
    """Yield pairs of a set as the network sees them, one in memory at a time; see `network_pair`.

    Args:
        calibration: the set, which reads the pictures.
        stored: which of its pairs.
        size: (height, width) of a fixed-size artefact; None takes each picture's own.
        limit: (height, width) within which pictures are kept.

    Raises:
        CalibrationError: a picture is damaged.
    """
    for pair in stored:
        yield network_pair(calibration.read(pair), name=pair.name, size=size, limit=limit)


def require_fitting(pairs: Sequence[StoredPair], *, size: tuple[int, int] | None) -> None:
    """Refuse pairs that would leave most of a fixed-size artefact's input to padding.

    Args:
        pairs: of a set.
        size: (height, width) of the artefact; None takes any.

    Raises:
        CalibrationError: with both sizes.
    """
    if size is None:
        return
    shares = []
    for pair in pairs:
        scale = min(1.0, size[0] / pair.height, size[1] / pair.width)
        shares.append(scale**2 * pair.height * pair.width / (size[0] * size[1]))
    middle = median(shares)
    if middle < _LEAST_FILLED:
        smallest = min(pairs, key=lambda pair: pair.height * pair.width)
        raise CalibrationError(
            f"the pairs fill {middle:.0%} of {size[0]}x{size[1]} (e.g. {smallest.name}: "
            f"{smallest.height}x{smallest.width}), so the ranges would be those of padding; "
            "calibrate with pairs of the size that the artefact will see, or export that size"
        )
