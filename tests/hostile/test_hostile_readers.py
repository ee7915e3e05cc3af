"""What comes from elsewhere is read or refused by one of our errors: never a crash, never code.

The long version, over a million executions guided by coverage, is tests/hostile/fuzz.py.
"""

import json
import struct
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import mutated_json
from readers import READERS, png_header

from litestereo.benchmarks.latency.tegrastats import parse_tegrastats
from litestereo.benchmarks.scenes import DisparityFile
from litestereo.calibration.store import load_set
from litestereo.errors import (
    CalibrationError,
    CheckpointError,
    EngineError,
    InputError,
    LiteStereoError,
    TrainingError,
)
from litestereo.runtime.disparity_io import read_pfm, read_png16
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.images import read_side_by_side
from litestereo.runtime.reading import json_from, read_file

SLOW = {"artefact in ONNX Runtime", "checkpoint .pth", "training state"}
FEW = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BOMB_SIZE = (31_623, 31_623)  # 10^9 pixels


def bearable(read, content):
    """Read, where an answer and our errors are welcome, and nothing else."""
    with suppress(LiteStereoError):
        read(content)


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_borne(name):
    for content in READERS[name].seeds():
        bearable(READERS[name].read, content)


@pytest.mark.parametrize("name", READERS)
@settings(FEW)
@given(data=st.data())
def test_damage_is_borne(name, data):
    """Bytes changed, cut out and put in; of JSON, whole values too."""
    reader = READERS[name]
    content = bytearray(data.draw(st.sampled_from(reader.seeds())))
    if data.draw(st.booleans()) and (other := mutated_json(content, data.draw(st.integers()))):
        bearable(reader.read, other)
        return
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 8))
        content[start:end] = data.draw(st.binary(max_size=8))
    cut = data.draw(st.integers(0, 2 * len(content)))
    bearable(reader.read, bytes(content[:cut]))


@pytest.mark.parametrize("name", sorted(READERS.keys() - SLOW))
@settings(FEW)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_anything_at_all_is_borne(name, content):
    bearable(READERS[name].read, content)


def _bmp(height, width):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(64)


def _tiff(height, width):
    fields = ((256, width), (257, height), (258, 8), (262, 1), (273, 8), (277, 1), (279, 8))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(64)


def _webp(height, width):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body + bytes(32)


BOMBS = {
    "png": png_header(*BOMB_SIZE),
    "png16": png_header(*BOMB_SIZE, depth=16),
    "bmp": _bmp(*BOMB_SIZE),
    "bmp from its top": _bmp(-BOMB_SIZE[0], BOMB_SIZE[1]),
    "tiff": _tiff(*BOMB_SIZE),
    "webp": _webp(*BOMB_SIZE),
    "ppm": b"P6\n# a comment\n31623 31623\n255\n" + bytes(64),
    "pgm of too many digits": b"P5\n99999999999999999999 1\n255\n" + bytes(64),
    "jpeg": b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(32) + b"\xff\xda\xff\xd9",
    "another format that OpenCV knows": b"#?RADIANCE\n\n-Y 31623 +X 31623\n" + bytes(64),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("read", [read_side_by_side, read_png16])
def test_picture_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch, kind, read):
    import cv2

    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append("ran"))
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[kind])
    with pytest.raises(InputError, match=r"megapixels are read|no picture that is read here"):
        read(path)
    assert decoded == []


@pytest.mark.parametrize(
    "header",
    [
        b"Pf\n31623 31623\n-1\n",
        b"Pf\n-3 2\n-1\n",
        b"Pf\n" + b"9" * 5000 + b" 1\n-1\n",
        b"Pf\n0 0\n-1\n",
    ],
)
def test_pfm_headers_are_believed_only_as_far_as_the_file_goes(tmp_path, header):
    path = tmp_path / "a.pfm"
    path.write_bytes(header + bytes(64))
    with pytest.raises(InputError):
        read_pfm(path)


