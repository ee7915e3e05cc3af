"""Train a refiner alone on a CPU, from few rendered pairs and many crops of them.

    python benchmarks/refiner_on_cpu.py render --textures photos --seed 9001 -o a.pt
    python benchmarks/refiner_on_cpu.py train a.pt b.pt --model las1 -o las1.safetensors

A GPU renders faster than a network learns, and `stereo-train --refiner alone` sees each pair once.
A CPU renders four pairs in the time of 20 steps: so the pairs are kept, the network answers them
once at full size and once at three quarters or half of it (which leaves more to mend), other
weights of it may answer, too (`--worse`: earlier ones leave still more), and the refiner, which
looks 10 px far, learns from crops, all answers as likely. The last 20 pairs of each file are held
out. Writes the weights with the refiner, and a record (OUTPUT.json).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

from needs import leave_without, one_line_errors

if __name__ == "__main__":
    leave_without("torch", "safetensors", extra="train", opencv=True)

import torch
from torch import Tensor, nn

from litestereo.assets import bundled_models, named_file
from litestereo.errors import InputError
from litestereo.models import create, load_weights, save_weights
from litestereo.models.las import StereoNetwork
from litestereo.models.refiner import Refiner
from litestereo.models.registry import MAX_DISPARITY_PX
from litestereo.runtime.files import require_writable
from litestereo.training.loss import disparity_loss, edge_weights
from litestereo.training.objective import SMALLER, smaller_answer
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas

_SIZE, _CROP = (256, 512), (128, 256)
_AT_ONCE, _BATCH, _HELD_OUT = 4, 8, 20
_EMA_DECAY, _ROBUST_PX = 0.998, 1.0


def main() -> None:
    """Render, or train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(required=True)
    render = steps.add_parser("render", help="pairs with their truth")
    render.add_argument("--textures", type=Path, required=True, help="folder of photos")
    render.add_argument("--pairs", type=int, default=300, help="default: 300")
    render.add_argument("--seed", type=int, required=True, help="of the scenes")
    render.add_argument("-o", "--output", type=Path, required=True, help="a .pt file")
    render.set_defaults(do=_render, suffix=".pt")
    train = steps.add_parser("train", help="a refiner of one network")
    train.add_argument("files", type=Path, nargs="+", help="what `render` wrote")
    train.add_argument("--model", choices=bundled_models(), required=True)
    train.add_argument("--weights", type=Path, help="of the network (default: bundled)")
    train.add_argument(
        "--worse",
        type=Path,
        action="append",
        default=[],
        help="other weights of the network, whose answers are learnt from, too (may be repeated)",
    )
    train.add_argument(
        "--edge-weight", type=float, default=1.0, help="of pixels beside a step (default: 1)"
    )
    train.add_argument("--new", action="store_true", help="a new refiner, not the weights' own")
    train.add_argument("--passes", type=int, default=1, help="of the refiner (default: 1)")
    train.add_argument("--rate", type=float, default=2e-3, help="peak (default: 2e-3)")
    train.add_argument("--steps", type=int, default=6000, help="default: 6000, of 8 crops")
    train.add_argument("--seed", type=int, default=0, help="of weights and crops (default: 0)")
    train.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    train.set_defaults(do=_train, suffix=".safetensors")
    given = parser.parse_args()
    if given.output.suffix != given.suffix:
        parser.error(f"{given.output} has to end in {given.suffix}")
    require_writable(given.output)
    given.do(given)


def _check_count(pairs: int, source: str) -> None:
    if pairs <= _HELD_OUT:
        raise InputError(
            f"{source} has {pairs} pairs; need more than {_HELD_OUT}, as so many are held out: "
            "render them with --pairs"
        )


def _render(given: argparse.Namespace) -> None:
    _check_count(given.pairs, str(given.output))
    atlas = load_atlas(given.textures, device="cpu")
    stream = SceneStream(atlas, batch=_AT_ONCE, size=_SIZE, seed=given.seed, compiled=True)
    kept: dict[str, list[Tensor]] = {"left": [], "right": [], "truth": []}
    for _ in range(math.ceil(given.pairs / _AT_ONCE)):
        batch = stream.next()
        kept["left"].append(batch.left.round().byte())
        kept["right"].append(batch.right.round().byte())
        kept["truth"].append(batch.disparity_px.half())
    given.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.cat(values) for name, values in kept.items()}, given.output)


def _network(given: argparse.Namespace, weights: Path) -> StereoNetwork:
    network = create(given.model)
    load_weights(network, named_file(weights))
    return network.eval()


