"""Changes that keep a document's form, and so get past the parser."""

from __future__ import annotations

import json
import random
from typing import Any

__all__ = ["ODD_VALUES", "mutated_json"]

ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**63), 10**400, 1e308, -0.0),
    *(float("nan"), float("inf"), "", "x", "../../etc/passwd", "/etc/passwd", "\0", "\ud800"),
    *([], {}, [[]], [1, 2], {"a": 1}, "9" * 5000),
)


def mutated_json(content: bytes, seed: int) -> bytes | None:
    """Return JSON with one value replaced, removed or doubled; None where it is no JSON."""
    rng = random.Random(seed)
    try:
        tree = json.loads(content)
        places = list(_places(tree))
    except (ValueError, RecursionError):
        return None
    if not places:
        return json.dumps(rng.choice(ODD_VALUES)).encode()
    holder, key = rng.choice(places)
    what = rng.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.append(holder[key])
    elif what == 1:
        holder["unknown"] = holder[key]
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return json.dumps(tree).encode()


def _places(tree: Any):
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree) if type(tree) is list else 0)
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
