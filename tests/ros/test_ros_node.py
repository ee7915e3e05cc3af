"""The node on a stand-in of ROS: its life, its topics, and what it publishes."""

import logging
import runpy
import subprocess
import sys
import time
from array import array

import numpy as np
import pytest
from stand_in import write_raw_stand_in, write_stand_in
from stand_in_ros import FAILURE, SUCCESS, CameraInfo, Image, stand_in_ros

from litestereo.errors import InputError, MissingDependencyError
from litestereo.ros.node import import_ros, main, make_node
from litestereo.ros.parameters import DEFAULTS, NodeParameters
from litestereo.runtime.geometry import Calibration, Eye

SIZE = (64, 96)
P = [80.0, 0, 48.0, 0.0, 0, 80.0, 32.0, 0, 0, 0, 1, 0]


@pytest.fixture
def node(tmp_path):
    model = str(write_stand_in(tmp_path / "stand_in.onnx"))
    node = make_node(ros=stand_in_ros(model=model, threads=1))
    yield node
    node.on_shutdown(None)


def info(*, shift=0.0, lens=0.0):
    message = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob")
    message.k = [80.0, 0.0, 48.0, 0.0, 80.0, 32.0, 0.0, 0.0, 1.0]
    message.d = [lens, 0.0, 0.0, 0.0, 0.0]
    message.r = np.eye(3).ravel().tolist()
    message.p = [*P[:3], shift, *P[4:]]
    return message


def picture(value, *, at_s):
    message = Image(height=SIZE[0], width=SIZE[1], encoding="mono8", step=SIZE[1])
    message.data = array("B", bytes([value]) * (SIZE[0] * SIZE[1]))
    message.header.stamp.sec = int(at_s)
    message.header.stamp.nanosec = round(1e9 * (at_s - int(at_s)))
    message.header.frame_id = "left_optical"
    return message


def activated(node):
    assert node.trigger_configure() == SUCCESS, node.errors
    assert node.trigger_activate() == SUCCESS, node.errors
    for side, shift in (("left", 0.0), ("right", -8.0)):
        node.deliver(f"{side}/camera_info", info(shift=shift))
    return node


def show(node, value, *, at_s, topic="image_rect"):
    for side in ("left", "right"):
        node.deliver(f"{side}/{topic}", picture(value, at_s=at_s))


def waited_for(publisher, count):
    until_s = time.monotonic() + 10
    while len(publisher.sent) < count and time.monotonic() < until_s:
        time.sleep(0.005)
    assert len(publisher.sent) == count
    return publisher.sent


def test_a_pair_becomes_disparity_depth_and_points(node):
    activated(node)
    show(node, 32, at_s=99.75)  # the stand-in answers half the grey value: 16 px
    disparity = waited_for(node.publishers["disparity"], 1)[0]
    depth = waited_for(node.publishers["depth/image"], 1)[0]
    points = waited_for(node.publishers["points"], 1)[0]
    for message in (disparity, depth, points):
        assert message.header.frame_id == "left_optical"
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (99, 750_000_000)
    assert np.frombuffer(disparity.image.data, np.float32).max() == 16
    depth_m = np.frombuffer(depth.data, np.float32).reshape(SIZE)
    np.testing.assert_allclose(depth_m[:, 17:], 80 * 0.1 / 16, rtol=1e-6)
    assert np.isnan(depth_m[:, :15]).all(), "the right eye does not see the left border"
    assert [field.name for field in points.fields] == ["x", "y", "z", "rgb"]
    assert (points.height, points.width) == SIZE


def test_what_nobody_listens_to_is_not_published(node):
    activated(node)
    node.publishers["points"].subscribers = 0
    show(node, 32, at_s=99.9)
    waited_for(node.publishers["depth/image"], 1)
    assert node.publishers["points"].sent == []


def test_an_error_in_publishing_is_said(node):
    activated(node)

    def refused(message):
        raise TypeError("the field is of another type")

    node.publishers["disparity"].publish = refused
    show(node, 32, at_s=99.9)
    until_s = time.monotonic() + 10
    while not node.errors and time.monotonic() < until_s:
        time.sleep(0.005)
    assert node.errors == ["the stream ended: TypeError: the field is of another type"]


def test_raw_pictures_are_rectified_by_the_infos(tmp_path):
    model = str(write_stand_in(tmp_path / "stand_in.onnx"))
    node = make_node(ros=stand_in_ros(model=model, threads=1, rectify=True))
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    for side, shift in (("left", 0.0), ("right", -8.0)):
        node.deliver(f"{side}/camera_info", info(shift=shift, lens=0.3))
    show(node, 32, at_s=99.9, topic="image")
    message = waited_for(node.publishers["disparity"], 1)[0]
    disparity_px = np.frombuffer(message.image.data, np.float32).reshape(SIZE)
    # A pincushion lens leaves the rectified corners empty: black, where the stand-in answers 0.
    assert disparity_px[32, 48] == 16
    assert disparity_px[0, 0] < 16
    node.on_shutdown(None)


