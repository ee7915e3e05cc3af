"""Public names: `__all__` holds exactly those, and each says what it takes, gives and raises."""

import ast
from pathlib import Path

import pytest

import litestereo

PACKAGE = Path(litestereo.__file__).parent
# Typer's commands are public by their command's name; the ops of half_run by their ONNX name.
OTHER_NAMES = ("commands/", "export/half_run.py")
SOURCES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


def parsed(name):
    return ast.parse(SOURCES[name].read_text())


def listed(tree):
    """Return `__all__` of a module; None where it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def defined(tree):
    return [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]


def undocumented(node):
    """Return what a function's docstring leaves out of what its own code shows."""
    text = ast.get_docstring(node) or ""
    if not text:
        return [f"{node.name} has no docstring"]
    if isinstance(node, ast.ClassDef):
        return []
    raised = {
        ast.unparse(r.exc.func)
        for r in ast.walk(node)
        if isinstance(r, ast.Raise) and isinstance(r.exc, ast.Call)
    }
    raised = {name for name in raised if name.endswith("Error")}
    return (
        [f"{node.name} does not say that it raises {raised}"]
        if raised and ("Raises:" not in text)
        else []
    )


@pytest.mark.parametrize("name", [n for n in SOURCES if not n.startswith(OTHER_NAMES)])
def test_all_holds_the_public_names(name):
    tree = parsed(name)
    public = {node.name for node in defined(tree) if not node.name.startswith("_")}
    assert public <= (listed(tree) or set())


@pytest.mark.parametrize("name", SOURCES)
def test_public_names_are_documented(name):
    tree = parsed(name)
    names = listed(tree) or set()
    nodes = [node for node in defined(tree) if node.name in names]
    assert [words for node in nodes for words in undocumented(node)] == []


def test_the_root_has_every_name_that_it_lists():
    for name in litestereo.__all__:
        assert getattr(litestereo, name).__doc__ or name == "__version__"


def test_the_check_can_fail():
    bare, silent = ast.parse("def a(): pass\ndef b():\n    'Do.'\n    raise InputError('x')").body
    assert undocumented(bare) == ["a has no docstring"]
    assert "InputError" in undocumented(silent)[0]
