"""Clouds: geometry by hand, and PLY read back by somebody else's reader."""

import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.cloud import CloudMapper, PointCloud, write_ply
from litestereo.runtime.geometry.depth import DepthMapper

SIZE = (8, 10)
EYE = Eye(20.0, 25.0, 4.0, 3.0)
RIG = Calibration(EYE, EYE, baseline_m=0.5, size=SIZE)


@pytest.fixture
def depth(rng):
    disparity = rng.uniform(2, 9, SIZE).astype(np.float32)
    disparity[0, :3] = np.nan
    return DepthMapper(RIG, size=SIZE)(disparity)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (*SIZE, 3), np.uint8)


def test_points_project_to_their_pixels(depth):
    points = CloudMapper(RIG, size=SIZE).organized(depth)
    assert points.shape == (*SIZE, 3)
    x, y, z = np.moveaxis(points, 2, 0)
    valid = depth.validity == 0
    assert np.isnan(points[~valid]).all()
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    np.testing.assert_allclose((20 * x / z + 4)[valid], columns[valid], atol=1e-5)
    np.testing.assert_allclose((25 * y / z + 3)[valid], rows[valid], atol=1e-5)


def test_packed_clouds_keep_the_valid_points_with_their_colours(depth, image):
    mapper = CloudMapper(RIG, size=SIZE)
    cloud = mapper(depth, image)
    valid = depth.validity == 0
    np.testing.assert_array_equal(cloud.points_m, mapper.organized(depth)[valid])
    np.testing.assert_array_equal(cloud.colors, image[valid])
    assert len(cloud.points_m) == valid.sum() == 77


def test_the_next_cloud_reuses_the_arrays_and_a_copy_stays(depth, image):
    mapper = CloudMapper(RIG, size=SIZE)
    first = mapper(depth, image)
    kept, colors = first.copy(), image[depth.validity == 0]
    second = mapper(depth, 255 - image)
    assert np.shares_memory(first.points_m, second.points_m)
    np.testing.assert_array_equal(kept.colors, colors)
    np.testing.assert_array_equal(second.colors, 255 - colors)


def test_ply_is_read_by_plyfile(tmp_path, depth, image):
    plyfile = pytest.importorskip("plyfile", reason="plyfile reads the cloud back")
    cloud = CloudMapper(RIG, size=SIZE)(depth, image)
    path = write_ply(tmp_path / "cloud.ply", cloud)
    data = plyfile.PlyData.read(str(path))
    assert not data.text
    assert data.byte_order == "<"
    vertex = data["vertex"]
    assert vertex.count == 77
    assert [p.name for p in vertex.properties] == ["x", "y", "z", "red", "green", "blue"]
    np.testing.assert_array_equal(np.column_stack([vertex[n] for n in "xyz"]), cloud.points_m)
    np.testing.assert_array_equal(
        np.column_stack([vertex[n] for n in ("red", "green", "blue")]), cloud.colors
    )


def test_ply_header_to_the_letter(tmp_path):
    cloud = PointCloud(np.array([[1, 2, 3]], np.float32), np.array([[4, 5, 6]], np.uint8))
    content = write_ply(tmp_path / "cloud.ply", cloud).read_bytes()
    header, _, body = content.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[3:] == [
        "element vertex 1",
        "property float x",
        "property float y",
        "property float z",
        "property uchar red",
        "property uchar green",
        "property uchar blue",
    ]
    assert body == np.array([1, 2, 3], "<f4").tobytes() + bytes([4, 5, 6])


def test_an_empty_cloud_is_a_file_too(tmp_path):
    cloud = PointCloud(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    assert b"element vertex 0\n" in write_ply(tmp_path / "none.ply", cloud).read_bytes()


def test_refuses_what_does_not_fit(tmp_path, depth):
    with pytest.raises(InputError, match="picture is"):
        CloudMapper(RIG, size=SIZE)(depth, np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(InputError, match="need"):
        write_ply(
            tmp_path / "x.ply", PointCloud(np.zeros((2, 3), np.float32), np.zeros((1, 3), np.uint8))
        )
