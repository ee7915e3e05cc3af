"""What makes a run this one and no other, so that its folder is not gone on with by mistake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from litestereo.benchmarks.scenes import Scene
from litestereo.training.options import TrainOptions

__all__ = ["differences", "identity_of"]

# Not the length of the schedule, rates, batch, clocks and compilers: sittings may differ in these.
_DECIDING = (
    *("stage", "model", "seed", "height", "width", "textures", "texture_size", "samples"),
    *("max_disparity_px", "truth_weight", "feature_weight", "edge_weight"),
    *("optimizer", "perturb", "distribution_weight", "robust_px", "refiner"),
)
# What runs had before they could tell.
_ONCE = {
    "edge_weight": 1.0,
    "optimizer": "adamw",
    "perturb": False,
    "distribution_weight": 0.0,
    "robust_px": 0.0,
    "refiner": None,
}
_SHOWN = 12


def identity_of(options: TrainOptions, pairs: Sequence[Scene]) -> dict[str, object]:
    """Return what has to stay over all sittings of a run, as plain values by name.

    Files count by their content and pairs by their names, so that both may be moved.

    Args:
        options: of the run.
        pairs: the real ones that are trained on; none for rendered scenes.
    """
    plain = options.to_dict()
    keys = "\n".join(sorted(scene.key for scene in pairs))
    return {
        **{name: plain[name] for name in _DECIDING},
        "weights": _told(options.weights),
        "teacher": _told(options.teacher),
        "pairs": f"{len(pairs)} pairs {_short(keys.encode())}" if pairs else None,
    }


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """Return what differs, in words; empty if nothing does. What `old` does not tell is not judged.

    Args:
        old: as `identity_of` gave it in an earlier sitting.
        new: in this one.
    """
    old = {**_ONCE, **old}
    return ", ".join(
        f"{name} was {old[name]} and is now {value}"
        for name, value in new.items()
        if name in old and old[name] != value
    )


def _told(file: Path | str | None) -> str | None:
    """Return the hash of a file, of NAME=WEIGHTS that of the weights; else the text itself."""
    if file is None:
        return None
    path = Path(str(file).rpartition("=")[2])
    return _short(path.read_bytes()) if path.is_file() else str(file)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_SHOWN]