def _npy(shape, descr="<f4"):
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(24)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        _npy((10**9, 10**9)),
        _npy((2**40,)),
        _npy((-1, -1)),
        _npy((2, 3), "|O"),
        _npy((2, 3), "<c8"),
        _npy((3,), [("a", "<f4"), ("b", "<f4")]),
        _npy((2, 3)).replace(b"'descr'", b"'descr\n"),
    ],
)
def test_numpy_headers_are_believed_only_as_far_as_the_file_goes(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError):
        DisparityFile(path).read()


def test_numbers_that_are_none_are_unknown(tmp_path):
    path = tmp_path / "a.npy"
    signalling, huge = b"\x01\x00\xa0\x7f", struct.pack("<f", 3e38)
    path.write_bytes(_npy((2, 1))[:-24] + signalling + huge)
    assert np.isnan(DisparityFile(path).read()[0, 0])
    path.write_bytes(_npy((2, 1), "<f8")[:-24] + struct.pack("<dd", 1e300, 2.0))
    np.testing.assert_array_equal(DisparityFile(path).read(), [[np.nan], [2.0]])


def test_an_npz_that_unpacks_to_gigabytes_is_left_packed(tmp_path, monkeypatch):
    from litestereo.benchmarks import scenes

    monkeypatch.setattr(scenes, "_NUMPY_MOST_BYTES", 2**20)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("disparity.npy", _npy((2**24,)) + bytes(2**26))
    tracemalloc.start()
    with pytest.raises(InputError, match="is no NPY of at most"):
        DisparityFile(path).read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_npz_members_are_read_by_name_and_go_nowhere(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.npy", _npy((2, 3)))
    assert DisparityFile(path).read().shape == (2, 3)
    assert [file.name for file in tmp_path.rglob("*")] == ["a.npz"]
    with pytest.raises(InputError):
        DisparityFile(path, key="other").read()


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
XML = '<?xml version="1.0"?>{}<opencv_storage><M1>{}</M1></opencv_storage>'


@pytest.mark.parametrize(
    "text",
    [
        XML.format(f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]>', "&a9;"),
        XML.format('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>', "&a;"),
        XML.format("", "<a>" * 5000 + "</a>" * 5000),
        XML.format("", "<a>" * 20 + "</a>" * 20),
    ],
    ids=["billion laughs", "external entity", "deep", "deeper than we read"],
)
def test_xml_that_grows_or_reads_files_is_refused(tmp_path, text):
    path = tmp_path / "stereo.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"DOCTYPE|nested|cannot be read"):
        read_calibration(path)


# Each took minutes or more, or left by RecursionError or OverflowError.
SLOW_TEXTS = {
    "empty lines": "x" + "\n" * 900_000,
    "blanks before a key": "a: 1\n" + " " * 900_000 + "b",
    "one key of blanks": "a" + " " * 900_000 + "b",
    "numbers in brackets": "a: [" + "1, " * 250_000 + "1]",
    "numbers over lines": "a: [\n" + "1,\n" * 250_000 + "1]",
    "open brackets": "a: " + "[" * 500_000,
    "a list in a list": "- " * 400_000,
    "open comments": "<a>" + "<!--" * 200_000,
    "an equation of blanks": "cam0=[" + " " * 900_000 + "\ncam1",
    "a projection of blanks": "P2: 1" + " \n" * 400_000 + "x",
    "minus signs": "-" * 900_000 + "x",
    "numbers": "1 " * 400_000 + "x",
    "sections": "[LEFT_CAM_VGA]\n" + "a = 1\n b\n" * 90_000,
}


@pytest.mark.parametrize("kind", SLOW_TEXTS)
def test_long_calibrations_are_refused_soon(tmp_path, kind):
    path = tmp_path / "calibration.yaml"
    path.write_text(SLOW_TEXTS[kind])
    started_s = time.process_time()
    with pytest.raises(InputError):
        read_calibration(path, size=(376, 672))
    assert time.process_time() - started_s < 3  # 1 s on a quiet machine


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e300", "9" * 5000, ".nan", "-.inf"])
def test_numbers_beyond_every_camera_are_refused(tmp_path, number):
    path = tmp_path / "camchain.yaml"
    text = READERS["calibrations"].seeds()[2].decode()
    start = text.index("intrinsics: [") + len("intrinsics: [")
    path.write_text(text[:start] + number + text[text.index(",", start) :])
    with pytest.raises(InputError):
        read_calibration(path)


DEEP = b"[" * 200_000 + b"]" * 200_000
JSON_READERS = (
    *("manifest", "calibration set", "engine cache", "scene folder", "latency receipt"),
    *("accuracy and roofline results", "any JSON", "measurements", "engine inspector"),
)


@pytest.mark.parametrize("name", JSON_READERS)
@pytest.mark.parametrize("content", [DEEP, b'{"a":' * 100_000, b"9" * 5000, b"\xff", b"NaN"])
def test_json_beyond_measure_is_borne(name, content):
    bearable(READERS[name].read, content)


def test_json_of_no_sane_depth_is_a_value_error():
    with pytest.raises(ValueError, match="nested too deep"):
        json_from(DEEP)


@pytest.mark.parametrize("file", ["../../secret", "/etc/passwd", "0000/../1", "", "0000\0"])
def test_a_calibration_set_names_no_file_outside_it(tmp_path, file):
    content = json.loads(READERS["calibration set"].seeds()[0])
    content["pairs"][0]["file"] = file
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match="wrong fields: file"):
        load_set(tmp_path)


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "", "a/../../b", "a\0"])
@pytest.mark.parametrize("which", ["left", "right", "gt"])
def test_a_scene_names_no_file_outside_it(name, which):
    content = json.loads(READERS["scene folder"].seeds()[0])
    content["files"][which] = name
    with pytest.raises(InputError, match="not inside the scene's folder"):
        READERS["scene folder"].read(json.dumps(content).encode())


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "..", "", 5, ["a"]])
@pytest.mark.parametrize("which", ["scene", "set"])
def test_a_scenes_name_is_no_path(name, which):
    content = {**json.loads(READERS["scene folder"].seeds()[0]), which: name}
    with pytest.raises(InputError, match="is no name"):
        READERS["scene folder"].read(json.dumps(content).encode())


