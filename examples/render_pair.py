"""Render a stereo pair with exact ground truth: python examples/render_pair.py OUT [SEED].

The pair that ships in the package was made by this script (seed 12); it needs litestereo[train].
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from litestereo.training.scenes.layout import sample_scenes
from litestereo.training.scenes.random import Draw
from litestereo.training.scenes.render import render
from litestereo.training.scenes.textures import load_atlas

SIZE = (480, 640)
MAX_DISPARITY_PX = 64.0


def picture(colour: torch.Tensor) -> np.ndarray:
    # Cameras store light with a gamma of about 1/2.2; half of it suits these lights.
    pixels = (colour.clamp(0, 1) ** 0.7 * 255).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])


def main(output: Path, seed: int) -> None:
    atlas = load_atlas(None, device="cpu", size=256)
    scene = sample_scenes(
        Draw("cpu", seed=seed), atlas, batch=1, size=SIZE, max_disparity_px=MAX_DISPARITY_PX
    )
    scene.misalignment.zero_()
    seen = render(scene, atlas, size=SIZE, max_disparity_px=MAX_DISPARITY_PX, samples=2)
    output.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(output / "left.png"), picture(seen.left[0]))
    cv2.imwrite(str(output / "right.png"), picture(seen.right[0]))
    disparity = seen.disparity_px[0, 0].numpy()
    cv2.imwrite(str(output / "disparity.png"), (disparity * 256).round().astype(np.uint16))
    print(f"{output}: disparity {disparity.min():.1f} to {disparity.max():.1f} px")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12)
