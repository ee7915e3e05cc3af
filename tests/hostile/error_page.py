"""The page docs/errors.md, made from the exception tree.

python tests/hostile/error_page.py     writes it anew
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from litestereo import errors

__all__ = ["PAGE", "error_page"]

PAGE = Path(__file__).resolve().parents[2] / "docs/errors.md"
_HEAD = """\
# Errors

Whatever litestereo raises on purpose is one of these; `LiteStereoError` catches them all. Commands
print the message as one line and leave with status 1 (2: a wrong use of the command); `--debug`
shows where it came from. A message says what came, what is needed and what to do.

| error | what it means | cause | fix |
|---|---|---|---|
"""


def error_page() -> str:
    """Return the page, a row for each error below the base.

    Raises:
        ValueError: a docstring has no cause or no fix.
    """
    return _HEAD + "".join(map(_row, sorted(set(errors.__all__) - {"LiteStereoError"})))


def _row(name: str) -> str:
    text = " ".join(inspect.getdoc(getattr(errors, name)).split())
    parts = re.fullmatch(r"(.+?) Cause: (.+?) Fix: (.+)", text)
    if parts is None:
        raise ValueError(f"{name} needs 'Cause:' and 'Fix:' in its docstring")
    return f"| `{name}` | {' | '.join(_sentence(part) for part in parts.groups())} |\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    PAGE.write_text(error_page())
