"""Compare engines with torch in FP32 on all prepared pairs: fidelity.py NAME@SIZE... (torch's).

NAME is an artefact's; its torch reference has the weights of the FP32 artefact of the same model,
and TF32 off. PROOF_TRUTH is the folder whose scenes have ground truth.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import artifact_of, save, say, size_of, work
from pictures import truths
from planes import plane_residual_px

from litestereo import models
from litestereo.benchmarks.metrics import score_regions
from litestereo.runtime.preprocess import Frame, disparity_from_padded

_SCORES = ("d1", "bad_0_5", "bad_1", "bad_2", "bad_3")
_LIMITS = {"mean_px": 0.02, "score_points": 0.05, "plane_rms_px": 0.01}


def torch_answers(model: str, size: str) -> np.ndarray:
    """Return torch's FP32 disparity and confidence of all pairs, (2, N, H, W); kept on disk."""
    path = work() / f"answers_torch_{model}_{size}.npy"
    if path.is_file():
        return np.load(path, mmap_mode="r")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = models.create(model)
    models.load_weights(network, artifact_of(model))
    network = network.eval().to(device)
    pairs = np.load(work() / f"pairs_{size}.npy", mmap_mode="r")
    answers = np.empty((2, len(pairs), *size_of(size)), np.float32)
    with torch.inference_mode():
        for index, pair in enumerate(pairs):
            both = torch.from_numpy(np.array(pair)).to(device).permute(0, 3, 1, 2).float()
            for kind, answer in enumerate(network(both[:1].contiguous(), both[1:].contiguous())):
                answers[kind, index] = answer[0, 0].cpu().numpy()
    say(f"torch {model}@{size}: {len(pairs)} pairs on {device}")
    np.save(path, answers)
    return answers


def compared(engine: str) -> dict[str, Any]:
    """Return how far an engine is from torch: differences, scores, planes, and the verdicts."""
    name, size = engine.split("@")
    model = name.removesuffix(".plugin").removesuffix("_fp16")
    listed = json.loads((work() / f"pairs_{size}.json").read_text())
    answers = np.load(work() / f"answers_{name}_{size}.npy", mmap_mode="r")
    reference = torch_answers(model, size)
    scenes = truths(Path(os.environ["PROOF_TRUTH"]))
    pairs, planes = [], []
    for index, entry in enumerate(listed):
        ours, theirs = answers[0, index], reference[0, index]
        if "plane" in entry:
            planes.append(_plane(entry, ours, theirs, size_of(size)))
            continue
        frame = Frame(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in entry["frame"].items()}
        )
        pairs.append({"pair": entry["name"], **_difference(ours, theirs, frame)})
        confidence = np.abs(answers[1, index] - reference[1, index])
        pairs[-1]["confidence_mean"] = round(float(confidence.mean()), 6)
        if entry["name"] in scenes:
            pairs[-1]["points"] = _points(scenes[entry["name"]], ours, theirs, frame)
    return {"engine": engine, **_verdict(pairs, planes), "pairs": pairs, "planes": planes}


def _difference(ours, theirs, frame) -> dict[str, float]:
    """Return the differences inside the picture, in pixels of what the network saw."""
    difference = np.abs(frame.cropped(ours) - frame.cropped(theirs))
    return {
        "mean_px": round(float(difference.mean()), 6),
        "p99_px": round(float(np.percentile(difference, 99)), 4),
        "max_px": round(float(difference.max()), 4),
    }


def _points(scene, ours, theirs, frame) -> dict[str, list[float]]:
    """Return score -> [torch's, the engine's] in percent, over all known pixels."""
    truth = scene.load_truth()
    found: dict[str, list[float]] = {}
    for answer in (theirs, ours):
        disparity_px = disparity_from_padded(np.array(answer), frame)
        np.maximum(disparity_px, 0, out=disparity_px)
        scores = score_regions(disparity_px, truth.disparity_px, visible=truth.visible)["all"]
        for score in _SCORES:
            found.setdefault(score, []).append(round(float(getattr(scores, score)), 4))
    return found


def _plane(entry, ours, theirs, size) -> dict[str, Any]:
    kinds = {"engine": ours, "torch": theirs}
    residuals = {k: plane_residual_px(v, entry["plane"], size=size) for k, v in kinds.items()}
    return {"plane": entry["name"], **residuals}


def _verdict(pairs, planes) -> dict[str, Any]:
    """Return the figures that the limits are for: means over pairs, each change of a score."""
    scored = [pair["points"] for pair in pairs if "points" in pair]
    change = {
        score: round(float(np.mean([p[score][1] - p[score][0] for p in scored])), 4)
        for score in _SCORES
        if scored
    }
    fitted = [p for p in planes if p["engine"] and p["torch"]]
    worse = [p["engine"]["rms_px"] - p["torch"]["rms_px"] for p in fitted]
    means = [pair["mean_px"] for pair in pairs]
    figures = {
        "pairs_compared": len(pairs),
        "mean_px": round(float(np.mean(means)), 6),
        "worst_pair_mean_px": max(means),
        "max_px": max(pair["max_px"] for pair in pairs),
        "scored": len(scored),
        "score_change_points": change,
        "planes_fitted": len(fitted),
        "plane_rms_worse_px": [round(w, 5) for w in worse],
    }
    held = {
        "mean_px": figures["mean_px"] <= _LIMITS["mean_px"],
        "score_points": bool(change) and max(map(abs, change.values())) <= _LIMITS["score_points"],
        "plane_rms_px": bool(worse) and max(worse) <= _LIMITS["plane_rms_px"],
    }
    return {"figures": figures, "limits": _LIMITS, "held": held}


def main(*engines: str) -> int:
    """Compare all; return how many limits are not held."""
    results = [compared(engine) for engine in engines]
    for result in results:
        say(f"{result['engine']}: {result['figures']} held: {result['held']}")
    save("fidelity", {"engines": results})
    return sum(not held for result in results for held in result["held"].values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
