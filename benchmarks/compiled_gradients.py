"""Compare the gradients of a compiled training step with the network's own, on the device at hand.

    python benchmarks/compiled_gradients.py --model las1 --off triton.mix_order_reduction -o FILE

Of rendered pairs, in float32 and under autocast to bfloat16. All are compared with the network's
own in the first precision, so that of bfloat16's two lines "launched" tells rounding, "compiled"
faults. `--off` names options of torch's inductor that are switched off. Each is compiled for two
minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from needs import leave_without

from litestereo.packages import TRAIN_PACKAGES

if __name__ == "__main__":
    leave_without(*TRAIN_PACKAGES, extra="train")

import torch
from torch import Tensor, nn

from litestereo.assets import bundled_artifact
from litestereo.models.las import StereoNetwork
from litestereo.training.loss import supervised_loss
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.stages import start_network

_SHOWN = 5
_COUNTS = 1e-3  # parameters that hold less of the gradient's length are not among the worst


class _Step(nn.Module):
    def __init__(self, network: StereoNetwork, precision: torch.dtype) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, left: Tensor, right: Tensor, truth_px: Tensor) -> Tensor:
        half = self.precision != torch.float32
        with torch.autocast(left.device.type, dtype=torch.bfloat16, enabled=half):
            stages = self.network.stages(left, right)
        coarse_px = 4 * stages.disparity_quarter
        return supervised_loss(stages.predictions, coarse_px, truth_px, torch.ones_like(truth_px))


def _gradients(step: Callable[..., Tensor], module: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    module.zero_grad(set_to_none=True)
    step(*batch).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def _apart(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, object]:
    total = float(torch.stack([each.norm() for each in wanted.values()]).norm())
    apart = {name: float((given[name] - each).norm()) for name, each in wanted.items()}
    counted = [name for name, each in wanted.items() if float(each.norm()) > _COUNTS * total]
    worst = sorted(counted, key=lambda name: -apart[name] / float(wanted[name].norm()))[:_SHOWN]
    return {
        "whole": round(sum(value**2 for value in apart.values()) ** 0.5 / total, 5),
        "worst": {name: round(apart[name] / float(wanted[name].norm()), 3) for name in worst},
    }


def main() -> None:
    """Compare, print a line for each way, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="las1")
    parser.add_argument("--weights", type=Path, help="checkpoint; those of the package if it has")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    kinds = ("float32", "bfloat16")
    parser.add_argument("--precision", action="append", choices=kinds, help="both, if not given")
    parser.add_argument("--off", action="append", default=[], help="an option of the inductor")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    atlas = load_atlas(None, device=device, size=256)
    made = SceneStream(atlas, batch=given.pairs, size=(given.height, given.width), seed=1).next()
    batch = made.left, made.right, made.disparity_px
    weights = given.weights or (bundled_artifact("las1") if given.model == "las1" else None)

    def step(precision: torch.dtype) -> _Step:
        torch.manual_seed(0)
        return _Step(start_network(given.model, weights), precision).to(device).train()

    wanted: dict[str, Tensor] = {}
    rows: dict[str, dict[str, object]] = {}
    for kind in given.precision or kinds:
        for compiled in (False, True):
            torch._dynamo.reset()
            module, begun = step(getattr(torch, kind)), time.monotonic()
            run = torch.compile(module, options=dict.fromkeys(given.off, False))
            gradients = _gradients(run if compiled else module, module, *batch)
            wanted = wanted or gradients
            name = f"{'compiled' if compiled else 'launched'} {kind}"
            rows[name] = _apart(gradients, wanted)
            print(name, json.dumps(rows[name]), f"{time.monotonic() - begun:.0f} s", flush=True)
    result = {
        "model": given.model,
        "pairs": [given.pairs, given.height, given.width],
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "torch": torch.__version__,
        "switched_off": given.off,
        "apart": rows,
    }
    if given.output:
        given.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
