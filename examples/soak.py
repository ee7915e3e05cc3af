"""Stream the bundled pair for a while and print what the garbage collector did, as JSON.

    python examples/soak.py --minutes 30

The collector only runs when it is told to, here once in a hundred results: no pause of it may be
above 5 ms, and it may find nothing, because the stream makes no reference cycles.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2

from litestereo import StereoEngine
from litestereo.assets import demo_pair
from litestereo.runtime.stream import PauseMeter, RepeatedPair, steady_heap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--model", type=Path, default="las1", help="bundled, or an artefact's file")
    options = parser.parse_args()
    pictures = [cv2.resize(cv2.imread(str(path)), (128, 96)) for path in demo_pair()]
    left, right = (cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures)
    frames = round(60 * options.minutes * options.rate)
    source = RepeatedPair(left, right, rate_hz=options.rate, frames=frames)
    garbage = 0
    with (
        StereoEngine.load(options.model, threads=1) as engine,
        steady_heap() as collect,
        PauseMeter() as meter,
        engine.stream(source) as stream,
    ):
        for result in stream:
            if result.sequence % 100 == 50:
                freed = collect()
                garbage += freed if result.sequence > 100 else 0  # opening leaves some
    health = stream.health
    report = {"pauses": len(meter.pauses_ms), "longest_pause_ms": round(meter.longest_ms, 3)}
    print(json.dumps({**report, "garbage": garbage, "health": health}, indent=1))
    return int(meter.longest_ms >= 5 or garbage > 0)


if __name__ == "__main__":
    sys.exit(main())
