"""Definitions of public names as the source has them: nothing is imported, so that signatures are
as written, whatever Python runs this.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Entry", "entry_in", "entry_of"]

ROOT = Path(__file__).resolve().parents[2]
_WIDTH = 96


@dataclass(frozen=True)
class Entry:
    """A name: how it is defined, in which source, and what is said of it."""

    name: str
    node: ast.AST
    source: str
    doc: str

    @property
    def marks(self) -> list[str]:
        """Its decorators."""
        return [ast.unparse(each) for each in getattr(self.node, "decorator_list", ())]

    @property
    def returns(self) -> str:
        """The type of what a function returns."""
        return self._text(self.node.returns)

    def members(self) -> dict[str, Entry]:
        """Return the fields and functions of a class that are not private, and its own calls."""
        found = {}
        for node in self.node.body if isinstance(self.node, ast.ClassDef) else ():
            name = getattr(node, "name", "") or _target(node)
            if name and (not name.startswith("_") or name in ("__init__", "__call__")):
                doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else ""
                found[name] = Entry(f"{self.name}.{name}", node, self.source, doc or "")
        return found

    def code(self) -> str:
        """Return how it is called, or what it is."""
        if isinstance(self.node, (ast.Assign, ast.AnnAssign)):
            written = self._text(self.node)
            return written.split(" = ")[0] if isinstance(self.node, ast.AnnAssign) else written
        shown = [m for m in self.marks if re.match("dataclass|classmethod|contextmanager", m)]
        before, short = "".join(f"@{m}\n" for m in shown), self.name.split(".")[-1]
        if isinstance(self.node, ast.FunctionDef):
            after = f" -> {self.returns}" if self.node.returns else ""
            return before + _wrapped(f"def {short}", self.parameters(), after)
        inside = self.members()
        if "__init__" in inside:
            return before + _wrapped(f"class {short}", inside["__init__"].parameters(), "")
        bases = ", ".join(map(self._text, self.node.bases))
        head = f"class {short}({bases})" if bases else f"class {short}"
        fields = [self._text(each.node) for each in inside.values() if _target(each.node)]
        return before + "\n    ".join([f"{head}:", *fields] if fields else [head])

    def parameters(self) -> list[str]:
        """Return the parameters of a function as they are written, less `self`."""
        taken = self.node.args
        given = [*taken.posonlyargs, *taken.args]
        plain = [None] * (len(given) - len(taken.defaults))
        shown = self._with_defaults(given, [*plain, *taken.defaults])
        star = f"*{self._text(taken.vararg)}" if taken.vararg else "*"
        shown += [star] if taken.vararg or taken.kwonlyargs else []
        shown += self._with_defaults(taken.kwonlyargs, taken.kw_defaults)
        return [each for each in shown if each not in ("self", "cls")]

    def _with_defaults(self, names: list[ast.arg], values: list[ast.AST | None]) -> list[str]:
        pairs = [(self._text(n), self._text(v)) for n, v in zip(names, values, strict=True)]
        return [f"{name} = {value}" if value else name for name, value in pairs]

    def _text(self, node: ast.AST | None) -> str:
        """Return a part of the definition in one line."""
        return " ".join((ast.get_source_segment(self.source, node) or "").split()) if node else ""


def _wrapped(head: str, taken: list[str], after: str) -> str:
    line = f"{head}({', '.join(taken)}){after}"
    lines = "".join(f"    {each},\n" for each in taken)
    return line if len(line) <= _WIDTH else f"{head}(\n{lines}){after}"


def entry_of(module: str, name: str) -> Entry:
    """Return what a module defines by that name, or imports from another of ours."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = entry_in(path.read_text(), name)
    if found is None:
        raise ValueError(f"{module} has no {name}")
    return found


@cache
def entry_in(source: str, name: str) -> Entry | None:
    """Return what a source defines by that name, or imports from ours; None if it does not."""
    body = _parsed(source).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if getattr(node, "name", "") == name:
            return Entry(name, node, source, ast.get_docstring(node) or "")
        if _target(node) == name:
            said = after.value.value if isinstance(after, ast.Expr) else ""
            return Entry(name, node, source, inspect.cleandoc(said))
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return entry_of(node.module, name) if node.module.startswith("litestereo") else None
    return None


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _target(node: ast.AST) -> str:
    """Return the name that a statement gives a value or a type; "" if it does not."""
    named = getattr(node, "target", None) or next(iter(getattr(node, "targets", ())), None)
    return getattr(named, "id", "")