# The key "location" as other writers of protobuf may spell it: padded numbers, after its value.
SPELLINGS = [
    b"\n\x08location\x12\x01x",
    b"\x12\x01x\n\x08location",
    b"\x8a\x00\x08location\x12\x01x",
    b"\n\x88\x80\x00location\x12\x01x",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["artefact", "artefact in ONNX Runtime", "checkpoint .onnx"])
def test_tensors_in_other_files_are_refused_before_any_library_runs(name, spelling, monkeypatch):
    import onnx
    import onnxruntime

    def loaded(*_, **__):
        raise AssertionError("a library saw it")

    monkeypatch.setattr(onnxruntime, "InferenceSession", loaded)
    monkeypatch.setattr(onnx, "load_from_string", loaded)
    whole = READERS["artefact"].seeds()[1]
    entry = whole.index(b"\n\x08location")
    assert whole[entry : entry + 12] == b"\n\x08location\x12\x0c"
    content = whole[:entry] + spelling + whole[entry + len(b"\n\x08location\x12\x0c../../secret") :]
    with pytest.raises((EngineError, CheckpointError), match="keeps tensors in other files"):
        READERS[name].read(content)


@pytest.mark.parametrize("text", [b"left_f", b"\x0a\x04left", b"litestereo"])
def test_names_that_are_no_text_are_refused(text):
    whole = READERS["artefact"].seeds()[0]
    assert text in whole
    for name in ("artefact", "artefact in ONNX Runtime", "graph for a roofline"):
        bearable(READERS[name].read, whole.replace(text, text[:-1] + b"\xbe"))


def test_names_of_a_teacher_that_are_no_text_are_refused():
    whole = READERS["teacher in ONNX Runtime"].seeds()[0]
    for text in (b"height", b"left"):
        with pytest.raises(TrainingError, match=r"no text|no ONNX"):
            READERS["teacher in ONNX Runtime"].read(whole.replace(text, text[:-1] + b"\xe9"))


