import struct
import zlib

import cv2
import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.image_header import exif_orientation, size_from_header
from litestereo.runtime.images import read_pair, read_side_by_side


@pytest.fixture
def rgb(rng):
    """A smooth (48, 64, 3) uint8 RGB picture, so that JPEG keeps it."""
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def save(path, image):
    """Write RGB or grey with OpenCV, which thinks in BGR(A)."""
    stored = image if image.ndim == 2 else image[..., [2, 1, 0, 3][: image.shape[2]]]
    assert cv2.imwrite(str(path), stored)
    return path


def twice(path):
    return read_pair(path, path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_colour_files_are_read_as_rgb(tmp_path, rgb, suffix):
    pair = twice(save(tmp_path / f"a.{suffix}", rgb))
    np.testing.assert_array_equal(pair.left, rgb)
    np.testing.assert_array_equal(pair.right, rgb)
    assert pair.notes == ()


def test_jpeg_is_read_as_rgb(tmp_path, rgb):
    pair = twice(save(tmp_path / "a.jpg", rgb))
    assert abs(pair.left.astype(int) - rgb).mean() < 4


def test_grey_is_repeated(tmp_path, rgb):
    pair = twice(save(tmp_path / "a.png", rgb[..., 0]))
    np.testing.assert_array_equal(pair.left, np.repeat(rgb[..., :1], 3, axis=2))


def test_alpha_is_dropped_and_said(tmp_path, rgb):
    pair = twice(save(tmp_path / "a.png", np.dstack([rgb, rgb[..., 0]])))
    np.testing.assert_array_equal(pair.left, rgb)
    assert pair.notes == ("alpha channel dropped",)


def test_full_scale_16_bit_is_divided_by_257(tmp_path, rgb):
    rgb[0, 0] = 255
    pair = twice(save(tmp_path / "a.png", rgb.astype(np.uint16) * 257))
    np.testing.assert_array_equal(pair.left, rgb)
    assert pair.notes == ("16-bit pictures read as 16-bit, scaled to 8",)


def test_a_12_bit_camera_keeps_its_contrast_and_one_factor_serves_both(tmp_path):
    left = save(tmp_path / "l.png", np.full((40, 40), 4095, np.uint16))
    right = save(tmp_path / "r.png", np.full((40, 40), 819, np.uint16))
    pair = read_pair(left, right)
    assert (pair.left == 255).all()
    assert (pair.right == 51).all()
    assert "read as 12-bit" in pair.notes[0]


def test_one_deep_picture_is_refused(tmp_path, rgb):
    deep = save(tmp_path / "l.png", rgb.astype(np.uint16) * 257)
    with pytest.raises(InputError, match="uint16 and right image is uint8; need one bit depth"):
        read_pair(deep, save(tmp_path / "r.png", rgb))


def test_float_pictures_are_refused(tmp_path, rgb):
    path = save(tmp_path / "a.tiff", rgb.astype(np.float32))
    with pytest.raises(InputError, match="float32 values; need 8- or 16-bit"):
        twice(path)


def test_a_palette_is_read_as_its_colours(tmp_path):
    colors = np.array([[255, 0, 0], [0, 200, 10]], np.uint8)
    indices = np.random.default_rng(0).integers(0, 2, (40, 40), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(indices, color_type=3, chunks=[(b"PLTE", colors.tobytes())]))
    np.testing.assert_array_equal(twice(path).left, colors[indices])


def test_cmyk_is_read_as_rgb(tmp_path):
    # Ink as photo editors store it (inverted, marked by Adobe's segment): c, m, y, k = 0, 1, 1, 0.
    red = np.full((48, 64, 4), 1, np.uint8)
    red[..., [0, 3]] = 255
    path = tmp_path / "a.jpg"
    path.write_bytes(cmyk_jpeg(red))
    left = twice(path).left
    assert left.shape == (48, 64, 3)
    assert left[..., 0].min() > 200
    assert left[..., 1:].max() < 60


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_rotation_is_ignored_and_said(tmp_path, rgb, suffix, order):
    plain = save(tmp_path / f"plain.{suffix}", rgb)
    turned = tmp_path / f"turned.{suffix}"
    turned.write_bytes(with_orientation(plain.read_bytes(), 6, order))
    pair = read_pair(plain, turned)
    assert pair.right.shape == rgb.shape
    np.testing.assert_array_equal(pair.left, pair.right)
    assert pair.notes == ("EXIF orientation 6 ignored: pixels are used as stored",)


def test_upright_exif_is_not_worth_a_word(tmp_path, rgb):
    plain = save(tmp_path / "plain.jpg", rgb)
    plain.write_bytes(with_orientation(plain.read_bytes(), 1, "<"))
    assert twice(plain).notes == ()


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_damaged_exif_never_breaks_reading(tmp_path, rgb, cut):
    whole = with_orientation(save(tmp_path / "a.jpg", rgb).read_bytes(), 6, ">")
    assert exif_orientation(whole[:cut]) in (1, 6)
    assert size_from_header(whole[:cut]) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "is empty"),
        ("a.png", b"hello", "damaged or no picture"),
        ("a.txt", b"\x89PNG\r\n\x1a\nrubbish", "damaged or no picture"),
    ],
)
def test_files_that_are_no_picture_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        twice(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nothing\.png: No such file"):
        twice(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="cannot read"):
        twice(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_cut_file_is_refused(tmp_path, rgb, suffix):
    path = save(tmp_path / f"a.{suffix}", rgb)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"damaged|in the middle"):
        twice(path)


@pytest.mark.parametrize("appended", [b"", b"MotionPhoto\xff\xda", b"\xff\xd8\xff\xda\x00\x02"])
def test_what_follows_the_end_of_a_jpeg_is_no_part_of_it(tmp_path, rgb, appended):
    path = save(tmp_path / "a.jpg", rgb)
    whole = with_orientation(path.read_bytes(), 1, ">")
    thumbnail = b"\xff\xe2\x00\x08\xff\xda\xff\xd9\xff\xda"
    path.write_bytes(whole[:2] + thumbnail + whole[2:] + appended)
    assert twice(path).left.shape == rgb.shape
    path.write_bytes(whole[:2] + thumbnail + whole[2:-200])
    with pytest.raises(InputError, match="in the middle"):
        twice(path)


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(InputError, match=r"50000x60000 .* at most 64 megapixels"):
        twice(path)


def test_jpeg_sizes_are_read_from_the_header(tmp_path, rgb):
    content = save(tmp_path / "a.jpg", rgb).read_bytes()
    assert size_from_header(content) == (48, 64)
    assert size_from_header(with_orientation(content, 6, "<")) == (48, 64)


def test_unequal_and_small_pairs_are_named(tmp_path, rgb):
    left = save(tmp_path / "left.png", rgb)
    with pytest.raises(InputError, match=r"left\.png, .*right\.png: left image is 48x64"):
        read_pair(left, save(tmp_path / "right.png", rgb[:40]))
    with pytest.raises(InputError, match=r"20x64 .* at least 32"):
        twice(save(tmp_path / "low.png", rgb[:20]))


def test_side_by_side_is_split_in_the_middle(tmp_path, rng):
    both = rng.integers(0, 256, (40, 100, 3), np.uint8)
    pair = read_side_by_side(save(tmp_path / "both.png", both))
    np.testing.assert_array_equal(pair.left, both[:, :50])
    np.testing.assert_array_equal(pair.right, both[:, 50:])


def test_an_odd_width_cannot_be_split(tmp_path, rng):
    path = save(tmp_path / "both.png", rng.integers(0, 256, (40, 101, 3), np.uint8))
    with pytest.raises(InputError, match="101 pixels wide"):
        read_side_by_side(path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, *, color_type, chunks=()):
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def with_orientation(content, orientation, order):
    """Return a JPEG or PNG with an EXIF block put behind its first marker or chunk."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
    if content.startswith(b"\xff\xd8"):
        exif = b"Exif\0\0" + tiff
        return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    return content[:33] + chunk(b"eXIf", tiff) + content[33:]


def cmyk_jpeg(inks):
    """Return a baseline JPEG of (H, W, 4) uint8 planes of one value each, 1 or 255, as Adobe's.

    Flat blocks need only their mean, and its differences are 0 or 1016: two codes do.
    """
    height, width, planes = inks.shape
    components = range(1, planes + 1)
    quantization = b"\0" + bytes([1] * 64)
    frame = struct.pack(">BHHB", 8, height, width, planes)
    frame += b"".join(bytes([c, 0x11, 0]) for c in components)
    # Codes 0 and 10 for difference categories 0 and 10; then only "end of block", code 0.
    dc_table = b"\x00" + bytes([1, 1] + [0] * 14) + bytes([0, 10])
    ac_table = b"\x10" + bytes([1] + [0] * 15) + bytes([0])
    scan = bytes([planes]) + b"".join(bytes([c, 0]) for c in components) + bytes([0, 63, 0])
    adobe = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)
    last, bits = [0] * planes, ""
    for row in range(0, height, 8):
        for column in range(0, width, 8):
            for plane in range(planes):
                mean = 8 * (int(inks[row, column, plane]) - 128)
                bits += _difference_bits(mean - last[plane]) + "0"
                last[plane] = mean
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    segments = [(0xEE, adobe), (0xDB, quantization), (0xC0, frame)]
    segments += [(0xC4, dc_table), (0xC4, ac_table), (0xDA, scan)]
    head = b"".join(
        bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments
    )
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def _difference_bits(difference):
    """Code 0, or one of category 10 (512..1023 either sign)."""
    if difference == 0:
        return "0"
    assert 512 <= abs(difference) < 1024
    return "10" + f"{difference if difference > 0 else difference + 1023:010b}"
