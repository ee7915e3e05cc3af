"""The pages of docs/reference, made from the docstrings of what `reference_topics` lists.

python tests/docs/reference_pages.py     writes them anew
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from reference_source import ROOT, Entry, entry_in, entry_of
from reference_topics import TOPICS, Topic

from litestereo.errors import __all__ as ERRORS

__all__ = ["PAGES", "reference_pages"]

PAGES = ROOT / "docs/reference"
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):\n((?: {4}.*\n?|\n)+)", re.M)


def reference_pages() -> dict[Path, str]:
    """Return the text of each page."""
    return {PAGES / f"{page}.md": _page(page, topic) for page, topic in TOPICS.items()}


def _page(page: str, topic: Topic) -> str:
    entries = [entry_of(*each) for each in topic.entries()]
    rows = ["| name | |", "|---|---|"]
    for entry in entries:
        line = " ".join(entry.doc.split("\n\n")[0].split()).replace("|", r"\|")
        rows.append(f"| [`{entry.name}`](#{_anchor(entry.name)}) | {_linked(line, entry, page)} |")
    imports = [f"from {module} import {', '.join(n.split())}" for module, n in topic.names]
    parts = [
        f"# {topic.title}",
        textwrap.fill(topic.purpose, 100),
        "\n".join(["```python", *imports, "```"]),
        "\n".join(rows),
        *(part for entry in entries for part in _section(entry, page, "##")),
    ]
    return "\n\n".join(parts) + "\n"


def _section(entry: Entry, page: str, level: str) -> list[str]:
    """Return the paragraphs of a name; of a class with its methods."""
    said = [f"{level} `{entry.name}`", f"```python\n{entry.code()}\n```", _types(entry, page)]
    inside = entry.members()
    docs = [entry.doc, inside["__init__"].doc] if "__init__" in inside else [entry.doc]
    for doc, begin in zip(docs, ("", f"`{entry.name}(...)`: "), strict=False):
        said.append(begin + _linked(_SECTION.sub("", doc).strip(), entry, page))
    parts = {head: textwrap.dedent(body) for doc in docs for head, body in _SECTION.findall(doc)}
    for head in ("Args", "Returns", "Raises", "Attributes"):
        if head == "Returns" and head in parts:
            said.append(f"Returns: {_linked(' '.join(parts[head].split()), entry, page)}")
        elif head in parts:
            items = [i.split(": ", 1) for i in re.split(r"\n(?=\S)", parts[head].strip())]
            names = [f"`{name.replace(', ', '`, `')}`" for name, _ in items]
            names = [_linked(n, entry, page) for n in names] if head == "Raises" else names
            said.append(_list(head, zip(names, [w for _, w in items], strict=True), entry, page))
    properties = {name: each for name, each in inside.items() if "property" in each.marks}
    if properties:
        # Each type by itself, so that it is linked.
        types = [" or ".join(f"`{t}`" for t in e.returns.split(" | ")) for e in properties.values()]
        names = [
            f"`{name}` ({_linked(kind, entry, page)})"
            for name, kind in zip(properties, types, strict=True)
        ]
        words = [each.doc for each in properties.values()]
        said.append(_list("Properties", zip(names, words, strict=True), entry, page))
    if "Example" in parts:
        code = parts["Example"].replace("  # doctest: +SKIP", "").strip()
        said.append(f"```{'pycon' if code.startswith('>>>') else 'python'}\n{code}\n```")
    methods = [e for name, e in inside.items() if e.doc and name not in ("__init__", *properties)]
    methods.sort(key=lambda e: ("classmethod" not in e.marks, not e.name.endswith("__call__")))
    more = [part for each in methods for part in _section(each, page, f"{level}#")]
    return [part for part in said if part] + more


def _list(head: str, items: Iterable[tuple[str, str]], entry: Entry, page: str) -> str:
    rows = [f"- {name}: {_linked(' '.join(words.split()), entry, page)}" for name, words in items]
    return f"{head}:\n\n" + "\n".join(rows)


def _types(entry: Entry, page: str) -> str:
    """Return what the names in the code are: links, and what aliases stand for."""
    if isinstance(entry.node, (ast.Assign, ast.AnnAssign)):
        return ""
    said = []
    for name in dict.fromkeys(re.findall(r"\b_?[A-Z]\w+", entry.code())):
        found = None if name in _places() else entry_in(entry.source, name)
        if name in _places() and _linked(f"`{name}`", entry, page) != f"`{name}`":
            said.append(_linked(f"`{name}`", entry, page))
        elif found and isinstance(found.node, ast.Assign):
            said.append(f"`{found.code()}`")
    return f"Names: {', '.join(said)}" if said else ""


@cache
def _places() -> dict[str, str]:
    """Return where each name is explained; fields and properties are at their class."""
    places = dict.fromkeys(ERRORS, "../errors.md")
    for page, topic in TOPICS.items():
        for entry in (entry_of(*each) for each in topic.entries()):
            if entry.name in places:
                raise ValueError(f"{entry.name} is listed twice")
            places[entry.name] = f"{page}.md#{_anchor(entry.name)}"
            for each in entry.members().values():
                own = isinstance(each.node, ast.FunctionDef) and "property" not in each.marks
                places[each.name] = f"{page}.md#{_anchor(each.name if own else entry.name)}"
    return places


def _anchor(name: str) -> str:
    """Return what GitHub makes of a heading."""
    return name.lower().replace(".", "")


def _linked(text: str, entry: Entry, page: str) -> str:
    """Return prose as Markdown, with links from the names in backticks."""
    owner = entry.name.split(".")[0]

    def link(found: re.Match[str]) -> str:
        name = re.sub(r"^litestereo\.(\w+\.)*", "", found[1])
        place = _places().get(f"{owner}.{name}") or _places().get(name)
        if place is None or place in (_places()[owner], _places()[entry.name]):
            return found[0]
        return f"[{found[0]}]({place.removeprefix(f'{page}.md')})"

    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"\*|<(?=[A-Za-z/])", r"\\\g<0>", part) for part in parts[::2]]
    return re.sub(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", link, "".join(parts))


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for path, text in reference_pages().items():
        path.write_text(text)
