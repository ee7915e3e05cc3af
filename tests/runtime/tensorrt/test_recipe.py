"""The digest of what builds engines: another for other engines, the same for other words."""

import ast
from pathlib import Path

import pytest

from litestereo._version import __version__
from litestereo.runtime.tensorrt import recipe as module
from litestereo.runtime.tensorrt.recipe import SOURCES, digest_of, recipe

PACKAGE = Path(module.__file__).parents[2]
FOLDER = "runtime/tensorrt"
CODE = '''
"""A module."""
LAYERS = ("CAST", "SHAPE")


def build(config: Config, level: int = 3) -> None:
    """Set it up."""
    if level > 5:
        raise ValueError(f"level is {level}")
    config.level = level
    config.name = f"level {level:>3} {{}}" "!"
'''
# Of what the builder reads. Options and sizes are in the cache's key as values, compiled plugins by
# their digest; the rest reads bytes, waits, or tells.
DECIDES_NOTHING = {
    "runtime/reach.py",
    "errors.py",
    "runtime/cuda/__init__.py",
    "runtime/cuda/api.py",
    "runtime/cuda/driver.py",
    "runtime/manifest.py",
    "runtime/protobuf.py",
    "runtime/reading.py",
    f"{FOLDER}/library.py",
    f"{FOLDER}/options.py",
    f"{FOLDER}/plugin/library.py",
    f"{FOLDER}/progress.py",
}


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("A module.", "A module of ours."),
        ("Set it up.", "Prepare."),
        ("level is {level}", "level must be at most 5"),
        (": int = 3) -> None:", "=3):  # quick enough"),
        ('("CAST", "SHAPE")', '(\n    "CAST",\n    "SHAPE",\n)'),
    ],
)
def test_words_and_layout_build_nothing_anew(was, now):
    assert was in CODE
    assert digest_of([CODE.replace(was, now)]) == digest_of([CODE])


@pytest.mark.parametrize(
    ("was", "now"),
    [("SHAPE", "IDENTITY"), ("= 3", "= 4"), ("level > 5", "level >= 5"), (".level =", ".limit =")],
)
def test_what_builds_otherwise_builds_anew(was, now):
    assert was in CODE
    assert digest_of([CODE.replace(was, now)]) != digest_of([CODE])


def test_every_python_says_the_same():
    """Measured with Python 3.10 to 3.13: engines outlive an environment."""
    assert digest_of([CODE]) == "7ac81df45ba2"


def test_whatever_the_builder_reads_is_in_it():
    found, waiting = set(), [f"{FOLDER}/builder.py"]
    while waiting:
        found.add(file := waiting.pop())
        waiting += set(imported(PACKAGE / file)) - found
    assert found == {f"{FOLDER}/{name}" for name in SOURCES} | DECIDES_NOTHING


def imported(file):
    """Return the files of ours that a module imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("litestereo."):
            path = PACKAGE.parent / node.module.replace(".", "/")
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            yield str(path.relative_to(PACKAGE))


def test_without_sources_it_is_the_packages_version(monkeypatch):
    assert len(recipe()) == 12
    monkeypatch.setattr(module, "SOURCES", ("absent.py",))
    assert recipe.__wrapped__() == __version__
