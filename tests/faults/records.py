"""Records of long campaigns: what was attacked, how often, what was found, what is left."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

__all__ = ["RESULTS", "ROOT", "Row", "write_record"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/hardening"
_PACKAGES = ("litestereo", "numpy", "torch", "onnx", "onnxruntime", "opencv-python-headless")


@dataclass(frozen=True)
class Row:
    """One attack of a campaign; a failure is found when it was seen, left when it is not fixed."""

    attack: str
    trials: int
    failures_found: int
    failures_left: int
    seconds: float
    test: str
    notes: str = ""


def write_record(path: Path, campaign: str, rows: list[Row]) -> None:
    """Write a record, with what it ran on."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    record = {
        "campaign": campaign,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit,
        "versions": versions,
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
