"""EXR depth: to the letter of the format, and by its own library where that is installed."""

import numpy as np
import pytest

from litestereo.runtime.geometry.exr import write_depth_exr


@pytest.fixture
def depth_m(rng):
    depth_m = rng.uniform(0.2, 90, (37, 53)).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.2] = np.nan
    return depth_m


def test_rows_lie_where_the_table_says(depth_m, tmp_path):
    content = write_depth_exr(tmp_path / "depth.exr", depth_m).read_bytes()
    assert content[:8] == b"\x76\x2f\x31\x01\x02\x00\x00\x00"
    assert b"channels\0chlist\0\x13\0\0\0Z\0\x02\0\0\0" in content
    table = content.index(b"screenWindowWidth\0float\0\4\0\0\0") + 28 + 4 + 1
    starts = np.frombuffer(content, "<u8", 37, table)
    for row, start in enumerate(starts):
        assert np.frombuffer(content, "<i4", 2, int(start)).tolist() == [row, 4 * 53]
        np.testing.assert_array_equal(
            np.frombuffer(content, "<f4", 53, int(start) + 8), depth_m[row]
        )
    assert len(content) == starts[-1] + 8 + 4 * 53


def test_openexr_reads_it(depth_m, tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="OpenEXR's own package is not installed")
    path = write_depth_exr(tmp_path / "depth.exr", depth_m)
    with openexr.File(str(path), separate_channels=True) as file:
        np.testing.assert_array_equal(file.channels()["Z"].pixels, depth_m)
