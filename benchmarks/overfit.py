"""Overfit eight rendered pairs on the CPU: shows that scenes, network and loop fit together.

    python benchmarks/overfit.py --steps 1200 --target 0.3 -o overfit.json

The error is that of the network in evaluation mode, over all pixels, hidden ones too. It ends as
soon as the target is met, with status 1 where the steps do not reach it. About three seconds a
step on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from needs import leave_without, one_line_errors

from litestereo.packages import TRAIN_PACKAGES

if __name__ == "__main__":
    leave_without(*TRAIN_PACKAGES, extra="train")

import torch

from litestereo.runtime.files import require_writable, write_atomic
from litestereo.training.options import TrainOptions
from litestereo.training.scenes.stream import Batch, SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.stages import make_run

_PAIRS, _BATCH, _CHECK_EVERY = 8, 4, 40
_SIZE, _MAX_DISPARITY_PX, _TEXELS = (128, 256), 48.0, 256


def _part(batch: Batch, chosen: torch.Tensor) -> Batch:
    return Batch(
        batch.left[chosen], batch.right[chosen], batch.disparity_px[chosen], batch.visible[chosen]
    )


@torch.no_grad()
def _errors_px(network: torch.nn.Module, batch: Batch) -> list[float]:
    network.eval()
    disparity_px, _ = network(batch.left, batch.right)
    network.train()
    return [round(float(e), 3) for e in (disparity_px - batch.disparity_px).abs().mean((1, 2, 3))]


def main() -> int:
    """Train until the target or the end of the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="las1")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--target", type=float, default=0.3, help="mean EPE in pixels")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.output:
        require_writable(given.output)
    with TemporaryDirectory() as empty:  # without a state to go on from
        options = TrainOptions(
            output=Path(empty),
            model=given.model,
            steps=given.steps,
            batch=_BATCH,
            height=_SIZE[0],
            width=_SIZE[1],
            max_disparity_px=_MAX_DISPARITY_PX,
            texture_size=_TEXELS,
            peak_learning_rate=given.learning_rate,
            warm_up=0.05,
            weight_decay=0.0,
            compile_renderer=False,
        )
        run = make_run(options)
    atlas = load_atlas(None, device="cpu", size=_TEXELS)
    pairs = SceneStream(
        atlas, batch=_PAIRS, size=_SIZE, seed=1, max_disparity_px=_MAX_DISPARITY_PX
    ).next()
    order = torch.Generator().manual_seed(0)
    begun, log = time.monotonic(), []
    while run.done.step < given.steps:
        for chosen in torch.randperm(_PAIRS, generator=order).split(_BATCH):
            loss, _ = run.advance(_part(pairs, chosen))
        if run.done.step % _CHECK_EVERY and run.done.step < given.steps:
            continue
        errors = _errors_px(run.network, pairs)
        mean = round(sum(errors) / len(errors), 3)
        line = {
            "step": run.done.step,
            "loss": round(float(loss), 4),
            "epe_px": mean,
            "each_px": errors,
            "minutes": round((time.monotonic() - begun) / 60, 1),
        }
        log.append(line)
        print(json.dumps(line), flush=True)
        if mean < given.target:
            break
    result = {"model": given.model, "target_px": given.target, "reached": mean < given.target}
    if given.output:
        text = json.dumps({**result, "log": log}, indent=1)
        write_atomic(given.output, f"{text}\n".encode())
    return 0 if mean < given.target else 1


if __name__ == "__main__":
    with one_line_errors():
        raise SystemExit(main())
