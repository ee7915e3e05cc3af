"""How far the networks see: their largest answer, and from where on an answer is clipped.

The cost volume has 48 steps of 4 px, 0 to 188, and an answer is an expectation over them: nothing
above the last step can come out, whatever is in front of the cameras.
"""

from __future__ import annotations

__all__ = ["CLIPPED_FROM", "REACH_PX", "STEP_PX"]

STEP_PX = 4.0
"""Between two steps of the cost volume, in pixels of what the network sees."""

REACH_PX = 188.0
"""The last of the 48 steps."""

CLIPPED_FROM = 0.97
"""Of the reach; answers from here on (182 px) may stand for anything nearer."""
