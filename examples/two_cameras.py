"""Two stereo cameras, front and back, on one GPU (or CPU) through one engine.

    python examples/two_cameras.py --front 0 --back 2 --backend tensorrt

Each camera gives both eyes side by side. The streams share the engine: its memory is paid once,
inferences take turns, and everything around them overlaps. A deadline gives each its share.
"""

import argparse
from collections.abc import Sequence

from litestereo import StereoEngine
from litestereo.runtime.stream import DeadlineOptions, StreamOptions, cameras, videos


def source_of(name: str):  # noqa: ANN201 - a source of litestereo.runtime.stream
    return cameras(int(name)) if name.isdecimal() else videos(name, realtime=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--front", required=True)
    parser.add_argument("--back", required=True)
    parser.add_argument("--model", default="las1")
    parser.add_argument("--backend", default="onnxruntime-cpu")
    parser.add_argument("--rate", type=float, default=15, help="results a second, of each")
    options = parser.parse_args(arguments)
    limits = StreamOptions(deadline=DeadlineOptions(period_ms=1e3 / options.rate))
    with (
        StereoEngine.load(options.model, backend=options.backend) as engine,
        engine.stream(source_of(options.front), options=limits) as front,
        engine.stream(source_of(options.back), options=limits) as back,
    ):
        streams = {"front": front, "back": back}
        while not all(stream.is_over for stream in streams.values()):
            for name, stream in streams.items():
                result = stream.latest(timeout_s=0.01)
                if result is not None:
                    print(f"{name} {result.sequence}: {result.age_ms:.0f} ms old")
        for name, stream in streams.items():
            print(f"{name}: {stream.health_line()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
