"""The table of attacks in SECURITY.md, made from the record of the campaigns.

python tests/hostile/attack_table.py     writes it anew
"""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["PAGE", "with_table"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "SECURITY.md"
_RECORD = ROOT / "benchmarks/results/hardening/hostile-input.json"
_HEAD = (
    "| attack | trials | faults found | faults left | seconds | test |\n|---|--:|--:|--:|--:|---|\n"
)


def with_table(text: str) -> str:
    """Return the page with the record's rows, and their sum, between its marks."""
    rows = json.loads(_RECORD.read_text())["rows"]
    counts = ("trials", "failures_found", "failures_left", "seconds")
    total = {name: round(sum(row[name] for row in rows), 1) for name in counts}
    rows = [*rows, {**total, "attack": "all", "test": ""}]
    table = _HEAD + "".join(map(_line, rows))
    marked = f"<!-- attacks -->\n{table}<!-- end -->"
    return re.sub(r"<!-- attacks -->\n.*?<!-- end -->", lambda _: marked, text, flags=re.DOTALL)


def _line(row: dict) -> str:
    tests = ", ".join(f"[{Path(name).name}]({name})" for name in row["test"].split(", ") if name)
    counts = f"{row['trials']:,} | {row['failures_found']} | {row['failures_left']}"
    return f"| {row['attack']} | {counts} | {row['seconds']:,.0f} | {tests} |\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
