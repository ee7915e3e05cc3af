"""Draw rendered training scenes to look at: left picture and disparity, hidden pixels darkened.

python benchmarks/contact_sheet.py docs/scenes.jpg
python benchmarks/contact_sheet.py sheet.png --textures photos --count 240 --seed 7
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needs import leave_without, one_line_errors

from litestereo.packages import TRAIN_PACKAGES

if __name__ == "__main__":
    leave_without(*TRAIN_PACKAGES, extra="train")

import cv2
import numpy as np
import numpy.typing as npt

from litestereo.runtime.files import require_writable, write_atomic
from litestereo.training.scenes.stream import Batch, SceneStream
from litestereo.training.scenes.textures import load_atlas

_BATCH = 6
_COLUMNS = 3


def _tile(batch: Batch, index: int) -> npt.NDArray[np.uint8]:
    """Return (H, 2 W, 3) uint8 BGR; the disparity's colours span each scene's own range."""
    left = batch.left[index].permute(1, 2, 0).byte().numpy()[..., ::-1]
    disparity_px = batch.disparity_px[index, 0].numpy()
    grey = (255 * disparity_px / max(float(disparity_px.max()), 1.0)).astype(np.uint8)
    colour = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO))
    colour[~batch.visible[index, 0].numpy()] //= 2
    label = f"{disparity_px.min():.0f} to {disparity_px.max():.0f} px"
    cv2.putText(colour, label, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
    return np.concatenate([left, colour], 1).astype(np.uint8)


def main() -> None:
    """Render and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--textures", type=Path, help="folder of photos; none: procedural ones")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    if not cv2.haveImageWriter(str(given.output)):
        parser.error(f"{given.output} is no name of a picture; let it end in .jpg or .png")
    require_writable(given.output)
    stream = SceneStream(
        load_atlas(given.textures, device="cpu", size=256),
        batch=_BATCH,
        size=(128, 256),
        seed=given.seed,
        samples=2,
    )
    tiles = []
    while len(tiles) < given.count:
        batch = stream.next()
        tiles += [_tile(batch, index) for index in range(_BATCH)]
    rows = [np.concatenate(tiles[i : i + _COLUMNS], 1) for i in range(0, given.count, _COLUMNS)]
    whole = [row for row in rows if row.shape == rows[0].shape]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82]
    _, content = cv2.imencode(given.output.suffix, np.concatenate(whole), quality)
    write_atomic(given.output, content.tobytes())


if __name__ == "__main__":
    with one_line_errors():
        main()
