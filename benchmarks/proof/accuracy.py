"""Score an engine as stereo-eval does: accuracy.py NAME DATA... (TensorRT's interpreter, OpenCV).

stereo-eval builds an engine for each size of picture that comes; here one engine serves them all.
Writes what `stereo-eval -o` writes, into accuracy_NAME.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from common import SIZES, artifact_of, gpu_options, out, say, size_of

from litestereo.benchmarks.command import EvaluationRequest, run_evaluation
from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.table import evaluation_table
from litestereo.runtime.preprocess import frame_for
from litestereo.runtime.tensorrt.options import SizeRange

_TYPICAL = size_of(SIZES[0])


def sizes_of(*data: Path) -> SizeRange:
    """Return the range of the sizes in which the network sees the scenes."""
    pictures = (scene.load_pair()[0] for scene in find_scenes(*data).scenes)
    seen = {_TYPICAL, *(frame_for(picture.shape[:2]).padded_size for picture in pictures)}
    heights, widths = zip(*seen, strict=True)
    return SizeRange((min(heights), min(widths)), _TYPICAL, (max(heights), max(widths)))


def main(name: str, *data: str) -> None:
    """Build the engine, or find it in the cache, and score it."""
    folders = tuple(map(Path, data))
    sizes = sizes_of(*folders)
    begin = time.monotonic()
    request = EvaluationRequest(
        folders,
        weights=artifact_of(name),
        backend="tensorrt",
        gpu=gpu_options(name, "range", size_range=sizes),
        output=out() / f"accuracy_{name}",
    )
    report = run_evaluation(request)
    say(f"{name} at {sizes}: {time.monotonic() - begin:.0f} s with the build")
    print(evaluation_table(report))
    for scene in report.broken:
        say(f"{scene.name}: {scene.problem}")


if __name__ == "__main__":
    main(*sys.argv[1:])
