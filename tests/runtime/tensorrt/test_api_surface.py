"""The names that we use exist in the real bindings, and the lists of them are complete."""

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from api_surface import BUILDER, NEWER_THAN_8, OBJECTS, PLUGIN, RUNTIME, WEAK_TYPING
from trt_wheels import environment_of, is_there

import litestereo.runtime
from litestereo.runtime.tensorrt.builder import _CONVOLUTIONS, _UNPINNED
from litestereo.runtime.tensorrt.session import TENSORS

FOLDER = Path(litestereo.runtime.__file__).parent
BUILD_MODULES = ("builder.py", "progress.py", "attestation.py")


def used_names(*modules):
    """Return class -> attributes that the code takes from TensorRT's objects."""
    used = defaultdict(set)
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                owner, name = node.value, node.attr
            elif is_lookup(node):
                owner, name = node.args[0], node.args[1].value
            else:
                continue
            kind = OBJECTS.get(variable(owner))
            if kind is not None and not name.startswith("__"):
                used[kind].add(name)
    return used


def is_lookup(node):
    """Say whether a node is getattr or hasattr with a constant name."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr")
        and isinstance(node.args[1], ast.Constant)
    )


def variable(node):
    """Return the name that an object is called by: x, self._x or y.x."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name.lstrip("_") if name not in OBJECTS else name


def modules_of(build):
    paths = sorted((FOLDER / "tensorrt").glob("*.py"))
    return [path for path in paths if (path.name in BUILD_MODULES) == build]


def as_sets(table):
    return {kind: set(names) for kind, names in table.items()}


def test_the_runtimes_list_is_what_the_code_uses():
    used = used_names(*modules_of(build=False))
    # Names that the code takes from tables.
    used["DataType"] |= {kind for *_, kind in TENSORS}
    assert dict(used) == as_sets(RUNTIME)


def test_the_plugins_list_is_what_the_code_uses():
    assert dict(used_names(*(FOLDER / "tensorrt" / "plugin").glob("*.py"))) == as_sets(PLUGIN)


def test_the_builders_list_is_what_the_code_uses():
    used = used_names(*modules_of(build=True))
    used["LayerType"] |= {*_UNPINNED, *_CONVOLUTIONS}
    used["NetworkDefinitionCreationFlag"] |= {"EXPLICIT_BATCH", "STRONGLY_TYPED"}
    used["BuilderFlag"] |= {"OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
    used["HardwareCompatibilityLevel"] |= {"AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"}
    assert dict(used) == as_sets(BUILDER)


def test_a_new_use_would_show(tmp_path):
    code = tmp_path / "new.py"
    code.write_text("def f(config, self):\n    config.int8_calibrator = self._context.shapes\n")
    assert used_names(code) == {
        "IBuilderConfig": {"int8_calibrator"},
        "IExecutionContext": {"shapes"},
    }


def missing(name, module, wanted):
    """Ask a program that imports the real module which of the names it lacks."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("missing_names.py"), module],
        input=json.dumps({kind: sorted(names) for kind, names in wanted.items()}),
        env=environment_of(name, module=module),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def without(table, *others):
    """Return a table less what the others list."""
    left = {
        kind: names.difference(*(other.get(kind, ()) for other in others))
        for kind, names in table.items()
    }
    return {kind: names for kind, names in left.items() if names}


@pytest.mark.parametrize("version", ["10.16", "11.4"])
def test_the_lean_runtime_has_all_that_running_takes(version):
    answer = missing(f"lean-{version}", "tensorrt_lean_bindings", RUNTIME)
    assert answer["version"].startswith(version)
    assert answer["missing"] == []


def test_tensorrt_rtx_has_all_that_building_takes():
    answer = missing("rtx", "tensorrt_rtx", without(BUILDER, WEAK_TYPING))
    assert answer["missing"] == []
    weak = missing("rtx", "tensorrt_rtx", WEAK_TYPING)["missing"]
    assert len(weak) == sum(len(names) for names in WEAK_TYPING.values()), "11 has none of it"


@pytest.mark.skipif(not is_there("tensorrt"), reason="TensorRT is not installed")
def test_the_installed_tensorrt_has_all_we_use():
    answer = missing("installed", "tensorrt", RUNTIME)
    old = answer["version"].startswith("8.")
    building = without(BUILDER, NEWER_THAN_8 if old else WEAK_TYPING)
    assert answer["missing"] == missing("installed", "tensorrt", building)["missing"] == []


def test_folders_of_tests_do_not_pass_for_packages(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    assert not is_there("cuda")
    assert is_there("pytest")
    assert not is_there("no_such_package.module")


def test_cuda_bindings_has_all_we_use():
    tree = ast.parse((FOLDER / "cuda" / "bindings_device.py").read_text())
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "cu"
    }
    assert len(names) > 20
    answer = missing("cuda-bindings", "cuda.bindings.driver", {"": names})
    assert answer["missing"] == []
