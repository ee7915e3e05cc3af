"""Messages against ROS 2's own definitions: serialised, put into a bag, read back, used again."""

import sys
from array import array

import numpy as np
import pytest
import stand_in_ros
from test_ros_messages import HEADER, info, result, rig

from litestereo.ros import node
from litestereo.ros.messages import (
    calibration_from_infos,
    cloud_fields,
    depth_fields,
    disparity_fields,
    image_from_fields,
    info_fields,
)
from litestereo.runtime.geometry import CloudMapper, DepthMapper

typesys = pytest.importorskip("rosbags.typesys", reason="rosbags brings ROS's definitions")
rosbag2 = pytest.importorskip("rosbags.rosbag2")

SIZE = (480, 640)
LIMITS = {"uint8": 2**8, "uint16": 2**16, "uint32": 2**32, "int32": 2**31}


@pytest.fixture(scope="module", params=["ROS2_HUMBLE", "ROS2_JAZZY"])
def store(request):
    return typesys.get_typestore(typesys.Stores[request.param])


@pytest.fixture
def sent(rng):
    """Topic -> (type, fields) of what the node publishes for a picture."""
    calibration = rig(cx=310.0, k_cx=310.0)
    disparity_px = rng.uniform(5, 100, SIZE).astype(np.float32)
    depth = DepthMapper(calibration, size=SIZE)(disparity_px, max_disparity_px=90.0)
    points_m = CloudMapper(calibration, size=SIZE).organized(depth)
    picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    image = "sensor_msgs/msg/Image"
    return {
        "disparity": ("stereo_msgs/msg/DisparityImage", disparity_fields(
            result(disparity_px), calibration, header=HEADER, validity=depth.validity)),
        "depth/image": (image, depth_fields(depth.depth_m, header=HEADER)),
        "depth/millimetres": (image, depth_fields(depth.depth_m, header=HEADER, encoding="16UC1")),
        "points": ("sensor_msgs/msg/PointCloud2",
                   cloud_fields(points_m, picture, header=HEADER)),
    }  # fmt: skip


def message_of(store, name, fields):
    """Return a real message; every field must be there, of the definition's type and range."""
    definition = dict(store.fielddefs[name][1])
    assert set(fields) == set(definition), name
    return store.types[name](
        **{key: _value(store, definition[key], fields[key]) for key in definition}
    )


def _value(store, kind, value):
    node_type, what = int(kind[0]), kind[1]
    if node_type == 2:  # a message inside
        if what == "sensor_msgs/msg/RegionOfInterest":
            value = {"do_rectify": False, **value}
        return message_of(store, what, value)
    if node_type == 1:
        return _checked(what[0], value)
    (_, inner), _ = what  # an array, or a sequence
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [message_of(store, inner, each) for each in value]
    if isinstance(value, array):
        assert (value.typecode, inner[0]) == ("B", "uint8")
        return np.frombuffer(value, np.uint8)
    return np.array(value, inner[0])


def _checked(kind, value):
    if kind in LIMITS:
        assert type(value) is int
        assert 0 <= value < LIMITS[kind]
    else:
        wanted = {"bool": bool, "string": str, "float32": float, "float64": float}[kind]
        assert type(value) is wanted, kind
    return value


def bag_of(path, store, messages):
    with rosbag2.Writer(path, version=9) as writer:
        for topic, (name, message) in messages.items():
            connection = writer.add_connection(topic, name, typestore=store)
            writer.write(connection, 7_250_000_000, store.serialize_cdr(message, name))
    with rosbag2.Reader(path) as reader:
        return {
            connection.topic: store.deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages()
        }


def test_what_the_node_publishes_comes_back_from_a_bag(store, sent, tmp_path):
    made = {
        topic: (name, message_of(store, name, fields)) for topic, (name, fields) in sent.items()
    }
    read = bag_of(tmp_path / "bag", store, made)
    for topic, (_, fields) in sent.items():
        message = read[topic]
        assert message.header.frame_id == "left_optical"
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (7, 250_000_000)
        image = message.image if topic == "disparity" else message
        given = fields.get("image", fields)
        assert image.data.tobytes() == given["data"].tobytes()
        rows = {"points": "row_step"}.get(topic, "step")
        assert len(image.data) == image.height * getattr(image, rows)
        assert bool(image.is_bigendian) == (sys.byteorder == "big")
    disparity, cloud = read["disparity"], read["points"]
    assert disparity.t == pytest.approx(0.12)
    assert disparity.f == pytest.approx(400)
    kind = [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields]
    assert kind == [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("rgb", 12, 7, 1)]
    assert cloud.point_step * cloud.width == cloud.row_step


def test_pictures_and_infos_are_taken_from_a_bag(store, rng, tmp_path):
    picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    sensor = {"header": HEADER, "height": SIZE[0], "width": SIZE[1]}
    image = {
        **sensor, "encoding": "bgr8", "is_bigendian": 0, "step": 3 * SIZE[1],
        "data": array("B", picture.tobytes()),
    }  # fmt: skip
    messages = {"image": ("sensor_msgs/msg/Image", image)}
    for side, shift in (("left", 0.0), ("right", -48.0)):
        fields = {"header": HEADER, **info(shift=shift)}
        messages[side] = ("sensor_msgs/msg/CameraInfo", fields)
    made = {
        topic: (name, message_of(store, name, fields)) for topic, (name, fields) in messages.items()
    }
    read = bag_of(tmp_path / "bag", store, made)
    taken = image_from_fields(node._image_fields(read["image"]))
    np.testing.assert_array_equal(taken, picture[..., ::-1])
    infos = [info_fields(read[side]) for side in ("left", "right")]
    calibration = calibration_from_infos(*infos, size=SIZE, rectified=True)
    assert calibration.baseline_m == pytest.approx(0.12)


@pytest.mark.parametrize(
    "name", ["Image", "CameraInfo", "PointField", "PointCloud2", "DisparityImage"]
)
def test_the_stand_in_has_the_fields_of_the_definitions(store, name):
    package = "stereo_msgs" if name == "DisparityImage" else "sensor_msgs"
    defined = {field for field, _ in store.fielddefs[f"{package}/msg/{name}"][1]}
    assert set(getattr(stand_in_ros, name).__slots__) == defined
