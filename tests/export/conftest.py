"""Networks with known weights, their graphs and a pair to judge them on, made once a run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
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
        model.refiner = None  # the reference weights have none
    return model.eval()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Any]], Any]:
    """Return a function that makes what has a name, once for all processes of a test run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each process has a folder of its own in the run's

    def made(name: str, make: Callable[[], Any]) -> Any:
        file = folder / f"{name}.made"
        with FileLock(f"{file}.lock"):
            if not file.is_file():
                file.write_bytes(pickle.dumps(make()))
            return pickle.loads(file.read_bytes())

    return made


@pytest.fixture(scope="session")
def exported(made_once: Callable[[str, Callable[[], Any]], Any]) -> Callable[[str], Exported]:
    """Return a function that exports a model to FP32, once a run."""

    @cache
    def export(name: str) -> Exported:
        height, width = SIZE if name in FIXED else (None, None)
        options = ExportOptions(model=name, height=height, width=width)
        model = network(name)
        graph = made_once(f"{name}_fp32", lambda: fp32_graph(model, options=options))
        return Exported(model, options, graph)

    return export


@pytest.fixture(scope="session")
def pair() -> Pair:
    """Return the pair of the reference vectors, or a textured plane at 6 px without them."""
    if (REFERENCE / "vectors_las1.npz").is_file():
        vectors = golden_vectors("las1")
        pictures = [vectors[side][0].transpose(1, 2, 0) for side in ("left", "right")]
    else:
        height, width = SIZE
        noise = np.random.default_rng(3).integers(0, 256, (height // 4 + 2, width // 4 + 6, 3))
        texture = cv2.resize(noise.astype(np.uint8), (width + 24, height + 8))
        texture = texture[4:-4, 4:-4]  # the outer half of the noise's cells is of one colour
        pictures = [texture[:, :width], texture[:, 6 : 6 + width]]
    left, right = (np.ascontiguousarray(picture, dtype=np.uint8) for picture in pictures)
    return Pair("reference", left, right)


@pytest.fixture(scope="session")
def halved(
    exported: Callable[[str], Exported],
    pair: Pair,
    made_once: Callable[[str, Callable[[], Any]], Any],
) -> Callable[[str], HalfGraph]:
    """Return a function that makes the typed FP16 graph of a model, once a run."""

    @cache
    def halve(name: str) -> HalfGraph:
        graph = exported(name).graph
        half: HalfGraph = made_once(f"{name}_fp16", lambda: fp16_graph(graph, pairs=[pair]))
        return half

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
