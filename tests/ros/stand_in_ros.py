"""ROS 2 as far as the node uses it: strict messages, and a node whose transitions work alike.

Messages have the fields of the .msg files in ros2/common_interfaces and refuse other names and
types, as the classes that rosidl generates do; the node calls its own `on_*` methods and passes a
transition on only where they succeed, as rclpy.lifecycle does.
"""

from __future__ import annotations

from array import array
from types import SimpleNamespace

from litestereo.ros.node import Ros


def _message(name, /, **fields):
    """Return a message class; a field is a default value, or a class for a message inside."""

    def make(self, /, **values):
        for field, default in fields.items():
            object.__setattr__(self, field, default() if isinstance(default, type) else default)
        for field, value in values.items():
            setattr(self, field, value)

    def put(self, field, value):
        assert field in fields, f"{name} has no field {field}"
        given, kind = type(value), type(getattr(self, field))
        assert given is kind, f"{name}.{field} is a {kind.__name__}, not a {given.__name__}"
        if kind is array:
            assert value.typecode == "B"
        object.__setattr__(self, field, value)

    return type(name, (), {"__slots__": tuple(fields), "__init__": make, "__setattr__": put})


Time = _message("Time", sec=0, nanosec=0)
Header = _message("Header", stamp=Time, frame_id="")
RegionOfInterest = _message(
    "RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
)


def _bytes():
    return array("B")


class _Data(array):
    """An empty array("B"), as a class that can be called without arguments."""

    def __new__(cls):
        return _bytes()


Image = _message(
    "Image",
    header=Header,
    height=0,
    width=0,
    encoding="",
    is_bigendian=0,
    step=0,
    data=_Data,
)
CameraInfo = _message(
    "CameraInfo",
    header=Header,
    height=0,
    width=0,
    distortion_model="",
    d=list,
    k=list,
    r=list,
    p=list,
    binning_x=0,
    binning_y=0,
    roi=RegionOfInterest,
)
PointField = _message("PointField", name="", offset=0, datatype=0, count=0)
PointCloud2 = _message(
    "PointCloud2",
    header=Header,
    height=0,
    width=0,
    fields=list,
    is_bigendian=False,
    point_step=0,
    row_step=0,
    data=_Data,
    is_dense=False,
)
DisparityImage = _message(
    "DisparityImage",
    header=Header,
    image=Image,
    f=0.0,
    t=0.0,
    valid_window=RegionOfInterest,
    min_disparity=0.0,
    max_disparity=0.0,
    delta_d=0.0,
)

SUCCESS, FAILURE = "success", "failure"


class Publisher:
    def __init__(self, msg_type, topic, qos):
        self.msg_type, self.topic, self.qos = msg_type, topic, qos
        self.active = False
        self.subscribers = 1
        self.sent = []

    def get_subscription_count(self):
        return self.subscribers

    def publish(self, message):
        assert type(message) is self.msg_type
        if self.active:  # an inactive lifecycle publisher drops what it is given
            self.sent.append(message)


class LifecycleNode:
    """The state machine, parameters and topics of rclpy's node."""

    overrides: dict = {}  # noqa: RUF012 - what --ros-args would set

    def __init__(self, name):
        self.name, self.state = name, "unconfigured"
        self.parameters, self.publishers, self.subscriptions = {}, {}, {}
        self.errors, self.warnings, self.infos = [], [], []
        self.now_s = 100.0
        self.destroyed = False

    def declare_parameter(self, name, default):
        self.parameters[name] = type(self).overrides.get(name, default)

    def get_parameter(self, name):
        return SimpleNamespace(value=self.parameters[name])

    def create_lifecycle_publisher(self, msg_type, topic, qos):
        self.publishers[topic] = Publisher(msg_type, topic, qos)
        return self.publishers[topic]

    def destroy_lifecycle_publisher(self, publisher):
        del self.publishers[publisher.topic]

    def create_subscription(self, msg_type, topic, callback, qos):
        self.subscriptions[topic] = SimpleNamespace(
            msg_type=msg_type, callback=callback, qos=qos, topic=topic
        )
        return self.subscriptions[topic]

    def destroy_subscription(self, subscription):
        del self.subscriptions[subscription.topic]

    def get_clock(self):
        now = SimpleNamespace(nanoseconds=int(1e9 * self.now_s))
        return SimpleNamespace(now=lambda: now)

    def get_logger(self):
        return SimpleNamespace(
            error=self.errors.append, warning=self.warnings.append, info=self.infos.append
        )

    def destroy_node(self):
        self.destroyed = True

    def deliver(self, topic, message):
        subscription = self.subscriptions[topic]
        assert type(message) is subscription.msg_type
        subscription.callback(message)

    def trigger_configure(self):
        return self._go("unconfigured", "inactive", self.on_configure)

    def trigger_activate(self):
        return self._go("inactive", "active", self.on_activate)

    def trigger_deactivate(self):
        return self._go("active", "inactive", self.on_deactivate)

    def trigger_cleanup(self):
        return self._go("inactive", "unconfigured", self.on_cleanup)

    def on_configure(self, state):
        return SUCCESS

    def on_activate(self, state):
        for publisher in self.publishers.values():
            publisher.active = True
        return SUCCESS

    def on_deactivate(self, state):
        for publisher in self.publishers.values():
            publisher.active = False
        return SUCCESS

    def on_cleanup(self, state):
        return SUCCESS

    def on_shutdown(self, state):
        return SUCCESS

    def _go(self, before, after, callback):
        assert self.state == before
        done = callback(None)
        self.state = after if done == SUCCESS else before
        return done


def stand_in_ros(**overrides):
    """Return ROS with a node class of its own, whose parameters are overridden."""
    node = type("LifecycleNode", (LifecycleNode,), {"overrides": overrides})
    return Ros(
        rclpy=SimpleNamespace(init=lambda args: None, try_shutdown=lambda: None),
        executors=SimpleNamespace(ExternalShutdownException=type("Shutdown", (Exception,), {})),
        lifecycle=SimpleNamespace(
            LifecycleNode=node,
            TransitionCallbackReturn=SimpleNamespace(SUCCESS=SUCCESS, FAILURE=FAILURE),
        ),
        qos=SimpleNamespace(
            QoSProfile=lambda **settings: SimpleNamespace(**settings),
            HistoryPolicy=SimpleNamespace(KEEP_LAST="keep last"),
            ReliabilityPolicy=SimpleNamespace(RELIABLE="reliable", BEST_EFFORT="best effort"),
        ),
        sensor=SimpleNamespace(
            Image=Image, CameraInfo=CameraInfo, PointCloud2=PointCloud2, PointField=PointField
        ),
        stereo=SimpleNamespace(DisparityImage=DisparityImage),
    )
