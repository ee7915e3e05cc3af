"""Export a network as the public code formulates it: the baseline that speed is compared with.

    python benchmarks/reference_graph.py las1 --size 384x1248 [--fp16] -o build/las1_reference.onnx

The same weights and the same answers as `stereo-export`, by another graph:

- the features of the two pictures are computed one after the other;
- the volume is five-dimensional: both maps at every disparity, multiplied, and averaged at the end;
- ConvNeXt's layers work on channels-last tensors between two permutations, its scale apart;
- the norms before LAS1's downsampling are spelled out: mean, variance, root;
- the convex upsampling unfolds the disparity's 3x3 neighbourhoods.

The picture comes in as ours does, as bytes on the camera's axes: either graph must turn it about.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from needs import leave_without

from litestereo.packages import EXPORT_PACKAGES

if __name__ == "__main__":
    leave_without(*EXPORT_PACKAGES, extra="export")

import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.latency.command import parse_size
from litestereo.export.artifact import make_manifest, sha256_of, with_manifest, write_artifact
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import gate_pairs
from litestereo.export.pipeline import fp16_graph, fp32_graph
from litestereo.export.simplify import simplify
from litestereo.models import convnext, create, las, load_weights
from litestereo.models.pyramid import Features
from litestereo.models.registry import DISPARITY_LEVELS

__all__ = ["PARTS", "formulated_as_published", "reference_graph"]


def reference_graph(model: nn.Module, *, options: ExportOptions) -> ModelProto:
    """Return the FP32 graph of `model` in the published formulation, simplified as ours are."""
    with formulated_as_published():
        return simplify(fp32_graph(model, options=options))


@contextmanager
def formulated_as_published(*parts: str) -> Iterator[None]:
    """Make the networks of `litestereo.models` compute as published meanwhile.

    Args:
        parts: of `PARTS`; none: all of them.
    """
    with ExitStack() as changed:
        for part in parts or PARTS:
            for owner, name, function in PARTS[part]:
                changed.enter_context(mock.patch.object(owner, name, function))
        yield


def _features_one_by_one(fnet: Any, left: Tensor, right: Tensor) -> tuple[Features, Features]:
    return fnet(left), fnet(right)


def _volume_5d(left: Tensor, right: Tensor, *, levels: int = DISPARITY_LEVELS) -> Tensor:
    """Return the correlation volume by way of (B, C, D, H, W)."""
    width = right.shape[3]
    padded = F.pad(right, (levels - 1, 0))
    shifted = [padded[..., levels - 1 - d : levels - 1 - d + width] for d in range(levels)]
    right_5d = torch.stack(shifted, dim=2)
    left_5d = left.unsqueeze(2).expand_as(right_5d)
    return (left_5d * right_5d).mean(dim=1)


def _upsample_by_unfolding(disparity_quarter: Tensor, mask_logits: Tensor) -> Tensor:
    """Return the full-size disparity; its 3x3 neighbourhoods come out of an unfold."""
    batch, _, height, width = disparity_quarter.shape
    unfolded = F.unfold(4.0 * disparity_quarter, 3, padding=1)
    neighbours = F.interpolate(
        unfolded.view(batch, 9, height, width), scale_factor=4.0, mode="nearest"
    )
    return (neighbours * torch.softmax(mask_logits, dim=1)).sum(dim=1, keepdim=True)


def _convnext_channels_last(self: convnext.ConvNeXtBlock, x: Tensor) -> Tensor:
    y = self.dwconv(x).permute(0, 2, 3, 1)
    y = F.layer_norm(y, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps)
    y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
    return x + y.permute(0, 3, 1, 2)


def _norm_spelled_out(self: convnext.ChannelNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    variance = centred.pow(2).mean(dim=1, keepdim=True)
    scaled = centred / torch.sqrt(variance + self.eps)
    return self.weight[:, None, None] * scaled + self.bias[:, None, None]


PARTS: dict[str, tuple[tuple[object, str, object], ...]] = {
    "eyes": ((las, "_features_of_pair", _features_one_by_one),),
    "volume": ((las, "correlation_volume", _volume_5d),),
    "upsampling": ((las, "convex_upsample", _upsample_by_unfolding),),
    "blocks": ((convnext.ConvNeXtBlock, "forward", _convnext_channels_last),),
    "norms": ((convnext.ChannelNorm, "forward", _norm_spelled_out),),
}
"""What the published formulation does otherwise, part by part."""


def main() -> None:
    """Write the artefact that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--size", type=parse_size, required=True)
    parser.add_argument("--weights", type=Path, help="else the bundled ones")
    parser.add_argument("--fp16", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    options = ExportOptions(
        model=given.model,
        height=given.size[0],
        width=given.size[1],
        precision="fp16" if given.fp16 else "fp32",
        weights_source="the published formulation, for comparison",
    )
    weights = given.weights or bundled_artifact(given.model)
    model = create(given.model)
    load_weights(model, weights)
    graph, precision_map = reference_graph(model.eval(), options=options), {}
    if given.fp16:
        half = fp16_graph(graph, pairs=gate_pairs(options))
        graph, precision_map = half.model, half.precision_map()
    manifest = make_manifest(
        options,
        weights=weights,
        weights_sha256=sha256_of(weights.read_bytes()),
        graph=graph,
        parity={},
        precision_map=precision_map,
    )
    print(write_artifact(with_manifest(graph, manifest), given.output))


if __name__ == "__main__":
    main()
