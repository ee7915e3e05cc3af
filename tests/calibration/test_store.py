"""A set on disk: what it refuses to be."""

import json
import shutil

import cv2
import numpy as np
import pytest

from litestereo.calibration.frames import network_pair, require_fitting
from litestereo.calibration.store import load_set
from litestereo.errors import CalibrationError


@pytest.fixture
def copied(calibration, tmp_path):
    return shutil.copytree(calibration.folder, tmp_path / "copy")


def change(folder, **changes):
    path = folder / "set.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_loads_as_it_was_made(calibration):
    loaded = load_set(calibration.folder)
    assert loaded.pairs == calibration.pairs
    assert loaded.sha256 == calibration.sha256


def test_a_changed_picture_is_found(copied):
    loaded = load_set(copied)
    file = copied / f"{loaded.pairs[0].file}_left.png"
    picture = cv2.imread(str(file))
    picture[0, 0, 0] ^= 1
    cv2.imwrite(str(file), picture)
    with pytest.raises(CalibrationError, match="its hash differs"):
        loaded.read(loaded.pairs[0])
    file.unlink()
    with pytest.raises(CalibrationError, match="damaged"):
        loaded.read(loaded.pairs[0])


def test_a_changed_list_is_found(copied):
    pairs = json.loads((copied / "set.json").read_text())["pairs"]
    change(copied, pairs=[{**pair, "held_out": False} for pair in pairs])
    with pytest.raises(CalibrationError, match="was changed"):
        load_set(copied)


def test_what_is_no_set_is_refused(copied, tmp_path):
    with pytest.raises(CalibrationError, match="no calibration set"):
        load_set(tmp_path / "nowhere")
    change(copied, format_version=9)
    with pytest.raises(CalibrationError, match="format 9"):
        load_set(copied)
    (copied / "set.json").write_text("{}")
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_set(copied)


def test_pairs_much_smaller_than_the_artefact_are_refused(calibration):
    require_fitting(calibration.pairs, size=(64, 128))
    require_fitting(calibration.pairs, size=None)
    with pytest.raises(CalibrationError, match=r"fill 2% of 384x1248 .*64x128"):
        require_fitting(calibration.pairs, size=(384, 1248))


def test_a_network_pair_is_scaled_down_and_never_up(calibration):
    stored = calibration.pairs[0]
    pair = calibration.read(stored)
    larger = network_pair(pair, name="a", size=(96, 160))
    assert larger.left.shape == (96, 160, 3)
    assert larger.frame.scaled_size == (64, 128)
    smaller = network_pair(pair, name="a", size=(32, 64))
    assert smaller.frame.scaled_size == (32, 64)
    inside = larger.frame.cropped(larger.left[..., 0].astype(np.float32))
    assert np.array_equal(inside, pair.left[..., 0])
