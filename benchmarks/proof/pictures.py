"""Prepare what the fidelity step looks at: pictures.py FOLDER... (any interpreter with OpenCV).

Every pair below the folders, at both sizes as the runtime would pad it, and slanted planes rendered
with known disparity. Writes pairs_SIZE.npy, (N, 2, H, W, 3) uint8, and pairs_SIZE.json beside it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import SIZES, say, size_of, work
from planes import PLANES, rendered_plane

from litestereo.benchmarks.datasets import find_scenes
from litestereo.runtime.images import read_pair
from litestereo.runtime.preprocess import padded_pair, rgb_pair


def main(*folders: str) -> None:
    """Write pictures and their list for both sizes."""
    pairs = list(_pairs(folders))
    say(f"{len(pairs)} pairs, {len(PLANES)} planes")
    work().mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        height, width = size_of(size)
        listed, stack = [], []
        for name, left, right in pairs:
            shape = left.shape[:2]
            scale = min(1.0, height / shape[0], width / shape[1])
            left, right, frame = padded_pair(left, right, scale=scale, fixed_size=(height, width))
            listed.append({"name": name, "frame": asdict(frame)})
            stack.append((left, right))
        for index, plane in enumerate(PLANES):
            listed.append({"name": f"plane/{index}", "plane": plane})
            stack.append(rendered_plane(plane, size=(height, width), seed=index))
        np.save(work() / f"pairs_{size}.npy", np.array(stack, np.uint8))
        (work() / f"pairs_{size}.json").write_text(json.dumps(listed))
        say(f"{size}: {len(listed)} pairs")


def _pairs(folders):
    """Yield (name, left, right) of each scene, and of each folder with nothing but a pair."""
    for folder in map(Path, folders):
        for left in sorted(folder.glob("*/*/left.png")):
            pair = read_pair(left, left.with_name("right.png"))
            name = f"{folder.name}/{left.parent.parent.name}/{left.parent.name}"
            yield name, *rgb_pair(pair.left, pair.right)


def truths(folder: Path) -> dict[str, object]:
    """Return the ground truth of each scene below a folder, by the names that `main` lists."""
    return {
        f"{folder.name}/{scene.left.parent.parent.name}/{scene.left.parent.name}": scene
        for scene in find_scenes(folder).scenes
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
