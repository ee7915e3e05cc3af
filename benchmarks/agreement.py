"""Compare weights on real pairs without ground truth: how far do both views of a pair agree?

python benchmarks/agreement.py PAIRS... --model las1 --model before.onnx -o agreement.json

Each folder is a set. Of each pair and its mirror image: the share of all pixels on which both
disparities agree within 1 px, and the photometric error (0..255), as `stereo-train --fine-tune`
measures them. Agreement is no accuracy: errors that both views share are not seen. It needs no
truth, so pairs that nobody has tuned anything on can be asked.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from litestereo import StereoEngine, __version__
from litestereo.training.fine_tune import matched_views
from litestereo.training.pairs import find_training_pairs


def main() -> None:
    """Measure, print a line for each set and weights, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--model", action="append", required=True, help="bundled name or artefact")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    sets = {folder.name: find_training_pairs(folder) for folder in given.pairs}
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
    given.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
