"""What the README shows, works."""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

import pytest

from litestereo.assets import bundled_models, demo_pair

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch, capsys):
    if "las1" not in bundled_models():
        pytest.skip("the package has no weights of las1")
    for side, path in zip(("left", "right"), demo_pair(), strict=True):
        shutil.copy(path, tmp_path / f"{side}.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "(480, 640)" in capsys.readouterr().out


def test_commands_exist():
    scripts = {e.name for e in distribution("litestereo").entry_points}
    named = set(re.findall(r"\bstereo-[a-z]+", README))
    assert named - scripts == set()


def test_local_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
