"""What the training scripts of `benchmarks` refuse before their work, each in one line."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch

from litestereo.errors import InputError
from litestereo.training.scenes.stream import Batch
from litestereo.training.stages import make_run


@pytest.fixture
def script(monkeypatch):
    """Return a script of `benchmarks` by its name and command line."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")

    def ready(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        return importlib.import_module(name)

    return ready


def test_our_errors_are_one_line(script):
    needs = script("needs")
    with pytest.raises(SystemExit) as left, needs.one_line_errors():
        raise InputError("first\nsecond")
    assert left.value.code == "needs.py: error: first second"


def test_agreement_tells_folders_apart_and_asks_for_its_output_first(script, tmp_path, capsys):
    folders = [tmp_path / day / "rig" for day in ("one", "two")]
    with pytest.raises(SystemExit):
        script("agreement", *folders, "--model", "las1", "-o", tmp_path / "a.json").main()
    assert "two folders have one name" in capsys.readouterr().err
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "a.json"
    with pytest.raises(InputError, match="cannot write"):
        script("agreement", folders[0], "--model", "las1", "-o", output).main()


def test_a_contact_sheet_goes_into_a_new_folder_and_has_a_pictures_name(
    script, tmp_path, capsys, monkeypatch
):
    with pytest.raises(SystemExit):
        script("contact_sheet", tmp_path / "sheet.txt").main()
    assert "is no name of a picture" in capsys.readouterr().err
    output = tmp_path / "new" / "sheet.jpg"
    module = script("contact_sheet", output, "--count", "3")
    picture, map_px = torch.zeros(6, 3, 8, 16), torch.ones(6, 1, 8, 16)
    stream = SimpleNamespace(next=lambda: Batch(picture, picture, map_px, map_px > 0))
    monkeypatch.setattr(module, "load_atlas", lambda *_, **__: None)
    monkeypatch.setattr(module, "SceneStream", lambda *_, **__: stream)
    module.main()
    assert cv2.imread(str(output)).shape == (8, 96, 3)


def test_overfit_begins_anew_whatever_lies_around(script, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "state.pt").write_bytes(b"of another run")
    module = script("overfit", "--steps", "1")

    class Made(Exception):
        pass

    def made(options):
        make_run(options)
        raise Made

    monkeypatch.setattr(module, "make_run", made)
    with pytest.raises(Made):
        module.main()


def test_a_refiner_is_refused_what_it_cannot_train_on_or_write(script, tmp_path, capsys):
    pool = tmp_path / "pool.pt"
    torch.save({"left": torch.zeros(20, 3, 1, 1)}, pool)
    train = ("train", pool, "--model", "las1", "-o")
    with pytest.raises(SystemExit):
        script("refiner_on_cpu", *train, tmp_path / "w.pt").main()
    assert "w.pt has to end in .safetensors" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"pool\.pt has 20 pairs; need more than 20"):
        script("refiner_on_cpu", *train, tmp_path / "w.safetensors").main()
    render = ("render", "--textures", tmp_path, "--seed", "1", "--pairs", "3", "-o", pool)
    with pytest.raises(InputError, match="has 3 pairs; need more than 20"):
        script("refiner_on_cpu", *render).main()