@torch.no_grad()
def _answers(networks: list[StereoNetwork], pool: dict[str, Tensor]) -> list[Tensor]:
    """Return what is said of a file's pairs: the first network's answers at both sizes, others'."""
    found: list[list[Tensor]] = [[] for _ in range(1 + len(networks))]
    pairs = zip(*(pool[name].split(_AT_ONCE) for name in ("left", "right")), strict=True)
    for number, (left, right) in enumerate(pairs):
        seen = left.float(), right.float()
        share = SMALLER[number % len(SMALLER)]
        whole, *others = (network.stages(*seen).unrefined for network in networks)
        smaller = smaller_answer(networks[0], *seen, share=share)
        for answers, answer in zip(found, (whole, smaller, *others), strict=True):
            answers.append(answer.half())
    return [torch.cat(answers) for answers in found]


def _train(given: argparse.Namespace) -> None:
    pools = [torch.load(path, weights_only=True) for path in given.files]
    for path, pool in zip(given.files, pools, strict=True):
        _check_count(len(pool["left"]), str(path))
    network = _network(given, given.weights or Path(given.model))
    own, network.refiner = network.refiner, None
    asked = [network, *(_network(given, path) for path in given.worse)]
    known = [(p["left"], p["right"], p["truth"], *_answers(asked, p)) for p in pools]
    seen, unseen = (
        [torch.cat([values[part] for values in kind]) for kind in zip(*known, strict=True)]
        for part in (slice(-_HELD_OUT), slice(-_HELD_OUT, None))
    )
    torch.manual_seed(given.seed)
    refiner = Refiner() if given.new or own is None else own
    refiner.passes = given.passes
    average = torch.optim.swa_utils.AveragedModel(
        refiner, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_EMA_DECAY)
    )
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=given.rate, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, given.rate, given.steps, pct_start=0.1)
    begun, losses, log = time.monotonic(), [], []
    for step in range(1, given.steps + 1):
        loss = _loss(refiner, _crops(seen), edge_weight=given.edge_weight)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        rates.step()
        average.update_parameters(refiner)
        losses.append(loss.item())
        if step % 500 == 0 or step == given.steps:
            log.append({"step": step, "loss": round(sum(losses) / len(losses), 4)})
            minutes = round((time.monotonic() - begun) / 60, 1)
            print(json.dumps({**log[-1], "minutes": minutes}), flush=True)
            losses = []
    network.refiner = average.module
    save_weights(network, given.output, half=True)
    record = {
        "what": f"the refiner of {given.model} alone, by benchmarks/refiner_on_cpu.py",
        "options": {
            **{"model": given.model, "seed": given.seed, "optimizer": "adamw", "batch": _BATCH},
            **{"peak_learning_rate": given.rate, "ema_decay": _EMA_DECAY, "robust_px": _ROBUST_PX},
            **{"height": _CROP[0], "width": _CROP[1], "passes": given.passes, "new": given.new},
            "edge_weight": given.edge_weight,
            "weights": given.weights and given.weights.name,
            "worse": [path.name for path in given.worse],
        },
        "pairs": len(seen[0]),
        "steps": given.steps,
        "crops": given.steps * _BATCH,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "torch": torch.__version__,
        "held_out": {"pairs": len(unseen[0]), **_figures(network.refiner, unseen)},
        "log": log,
    }
    given.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


def _crops(pool: list[Tensor]) -> list[Tensor]:
    """Return crops at equal places of all pictures: both eyes, truth and one of the answers.

    Disparities stay what they are.
    """
    chosen = torch.randint(len(pool[0]), (_BATCH,))
    (height, width), (tall, wide) = _SIZE, _CROP
    y, x = (int(torch.randint(room // 2 + 1, ())) * 2 for room in (height - tall, width - wide))
    left, right, truth, *answers = (
        values[chosen][..., y : y + tall, x : x + wide].float() for values in pool
    )
    which = torch.randint(len(answers), (_BATCH,))
    return [left, right, truth, torch.stack(answers)[which, torch.arange(_BATCH)]]


def _loss(refiner: nn.Module, crops: list[Tensor], *, edge_weight: float) -> Tensor:
    left, right, truth, given = crops
    known = truth < MAX_DISPARITY_PX
    truth = torch.where(known, truth, 0.0)
    weight = edge_weights(truth, known, weight=edge_weight)
    return disparity_loss(refiner(given, left, right), truth, weight, robust_px=_ROBUST_PX)


@torch.no_grad()
def _figures(refiner: Refiner, pool: list[Tensor]) -> dict[str, dict[str, float]]:
    """Return errors of whole pairs, given and refined: px, and shares in %."""
    errors: dict[str, list[Tensor]] = {"given": [], "refined": []}
    pairs = zip(*(values.float().split(1) for values in pool), strict=True)
    for left, right, truth, given, *_ in pairs:
        errors["given"].append((given - truth).abs())
        errors["refined"].append((refiner(given, left, right) - truth).abs())
    found = {}
    for name, parts in errors.items():
        error = torch.cat(parts)
        shares = {
            f"bad_{k}": round(100 * float((error > k).float().mean()), 2) for k in (0.5, 1, 2)
        }
        found[name] = {"epe": round(float(error.mean()), 3), **shares}
    return found


if __name__ == "__main__":
    with one_line_errors():
        main()
