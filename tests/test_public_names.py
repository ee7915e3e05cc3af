"""Public names: `__all__` holds exactly those, and each says what it takes, gives and raises."""

import ast
import re
from pathlib import Path

import pytest

import litestereo
from litestereo import errors

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


def undocumented(node, *, owner=""):
    """Return what the docstrings of a function or class leave out of what its code shows."""
    if isinstance(node, ast.ClassDef):
        own = missing(node, fields(node), f"{owner}{node.name}")
        methods = [undocumented(each, owner=f"{node.name}.") for each in public_methods(node)]
        return [*own, *(words for each in methods for words in each)]
    arguments = node.args
    taken = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    taken += [each for each in (arguments.vararg, arguments.kwarg) if each]
    names = [each.arg for each in taken if each.arg not in ("self", "cls", "_")]
    text = ast.get_docstring(node) or ""
    told = named(text, "Raises")
    raised = own_raises(node) if "LiteStereoError" not in told else set()
    words = f"{owner}{node.name}"
    unsaid = [f"{words} does not say that it raises {each}" for each in sorted(raised - told)]
    return missing(node, names, words) + unsaid


def missing(node, names, words):
    text = ast.get_docstring(node) or ""
    if not text:
        return [f"{words} has no docstring"]
    told = named(text, "Args") | named(text, "Attributes")
    return [f"{words} does not document {name}" for name in names if name not in told]


def named(text, section):
    """Return the names before the colons of a section of a Google docstring."""
    found = re.search(rf"^{section}:\n((?: .*\n?|\n)+)", text, re.MULTILINE)
    heads = re.findall(r"^ {4}(\w[\w, ]*):", found[1], re.MULTILINE) if found else []
    return {name.strip() for head in heads for name in head.split(",")}


def fields(node):
    """Return the fields of a dataclass or named tuple."""
    marks = " ".join(map(ast.unparse, [*node.decorator_list, *node.bases]))
    if not re.search("dataclass|NamedTuple", marks):
        return []
    kept = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    return [each.target.id for each in kept if not each.target.id.startswith("_")]


def public_methods(node):
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    spoken = [m for m in methods if not any("overload" in ast.unparse(d) for d in m.decorator_list)]
    return [m for m in spoken if not m.name.startswith("_") or m.name in ("__init__", "__call__")]


def own_raises(node):
    """Return which of our errors a function's own body raises; functions inside it are others."""
    found, waiting = set(), list(node.body)
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.Raise) and each.exc is not None:
            found.add(ast.unparse(getattr(each.exc, "func", each.exc)))
        if not isinstance(each, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(each)
    return found & set(errors.__all__)


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
    source = """
def a(): pass
def b(x, *, y=1):
    '''Do.

    Args:
        x, z: numbers.
    '''
    def inner():
        raise ExportError('x')
    raise InputError('x')
def c():
    '''Do.

    Raises:
        LiteStereoError: always.
    '''
    raise InputError('x')
@dataclass(frozen=True)
class D:
    '''A thing.'''
    size: int
    def grown(self, by): pass
"""
    nodes = ast.parse(source).body
    assert [words for node in nodes for words in undocumented(node)] == [
        "a has no docstring",
        "b does not document y",
        "b does not say that it raises InputError",
        "D does not document size",
        "D.grown has no docstring",
    ]