def test_a_checkpoint_runs_no_code(tmp_path):
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (print, ("code from a checkpoint ran",))

    path = tmp_path / "evil.pth"
    torch.save({"model": Evil()}, path)
    with pytest.raises(CheckpointError, match="can run code"):
        READERS["checkpoint .pth"].read(path.read_bytes())


def test_a_checkpoint_that_unpacks_to_gigabytes_is_left_packed(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**24))
    with pytest.raises(CheckpointError, match="would unpack to"):
        READERS["checkpoint .pth"].read(path.read_bytes())


def test_a_checkpoint_of_expanded_tensors_is_not_made_whole(tmp_path):
    """A view of one number as 10^10 of them is a small file, and 40 GB once it is looked into."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "view.pth"
    torch.save({"0.weight": torch.zeros(1).expand(100_000, 100_000)}, path)
    with pytest.raises(CheckpointError, match="misshapen"):
        READERS["checkpoint .pth"].read(path.read_bytes())


@pytest.mark.parametrize("name", ["checkpoint .pth", "training state"])
def test_checkpoints_of_the_old_format_are_refused(name):
    old = READERS["checkpoint .pth"].seeds()[1]
    with pytest.raises(LiteStereoError, match=r"torch 1\.6"):
        READERS[name].read(old)


PLAYLISTS = [
    b"#EXTM3U\n#EXTINF:1,\nhttp://example.org/1.ts\n",
    b"ffconcat version 1.0\nfile /etc/hostname\n",
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
    b"v=0\nc=IN IP4 0.0.0.0\nm=video 5004 RTP/AVP 96\n",
]


@pytest.mark.parametrize("content", PLAYLISTS)
def test_a_video_that_names_other_files_never_reaches_opencv(monkeypatch, content):
    """FFmpeg takes playlists for videos, whatever they are called."""
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", lambda _: pytest.fail("OpenCV saw it"))
    with pytest.raises(InputError, match="no video that is read here"):
        READERS["video"].read(content)


def test_a_video_of_huge_pictures_is_refused_before_its_first_one(monkeypatch):
    from litestereo.runtime.stream import video_sources

    monkeypatch.setattr(video_sources, "MAXIMUM_PIXELS", 64 * 192 - 1)
    for whole in READERS["video"].seeds()[:2]:
        with pytest.raises(InputError, match=r"64x192; at most 0 megapixels are read"):
            READERS["video"].read(whole)


def test_a_photo_that_is_a_bomb_is_no_texture(monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert READERS["photos for textures"].read(BOMBS["png"]) is None


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"7", b'{"step": "x"}', b'{"step": null}', b"\xff", DEEP]
)
def test_lines_that_are_none_are_left_out_of_a_training_log(line):
    whole = READERS["training log"].seeds()[1]
    told = READERS["training log"].read(b"\n".join([line, whole, line]))
    assert json.loads(told) == [1, json.loads(whole), json.loads(whole)]


@pytest.mark.parametrize(
    "line", ["gpu@454.6.4C", "gpu@.C", "GR3D_FREQ 1%@" + "9" * 5000, "RAM " + "9" * 5000 + "/1MB"]
)
def test_broken_lines_of_tegrastats_hold_less(line):
    parse_tegrastats(line)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", tmp_path / "none", tmp_path / "\0"):
        with pytest.raises(InputError, match="cannot read"):
            read_file(path, most_bytes=10)


def test_the_largest_file_and_one_byte_more(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10))
    tracemalloc.start()
    assert read_file(tmp_path / "a", most_bytes=2**31) == bytes(10)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert read_file(tmp_path / "a", most_bytes=10) == bytes(10)
    with pytest.raises(InputError, match="larger than 9 bytes"):
        read_file(tmp_path / "a", most_bytes=9)


def test_the_check_can_fail():
    with pytest.raises(ZeroDivisionError):
        bearable(lambda _: 1 / 0, b"")


def test_png_headers_of_the_seeds_are_sound():
    """So that a bomb is refused for its size alone."""
    small = png_header(1, 1)
    assert zlib.crc32(small[12:29]) == struct.unpack(">I", small[29:33])[0]
    assert np.frombuffer(small, np.uint8).size < 200
