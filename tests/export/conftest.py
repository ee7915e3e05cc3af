"""Networks with known weights, their graphs and a pair to judge them on, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from golden import REFERENCE, golden_state_dict, golden_vectors
from torch import nn

from litestereo.assets import bundled_artifact, bundled_models
from litestereo.export.half import HalfGraph
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import Pair
from litestereo.export.pipeline import fp16_graph, fp32_graph
from litestereo.models import create, load_weights, save_weights

# Pictures this small gain nothing from threads, which cost much where other work runs beside them.
torch.set_num_threads(1)

SIZE = (64, 128)
# Two models are exported at a fixed size only: their parts are those of las2_s, their graphs long.
FIXED = frozenset({"las2_m", "las2_l"})


@dataclass(frozen=True)
class Exported:
    """A network, what was asked for and the FP32 graph that came out."""

    model: nn.Module
    options: ExportOptions
    graph: onnx.ModelProto


def network(name: str) -> nn.Module:
    """Return a network in evaluation mode: reference weights, else bundled ones, else seeded.

    Seeded weights of las1 drive more tensors out of half's range than real ones do.
    """
    torch.manual_seed(0)
    model = create(name)
    if (REFERENCE / f"vectors_{name}.npz").is_file():
        model.load_state_dict(golden_state_dict(name))
    elif name in bundled_models():
        load_weights(model, bundled_artifact(name))
    return model.eval()


@pytest.fixture(scope="session")
def exported() -> Callable[[str], Exported]:
    """Return a function that exports a model to FP32, once a session."""
    made: dict[str, Exported] = {}

    def export(name: str) -> Exported:
        if name not in made:
            height, width = SIZE if name in FIXED else (None, None)
            options = ExportOptions(model=name, height=height, width=width)
            model = network(name)
            made[name] = Exported(model, options, fp32_graph(model, options=options))
        return made[name]

    return export


@pytest.fixture(scope="session")
def pair() -> Pair:
    """Return the pair of the reference vectors, or a textured plane at 6 px without them."""
    if (REFERENCE / "vectors_las1.npz").is_file():
        vectors = golden_vectors("las1")
        pictures = [vectors[side][0].transpose(1, 2, 0) for side in ("left", "right")]
    else:
        height, width = SIZE
        noise = np.random.default_rng(3).integers(0, 256, (height // 4, width // 4 + 4, 3))
        texture = cv2.resize(noise.astype(np.uint8), (width + 16, height))
        pictures = [texture[:, :width], texture[:, 6 : 6 + width]]
    left, right = (np.ascontiguousarray(picture, dtype=np.uint8) for picture in pictures)
    return Pair("reference", left, right)


@pytest.fixture(scope="session")
def halved(exported: Callable[[str], Exported], pair: Pair) -> Callable[[str], HalfGraph]:
    """Return a function that makes the typed FP16 graph of a model, once a session."""

    @cache
    def halve(name: str) -> HalfGraph:
        return fp16_graph(exported(name).graph, pairs=[pair])

    return halve


@pytest.fixture(scope="session")
def pair_files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the pair as two PNG files."""
    folder = tmp_path_factory.mktemp("pair")
    for name, picture in (("left", pair.left), ("right", pair.right)):
        cv2.imwrite(str(folder / f"{name}.png"), picture[:, :, ::-1])
    return folder / "left.png", folder / "right.png"


@pytest.fixture(scope="session")
def las1_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint file of las1."""
    path = tmp_path_factory.mktemp("weights") / "las1.safetensors"
    save_weights(network("las1"), path)
    return path
