"""Write the mean of several checkpoints of one network.

    python benchmarks/average_weights.py A.safetensors B.safetensors -o mean.safetensors

Of runs that began at the same weights the mean may be better than each ("model soups", arXiv
2203.05482). Statistics of norms are averaged like weights. Score it before it is used:
`stereo-eval DATA --model las1 --weights mean.safetensors --backend torch`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needs import leave_without

if __name__ == "__main__":
    leave_without("torch", "safetensors", extra="train", opencv=False)

from litestereo.models import create, load_weights, save_weights


def main() -> None:
    """Average, and write matrices in half precision as training does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--share", type=float, nargs="+", help="of each; equal if not given")
    parser.add_argument("--model", default="las1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    shares = given.share or [1 / len(given.weights)] * len(given.weights)
    if len(shares) != len(given.weights) or abs(sum(shares) - 1) > 1e-6:
        parser.error(f"{len(given.weights)} weights need as many shares that sum to 1: {shares}")
    mean, one = create(given.model), create(given.model)
    total = mean.state_dict()  # in the network's own memory
    for number, (share, path) in enumerate(zip(shares, given.weights, strict=True)):
        load_weights(one, path)
        for name, values in one.state_dict().items():
            if values.is_floating_point():
                total[name].mul_(number > 0).add_(values, alpha=share)
            else:  # how many batches a norm has seen
                total[name].copy_(values)
    save_weights(mean, given.output, half=True)


if __name__ == "__main__":
    main()