@pytest.mark.parametrize("rectify", [True, False])
def test_a_model_that_rectifies_needs_raw_topics_and_no_infos(tmp_path, rectify):
    lens = ("radtan", (0.1, 0.0, 0.0, 0.0))
    eye = Eye(80.0, 80.0, 48.0, 32.0, *lens)
    rig = Calibration(eye, eye, 0.1, size=SIZE, rectified=False)
    model = str(write_raw_stand_in(tmp_path / "raw.onnx", rig, size=SIZE))
    node = make_node(ros=stand_in_ros(model=model, threads=1, rectify=rectify))
    assert node.trigger_configure() == SUCCESS
    if not rectify:
        assert node.trigger_activate() == FAILURE
        assert "rectify:=true" in node.errors[-1]
        return
    assert node.trigger_activate() == SUCCESS
    show(node, 32, at_s=99.9, topic="image")
    message = waited_for(node.publishers["disparity"], 1)[0]
    assert np.frombuffer(message.image.data, np.float32).reshape(SIZE)[32, 48] == 16
    assert waited_for(node.publishers["points"], 1)[0].height == SIZE[0]
    node.on_shutdown(None)


def test_pictures_without_infos_are_lost_and_said_so(node):
    node.trigger_configure()
    node.trigger_activate()
    show(node, 32, at_s=99.9)
    assert "no camera_info" in node.warnings[0]


def test_health_is_in_the_log_of_the_node_while_it_lives(tmp_path):
    model = str(write_stand_in(tmp_path / "stand_in.onnx"))
    node = activated(make_node(ros=stand_in_ros(model=model, threads=1, health_every_s=0.05)))
    until_s = time.monotonic() + 10
    while not node.infos and time.monotonic() < until_s:
        time.sleep(0.01)
    assert "out 0" in node.infos[0]
    node.on_shutdown(None)
    count = len(node.infos)
    logging.getLogger("litestereo.stream").info("nobody hears this")
    assert len(node.infos) == count


def test_qos_takes_any_camera_and_serves_any_viewer(node):
    activated(node)
    assert {each.qos.reliability for each in node.subscriptions.values()} == {"best effort"}
    assert {each.qos.reliability for each in node.publishers.values()} == {"reliable"}


def test_a_life_twice_over(node):
    for at_s in (50.0, 60.0):
        activated(node)
        show(node, 32, at_s=at_s)
        waited_for(node.publishers["disparity"], 1)
        assert node.trigger_deactivate() == SUCCESS
        assert not node.subscriptions
        assert node.trigger_cleanup() == SUCCESS
        assert not node.publishers


@pytest.mark.parametrize(("autostart", "state"), [(True, "active"), (False, "unconfigured")])
def test_the_program_starts_the_node_and_ends_with_its_launch_file(tmp_path, autostart, state):
    model = str(write_stand_in(tmp_path / "stand_in.onnx"))
    ros = stand_in_ros(model=model, threads=1, autostart=autostart)
    seen = []

    def spin(node):
        seen.extend([node, node.state])
        raise ros.executors.ExternalShutdownException

    ros.rclpy.spin = spin
    main([], ros=ros)
    node, before = seen
    assert before == state
    assert node.destroyed
    assert not node.publishers


def test_a_wrong_parameter_keeps_it_unconfigured_and_says_why():
    node = make_node(ros=stand_in_ros(model="no-such-model"))
    assert node.trigger_configure() == FAILURE
    assert node.state == "unconfigured"
    assert "no-such-model" in node.errors[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"depth_encoding": "64FC1"}, "depth_encoding"), ({"qos_depth": 0}, "qos_depth"),
     ({"tolerance_ms": -1.0}, "tolerance"), ({"shrinks": [1.5], "rate_hz": 10.0}, "shrink"),
     ({"near_m": 3.0, "far_m": 2.0}, "near < far")],
)  # fmt: skip
def test_parameters_are_checked(changes, match):
    with pytest.raises(InputError, match=match):
        NodeParameters.from_values({**DEFAULTS, **changes})


def test_a_rate_makes_a_deadline_with_its_ladder():
    parameters = NodeParameters.from_values({**DEFAULTS, "rate_hz": 20.0, "shrinks": [0.5, 0.75]})
    deadline = parameters.stream.deadline
    assert deadline.period_ms == 50
    assert [level.shrink for level in deadline.levels] == [1.0, 0.75, 0.5]


def test_without_ros_the_module_loads_and_the_node_says_what_is_missing():
    try:
        import rclpy  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("ROS 2 is installed here")
    with pytest.raises(MissingDependencyError, match=r"setup\.bash"):
        import_ros()
    done = subprocess.run(
        [sys.executable, "-m", "litestereo.ros"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("litestereo.ros: error: rclpy is not installed")


def test_help_needs_no_ros(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["litestereo.ros", "--help"])
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(SystemExit) as leaving:
        runpy.run_module("litestereo.ros", run_name="__main__")
    assert not leaving.value.code
    said = capsys.readouterr().out
    assert "usage: python -m litestereo.ros --ros-args" in said
    assert "  tolerance_ms:=8.0\n" in said
