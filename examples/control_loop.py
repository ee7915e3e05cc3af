"""A control loop at 20 Hz that slows down for what is near, and stops when it cannot see.

    python examples/control_loop.py 0 2 --calib stereo.yaml --size 480 640

Vision runs beside the loop with a deadline of its own; the loop never waits for it, it looks at how
old the newest answer is.
"""

import argparse
import time

import numpy as np

from litestereo import StereoEngine
from litestereo.runtime.geometry import MetricRig
from litestereo.runtime.stream import DeadlineOptions, Level, StreamOptions, cameras, videos

PERIOD_S, OLDEST_S = 0.05, 0.3
STOP_M, FREE_M = 0.5, 3.0


def nearest_m(depth_m: np.ndarray) -> float:
    """Return the distance that 5 % of the middle of the picture are nearer than."""
    height, width = depth_m.shape
    middle = depth_m[height // 3 : -height // 3, width // 3 : -width // 3]
    return float(np.nanpercentile(middle, 5)) if np.isfinite(middle).any() else 0.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("eyes", nargs="+", help="left and right, or one with both side by side")
    parser.add_argument("--calib", action="append", required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--model", default="las1")
    given = parser.parse_args(arguments)
    live = all(name.isdecimal() for name in given.eyes)
    source = cameras(*map(int, given.eyes)) if live else videos(*given.eyes, realtime=True)
    rig = MetricRig.read(given.calib, size=tuple(given.size))
    deadline = DeadlineOptions(period_ms=100, levels=(Level("full"), Level("half", 0.5)))
    options = StreamOptions(deadline=deadline, reconnects=10 if live else 0)
    work = {"prepare": rig.rectified, "post": lambda r: nearest_m(rig.depth(r.stereo).depth_m)}
    seen_s, speed = float("-inf"), 0.0
    engine = StereoEngine.load(given.model)
    with engine, engine.stream(source, options=options, **work) as stream:
        while not stream.is_over:
            tick_s = time.monotonic()
            result = stream.latest(timeout_s=0)
            if result is not None:
                seen_s = result.frame.captured_s
                speed = float(np.clip((result.post - STOP_M) / (FREE_M - STOP_M), 0, 1))
            blind = tick_s - seen_s > OLDEST_S
            print("speed 0.00 (blind)" if blind else f"speed {speed:.2f}")
            time.sleep(max(0.0, tick_s + PERIOD_S - time.monotonic()))
        print(stream.health_line())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
