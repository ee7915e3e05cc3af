import os

import cv2
import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.disparity_io import (
    read_pfm,
    read_png16,
    write_npy,
    write_pfm,
    write_picture,
    write_png16,
)
from litestereo.runtime.files import write_atomic


@pytest.fixture
def disparity(rng):
    return (rng.random((33, 47)) * 190).astype(np.float32)


def test_png16_is_kittis(tmp_path):
    values = np.array([[0, 0.001, 1, 1.0019, 1.002, 255.99, 256]], np.float32)
    stored = cv2.imread(str(write_png16(tmp_path / "a.png", values)), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[1, 1, 256, 256, 257, 65533, 0]]


def test_png16_answers_are_never_zero_and_holes_always_are(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, -1, 0]], np.float32)
    stored = cv2.imread(str(write_png16(tmp_path / "a.png", values)), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == [[0, 0, 0, 0, 1]]
    assert np.isnan(read_png16(tmp_path / "a.png")).tolist() == [[True] * 4 + [False]]


def test_png16_comes_back_within_its_step(tmp_path, disparity):
    back = read_png16(write_png16(tmp_path / "a.png", disparity))
    assert back.dtype == np.float32
    assert abs(back - disparity.clip(1 / 256)).max() <= 1 / 512 + 1e-6


def test_pfm_comes_back_exactly(tmp_path, disparity):
    disparity[3, 4] = np.nan
    np.testing.assert_array_equal(read_pfm(write_pfm(tmp_path / "a.pfm", disparity)), disparity)


def test_pfm_is_little_endian_and_bottom_up(tmp_path):
    content = write_pfm(tmp_path / "a.pfm", np.array([[1, 2], [3, 4]], np.float32)).read_bytes()
    assert content == b"Pf\n2 2\n-1.0\n" + np.array([3, 4, 1, 2], "<f4").tobytes()


def test_pfm_of_other_writers_is_read(tmp_path):
    # Big endian, a scale whose digit also starts the width, values that begin like white space.
    values = np.array([[0, 0], [0, 0]], ">f4")
    values.view(np.uint8)[...] = 0x20
    (tmp_path / "a.pfm").write_bytes(b"Pf 2 2\r1 " + values.tobytes())
    np.testing.assert_array_equal(read_pfm(tmp_path / "a.pfm"), values.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PF\n1 1\n-1\n" + bytes(12), "no grey PFM"),
        (b"P5 1 1 255 a", "no grey PFM"),
        (b"", "no grey PFM"),
        (b"Pf\n2 2\n-1.0\n" + bytes(15), "15 bytes of values; 2x2 needs 16"),
        (b"Pf\n0 2\n-1.0\n", "damaged"),
    ],
)
def test_a_damaged_pfm_is_refused(tmp_path, content, message):
    (tmp_path / "a.pfm").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pfm(tmp_path / "a.pfm")


def test_other_files_are_no_png16(tmp_path):
    write_picture(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(InputError, match="need a 16-bit grey PNG"):
        read_png16(tmp_path / "a.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_png16(tmp_path / "empty.png")
    with pytest.raises(InputError, match="cannot read"):
        read_png16(tmp_path / "nothing.png")


def test_npy_comes_back_exactly(tmp_path, disparity):
    np.testing.assert_array_equal(np.load(write_npy(tmp_path / "a.npy", disparity)), disparity)


def test_pictures_keep_their_colours(tmp_path, rng):
    image = rng.integers(0, 256, (9, 11, 3), np.uint8)
    stored = cv2.imread(str(write_picture(tmp_path / "a.png", image)))
    np.testing.assert_array_equal(stored[..., ::-1], image)


def test_writing_makes_folders_and_leaves_nothing_else(tmp_path):
    write_atomic(tmp_path / "deep" / "er" / "a.bin", b"1")
    write_atomic(tmp_path / "deep" / "er" / "a.bin", b"2")
    assert os.listdir(tmp_path / "deep" / "er") == ["a.bin"]
    assert (tmp_path / "deep" / "er" / "a.bin").read_bytes() == b"2"


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "a.bin", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*a\.bin: No space left"):
        write_atomic(path, b"new")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / "file" / "a.bin", b"")
