"""Write the mean of several checkpoints of one network.

    python benchmarks/average_weights.py A.safetensors B.safetensors --share .3 .7 -o C.safetensors

Of runs that began at the same weights the mean may be better than each ("model soups", arXiv
2203.05482), and of a run and its start than either (arXiv 2109.01903). Statistics of norms are
averaged like weights. A refiner may come from elsewhere, from a file of another network, too: it
knows disparities and pictures, and no features. Score the mean before it is used:
`stereo-eval DATA --model las1 --weights C.safetensors --backend torch`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needs import leave_without

if __name__ == "__main__":
    leave_without("torch", "safetensors", extra="train", opencv=False)

from litestereo.assets import bundled_models, named_file
from litestereo.errors import InputError, LiteStereoError
from litestereo.models import create, load_weights, save_weights
from litestereo.models.las import StereoNetwork
from litestereo.models.refiner import Refiner


def main() -> None:
    """Average, and write matrices in half precision as training does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help="checkpoints of one network")
    parser.add_argument("--share", type=float, nargs="+", help="of each, last; default: equal")
    parser.add_argument("--model", default="las1", help="the network's name (default: las1)")
    parser.add_argument(
        "--refiner",
        metavar="[MODEL=]FILE",
        help="take the refiner of this file or bundled model, not a mean of refiners",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    given = parser.parse_args()
    shares = given.share or [1 / len(given.weights)] * len(given.weights)
    if len(shares) != len(given.weights):
        parser.error(f"{len(given.weights)} weights have {len(shares)} shares; give one for each")
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        parser.error(f"the shares {shares} have to be 0 to 1 and to sum to 1")
    if given.output.suffix != ".safetensors":
        parser.error(f"{given.output} has to end in .safetensors")
    if given.output.resolve() in {path.resolve() for path in given.weights}:
        parser.error(f"{given.output} is one of the weights; choose another output")
    try:
        mean = _average(given.model, given.weights, shares, refined=given.refiner is None)
        if given.refiner is not None:
            mean.refiner = _refiner_of(given.refiner, given.model)
        save_weights(mean, given.output, half=True)
    except LiteStereoError as error:
        parser.error(f"{error} (network: {given.model})")


def _average(
    model: str, weights: list[Path], shares: list[float], *, refined: bool
) -> StereoNetwork:
    """Return the mean, with that of their refiners if `refined`."""
    mean, one = create(model), create(model)
    load_weights(mean, weights[0])
    if not refined:
        mean.refiner = None
    total = mean.state_dict()  # in the network's own memory
    for number, (share, path) in enumerate(zip(shares, weights, strict=True)):
        load_weights(one, path)
        if refined and (one.refiner is None) != (mean.refiner is None):
            raise InputError(
                f"only one of {weights[0]} and {path} has a refiner; average alike ones, or give "
                "the refiner with --refiner"
            )
        given = one.state_dict()
        for name in total:
            values = given[name]
            if values.is_floating_point():
                total[name].mul_(number > 0).add_(values, alpha=share)
            else:  # how many batches a norm has seen
                total[name].copy_(values)
    return mean


def _refiner_of(text: str, model: str) -> Refiner:
    """Return the refiner of `FILE` of the same network, `MODEL=FILE`, or a bundled model."""
    name, _, file = text.rpartition("=")
    if not name:
        name = file if file in bundled_models() else model
    network = create(name)
    load_weights(network, named_file(Path(file)))
    if network.refiner is None:
        raise InputError(f"{file} has no refiner; give a file that has one")
    return network.refiner


if __name__ == "__main__":
    main()
