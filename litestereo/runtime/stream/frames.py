"""What goes into a stream and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.results import Inferred, Prepared, StereoResult

__all__ = ["Job", "SourceFrame", "StreamResult"]

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One pair as its source gives it; the arrays must not change afterwards.

    Attributes:
        left: (H, W, 3) uint8 RGB or (H, W) grey.
        right: same size.
        captured_s: when it was taken, on the stream's clock (`time.monotonic`): ages count from
            here.
        stamp_s: the source's own time, such as a video's position or a ROS stamp; None: it has
            none.
        name: what files made from it are called; "" lets the sequence number name them.
        context: anything of the source's that shall reach the result, such as a message's header.
        problem: why this pair cannot be used, such as a damaged file; it is counted as invalid.
        notes: what was changed or ignored when it was read, in words.
    """

    left: Image
    right: Image
    captured_s: float
    stamp_s: float | None = None
    name: str = ""
    context: Any = None
    problem: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """What the stream made of one pair.

    Attributes:
        frame: the pair as it was captured.
        left: the left picture that was matched: rectified, if the stream rectifies.
        right: same, right.
        stereo: disparity, confidence, timings.
        sequence: number of the pair since the stream began, from 0; gaps were not computed.
        age_ms: from capture to the moment that this was handed out.
        late: whether that is above the deadline's `max_age_ms`.
        level: name of the level that computed it; "full" where there is no ladder.
        post: what the stream's `post` returned; None without one.
    """

    frame: SourceFrame
    left: Image
    right: Image
    stereo: StereoResult
    sequence: int
    age_ms: float
    late: bool
    level: str
    post: Any = None


@dataclass(slots=True, eq=False)
class Job:
    """A pair on its way through the stages; each fills in its part.

    Attributes:
        frame: the pair, as captured.
        sequence: counted from 0, of the captured pairs.
        engine: of its level.
        level: of the deadline's ladder; 0 is the finest.
        pair: left and right, rectified where that is done here.
        prepared: padded for the network.
        inferred: the network's answer.
        stereo: that answer in the pair's pixels.
        post: what post-processing gave.
        is_counted: whether it has left the stream and is in the counters, as an invalid one is.
    """

    frame: SourceFrame
    sequence: int
    engine: StereoEngine | None = None
    level: int = 0
    pair: tuple[Image, Image] | None = None
    prepared: Prepared | None = None
    inferred: Inferred | None = None
    stereo: StereoResult | None = None
    post: Any = None
    is_counted: bool = False
