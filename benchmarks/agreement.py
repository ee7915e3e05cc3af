"""Compare weights on real pairs without ground truth: how far do both views of a pair agree?

python benchmarks/agreement.py PAIRS... --model las1 --model before.onnx -o agreement.json

Each folder is a set. Of each pair and its mirror image: the share of all pixels on which both
disparities agree within 1 px, and the photometric error (0..255), as `stereo-train --fine-tune`
measures them. Agreement is no accuracy: errors that both views share are not seen. It needs no
truth, so pairs can be asked that no weights were chosen by.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from needs import leave_without, one_line_errors

from litestereo.packages import TRAIN_PACKAGES

if __name__ == "__main__":
    leave_without(*TRAIN_PACKAGES, extra="train")

import numpy as np

from litestereo import StereoEngine, __version__
from litestereo.runtime.files import require_writable, write_atomic
from litestereo.training.fine_tune import matched_views
from litestereo.training.pairs import find_training_pairs


def main() -> None:
    """Measure, print a line for each set and weights, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--model", action="append", required=True, help="bundled name or artefact")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    folders = {folder.resolve().name: folder for folder in given.pairs}
    if len(folders) < len(given.pairs):
        parser.error("two folders have one name, which is all that tells sets apart; rename one")
    require_writable(given.output)
    sets = {name: find_training_pairs(folder) for name, folder in folders.items()}
    models = []
    for model in given.model:
        with StereoEngine.load(model) as engine:
            figures = {}
            for name, scenes in sets.items():
                rows = [matched_views(engine, *scene.load_pair())[1:] for scene in scenes]
                agree, error = np.mean(rows, 0)
                figures[name] = {
                    "pairs": len(rows),
                    "consistent": round(float(agree), 3),
                    "photometric": round(float(error), 3),
                }
                print(f"{Path(model).name} {name}: {figures[name]}", flush=True)
            source = engine.manifest.weights_source
        models.append({"weights": source, "sets": figures})
    content = {"what": __doc__.splitlines()[0], "litestereo": __version__, "models": models}
    write_atomic(given.output, f"{json.dumps(content, indent=1)}\n".encode())


if __name__ == "__main__":
    with one_line_errors():
        main()
