"""How much do black borders, as rectifying leaves them, cost in the rest of the picture?

python benchmarks/black_borders.py DATA... --model las1 --model las2_m -o borders.json

Each eye's pictures get straight black borders of their own, up to 6 % of the width at either end of
a side, the same ones for each model. Bad-2 is counted with and without them, of the pixels with
ground truth that neither eye's borders hide.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from needs import one_line_errors

from litestereo import StereoEngine, __version__
from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.metrics import score
from litestereo.benchmarks.report import family_of
from litestereo.benchmarks.scenes import Scene
from litestereo.runtime.files import require_writable, write_atomic

_WIDEST = 0.06


def _border(random: np.random.Generator, height: int, width: int) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    black = np.zeros((height, width), bool)
    for inwards, along in (
        (x, y / height),
        (width - 1 - x, y / height),
        (y, x / width),
        (height - 1 - y, x / width),
    ):
        begin, end = random.uniform(-_WIDEST / 2, _WIDEST, 2) * width
        black |= inwards < begin + (end - begin) * along
    return black


def _bad_2(engine: StereoEngine, scene: Scene) -> tuple[float, float]:
    """Return percent over 2 px without and with borders."""
    truth = scene.load_truth()
    assert truth is not None  # `main` asks for such scenes alone
    left, right = scene.load_pair()
    height, width = truth.disparity_px.shape
    random = np.random.default_rng(zlib.crc32(scene.key.encode()))
    black = [_border(random, height, width) for _ in "lr"]
    bare = [eye * ~gone[..., None] for gone, eye in zip(black, (left, right), strict=True)]
    known = np.isfinite(truth.disparity_px)
    there = np.arange(width) - np.where(known, truth.disparity_px, 0)
    there = np.clip(np.rint(there), 0, width - 1).astype(int)
    counted = known & ~black[0] & ~np.take_along_axis(black[1], there, 1)
    counted_px = np.where(counted, truth.disparity_px, np.float32(np.nan))
    without, with_borders = (
        score(engine(*eyes).disparity_px, counted_px).bad_2 for eyes in ((left, right), bare)
    )
    return without, with_borders


def main() -> None:
    """Measure, print a line for each family and weights, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", action="append", required=True, help="bundled name or artefact")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    require_writable(given.output)
    found = find_scenes(*given.data)
    if found.problem:
        parser.error(found.problem)
    scenes = [scene for scene in found.scenes if scene.truth]
    if not scenes:
        parser.error("no pair there has ground truth; give data sets that have")
    models = []
    for model in given.model:
        with StereoEngine.load(model) as engine:
            rows = {scene.key: _bad_2(engine, scene) for scene in scenes}
            source = engine.manifest.weights_source
        families: dict[str, dict[str, float]] = {}
        for family in sorted({family_of(key.split("/")[0]) for key in rows}):
            mine = [row for key, row in rows.items() if family_of(key.split("/")[0]) == family]
            without, with_borders = np.mean(mine, 0).round(3).tolist()
            families[family] = {"pairs": len(mine), "bad_2": without, "bordered": with_borders}
            print(f"{Path(model).name} {family}: {families[family]}", flush=True)
        models.append({"weights": source, "families": families, "scenes": rows})
    content = {"what": __doc__.splitlines()[0], "litestereo": __version__, "models": models}
    write_atomic(given.output, f"{json.dumps(content, indent=1)}\n".encode())


if __name__ == "__main__":
    with one_line_errors():
        main()
