"""Compare the gradients of a compiled training step with the network's own, on the device at hand.

    python benchmarks/compiled_gradients.py --model las1 --stage self -o FILE

Of rendered pairs, in float32 and under autocast to bfloat16. All are compared with the network's
own in the first precision: of bfloat16's two lines "launched" tells rounding, "compiled" faults.
Compiling takes about two minutes each time.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

from needs import leave_without

from litestereo.packages import TRAIN_PACKAGES

if __name__ == "__main__":
    leave_without(*TRAIN_PACKAGES, extra="train")

import torch
from torch import Tensor, nn

from litestereo.assets import bundled_artifact, bundled_models
from litestereo.runtime.files import write_atomic
from litestereo.training.compiled import compile_step
from litestereo.training.gradients import Gradients
from litestereo.training.loop import channels_last
from litestereo.training.objective import SelfDistillation, Supervised, TruthLoss
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.stages import start_network

_PRECISIONS = ("float32", "bfloat16")
_SHOWN = 5
# Of the longest parameter's gradient: it is added to what others are compared with.
_LEAST = 1e-3


def main() -> None:
    """Compare, print a line for each way, and write the file."""
    options = _options()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    batch = _batch(options, device)
    own: dict[str, Tensor] = {}
    rows: dict[str, dict[str, object]] = {}
    for precision in options.precision or _PRECISIONS:
        for way in ("launched", "compiled"):
            begun = time.monotonic()
            module = _step(options, precision, device)
            if way == "compiled":
                torch._dynamo.reset()
                module.compile() if options.as_torch_does else compile_step(module)
            gradients = _gradients(module, *batch)
            own = own or gradients
            rows[f"{way} {precision}"] = row = _apart(gradients, own)
            print(way, precision, json.dumps(row), f"{time.monotonic() - begun:.0f} s", flush=True)
    result = {
        "model": options.model,
        "stage": options.stage,
        "robust_px": options.robust,
        "pairs": [options.pairs, options.height, options.width],
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "torch": torch.__version__,
        "as_torch_does": options.as_torch_does,
        "apart": rows,
    }
    if options.output:
        write_atomic(options.output, (json.dumps(result, indent=1) + "\n").encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="las1")
    parser.add_argument("--weights", type=Path, help="checkpoint; those of the package if it has")
    parser.add_argument("--stage", choices=("supervised", "self"), default="supervised")
    parser.add_argument("--robust", type=float, default=1.0, help="as stereo-train takes it")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--precision", action="append", choices=_PRECISIONS, help="both by default")
    parser.add_argument(
        "--as-torch-does", action="store_true", help="compile with what training switches off"
    )
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def _batch(options: argparse.Namespace, device: str) -> tuple[Tensor, Tensor, Tensor]:
    atlas = load_atlas(None, device=device, size=256)
    size = (options.height, options.width)
    batch = SceneStream(atlas, batch=options.pairs, size=size, seed=1).next()
    layout = torch.channels_last
    left, right = (each.contiguous(memory_format=layout) for each in (batch.left, batch.right))
    return left, right, batch.disparity_px


def _step(
    options: argparse.Namespace, precision: str, device: str
) -> Supervised | SelfDistillation:
    """Return what the training loop makes its gradients of."""
    torch.manual_seed(0)
    bundled = options.model in bundled_models()
    weights = options.weights or (bundled_artifact(options.model) if bundled else None)
    network = start_network(options.model, weights).to(device).train()
    channels_last(network)
    loss = TruthLoss(robust_px=options.robust)
    autocast = precision == "bfloat16"
    if options.stage == "supervised":
        return Supervised(network, loss, autocast=autocast)
    step = SelfDistillation(
        network, copy.deepcopy(network), loss, seed=1, truth_weight=1.0, feature_weight=1.0
    )
    step.autocast = autocast
    return step


def _gradients(module: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    Gradients(module)(*batch)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def _apart(gradients: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, object]:
    lengths = {name: float(gradient.norm()) for name, gradient in own.items()}
    apart = {name: float((gradients[name] - gradient).norm()) for name, gradient in own.items()}
    least = _LEAST * max(lengths.values())
    relative = {name: apart[name] / (length + least) for name, length in lengths.items()}
    worst = sorted(relative, key=lambda name: -relative[name])[:_SHOWN]
    total = sum(length**2 for length in lengths.values()) ** 0.5
    return {
        "whole": round(sum(value**2 for value in apart.values()) ** 0.5 / total, 5),
        "worst": {name: round(relative[name], 3) for name in worst},
    }


if __name__ == "__main__":
    main()
