"""The ROS 2 lifecycle node: topics, QoS and parameters around a `Bridge`, and nothing else.

Subscribes to left/image_rect, left/camera_info, right/image_rect and right/camera_info (left/image
and right/image with rectify:=true); publishes disparity (stereo_msgs/DisparityImage), depth/image
(sensor_msgs/Image) and points (sensor_msgs/PointCloud2). Images are paired by our own `Pairer`: the
callbacks only stamp and hand over, so that no synchroniser's queue ages them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from litestereo.errors import LiteStereoError, MissingDependencyError
from litestereo.ros.bridge import Bridge
from litestereo.ros.messages import Fields, fill, header_fields, info_fields
from litestereo.ros.parameters import DEFAULTS, NodeParameters
from litestereo.runtime.engine import StereoEngine

__all__ = ["Ros", "StereoAdapter", "import_ros", "main", "make_node"]

log = logging.getLogger("litestereo")

_IMAGE_NAMES = ("height", "width", "encoding", "step", "data")


@dataclass(frozen=True, slots=True)
class Ros:
    """The parts of ROS 2 that the node uses.

    Attributes:
        rclpy: the client library.
        executors: rclpy.executors.
        lifecycle: rclpy.lifecycle.
        qos: rclpy.qos.
        sensor: sensor_msgs.msg.
        stereo: stereo_msgs.msg.
    """

    rclpy: Any
    executors: Any
    lifecycle: Any
    qos: Any
    sensor: Any
    stereo: Any


def import_ros() -> Ros:
    """Return ROS 2's modules.

    Raises:
        MissingDependencyError: ROS 2 is not installed, or its setup file was not sourced.
    """
    names = (
        "rclpy",
        "rclpy.executors",
        "rclpy.lifecycle",
        "rclpy.qos",
        "sensor_msgs.msg",
        "stereo_msgs.msg",
    )
    modules = []
    for name in names:
        try:
            modules.append(import_module(name))
        except ImportError as error:
            package = name.split(".")[0]
            raise MissingDependencyError(
                package,
                purpose="the ROS 2 node",
                install="ROS 2 does not come by pip: source /opt/ros/<distro>/setup.bash, with "
                f"ros-<distro>-{package.replace('_', '-')} installed, and use its Python",
            ) from error
    return Ros(*modules)


class _RosLog(logging.Handler):
    """Hands the library's log, health and warnings, to the node's."""

    def __init__(self, node: Any) -> None:  # noqa: ANN401 - rclpy's node
        super().__init__(logging.INFO)
        self._node = node

    def emit(self, record: logging.LogRecord) -> None:
        # A call each: rclpy refuses two severities from one line of code.
        logger, text = self._node.get_logger(), record.getMessage()
        if record.levelno >= logging.ERROR:
            logger.error(text)
        elif record.levelno >= logging.WARNING:
            logger.warning(text)
        else:
            logger.info(text)


class StereoAdapter:
    """Turns the node's transitions and messages into calls of a `Bridge`."""

    def __init__(self, ros: Ros) -> None:
        """Keep ROS's modules; `attach` gives the node.

        Args:
            ros: the modules of ROS 2, or stand-ins.
        """
        self._ros = ros
        self._node: Any = None
        self._parameters: NodeParameters | None = None
        self._engine: StereoEngine | None = None
        self._bridge: Bridge | None = None
        self._publishers: dict[str, Any] = {}
        self._subscriptions: list[Any] = []
        self._log: _RosLog | None = None

    def attach(self, node: Any) -> None:  # noqa: ANN401 - rclpy's node
        """Take the node and declare its parameters.

        Args:
            node: an rclpy lifecycle node.
        """
        self._node = node
        for name, default in DEFAULTS.items():
            node.declare_parameter(name, default)

    def configure(self) -> None:
        """Read the parameters, load the engine, make the publishers."""
        self._log = self._log or _RosLog(self._node)
        log.addHandler(self._log)
        log.setLevel(logging.INFO)
        values = {name: self._node.get_parameter(name).value for name in DEFAULTS}
        parameters = NodeParameters.from_values(values)
        self._engine = StereoEngine.load(
            parameters.model,
            backend=parameters.backend,
            max_disparity_px=parameters.max_disparity_px,
            threads=parameters.threads,
        )
        self._parameters = parameters
        types = {
            "disparity": self._ros.stereo.DisparityImage,
            "depth/image": self._ros.sensor.Image,
            "points": self._ros.sensor.PointCloud2,
        }
        self._publishers = {
            topic: self._node.create_lifecycle_publisher(
                kind, topic, self._qos(parameters, reliable=parameters.reliable_results)
            )
            for topic, kind in types.items()
        }

    def activate(self) -> None:
        """Subscribe, and begin to compute."""
        assert self._engine is not None
        assert self._parameters is not None
        bridge = Bridge(
            self._engine,
            self._parameters,
            publish=self._publish,
            wants=self._is_wanted,
            now_s=lambda: 1e-9 * float(self._node.get_clock().now().nanoseconds),
            failed=lambda words: self._node.get_logger().error(f"the stream ended: {words}"),
        )
        self._bridge = bridge
        qos = self._qos(self._parameters, reliable=self._parameters.reliable_images)
        picture = "image" if self._parameters.rectify else "image_rect"
        sensor = self._ros.sensor
        for side in ("left", "right"):
            self._subscribe(
                sensor.CameraInfo,
                f"{side}/camera_info",
                lambda message, side=side: bridge.take_info(side, info_fields(message)),
                qos,
            )
            self._subscribe(
                sensor.Image,
                f"{side}/{picture}",
                lambda message, side=side: bridge.take_image(side, _image_fields(message)),
                qos,
            )
        bridge.start()

    def deactivate(self) -> None:
        """Stop computing, and unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()

    def cleanup(self) -> None:
        """Give up the publishers and the engine; doing it twice is fine."""
        self.deactivate()
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        if self._log is not None:
            log.removeHandler(self._log)

    def _subscribe(self, kind: Any, topic: str, take: Any, qos: Any) -> None:  # noqa: ANN401
        self._subscriptions.append(self._node.create_subscription(kind, topic, take, qos))

    def _publish(self, messages: dict[str, Fields]) -> None:
        for topic, fields in messages.items():
            message = self._publishers[topic].msg_type()
            parts = {"fields": self._ros.sensor.PointField}
            self._publishers[topic].publish(fill(message, fields, parts=parts))

    def _is_wanted(self, topic: str) -> bool:
        return bool(self._publishers[topic].get_subscription_count())

    def _qos(self, parameters: NodeParameters, *, reliable: bool) -> Any:  # noqa: ANN401
        qos = self._ros.qos
        policy = qos.ReliabilityPolicy
        return qos.QoSProfile(
            depth=parameters.qos_depth,
            history=qos.HistoryPolicy.KEEP_LAST,
            reliability=policy.RELIABLE if reliable else policy.BEST_EFFORT,
        )


def make_node(name: str = "litestereo", *, ros: Ros | None = None) -> Any:  # noqa: ANN401
    """Return the lifecycle node, unconfigured; `ros` replaces the installed one in tests.

    Args:
        name: of the node.
        ros: the modules of ROS 2; None imports them.

    Raises:
        MissingDependencyError: ROS 2 is not there.
    """
    ros = ros or import_ros()
    adapter = StereoAdapter(ros)
    done = ros.lifecycle.TransitionCallbackReturn
    base = ros.lifecycle.LifecycleNode

    def transition(act: Any, name: str) -> Any:  # noqa: ANN401
        def callback(node: Any, state: Any) -> Any:  # noqa: ANN401
            # rclpy drops the words of an exception in a transition: they are logged here.
            try:
                act()
            except LiteStereoError as error:
                node.get_logger().error(str(error))
                return done.FAILURE
            # The base class's part switches the publishers on and off.
            return getattr(base, name)(node, state)

        return callback

    acts = {
        "on_configure": adapter.configure,
        "on_activate": adapter.activate,
        "on_deactivate": adapter.deactivate,
        "on_cleanup": adapter.cleanup,
        "on_shutdown": adapter.cleanup,
    }
    methods = {name: transition(act, name) for name, act in acts.items()}
    node = type("StereoNode", (base,), methods)(name)
    adapter.attach(node)
    return node


def main(arguments: Sequence[str] | None = None, *, ros: Ros | None = None) -> None:
    """Run the node until it is interrupted.

    It configures and activates itself unless the parameter `autostart` is false. `ros` replaces
    the installed one in tests.

    Args:
        arguments: of ROS; None takes those of the command line.
        ros: the modules of ROS 2; None imports them.
    """
    ros = ros or import_ros()
    ros.rclpy.init(args=None if arguments is None else list(arguments))
    node = make_node(ros=ros)
    try:
        started = ros.lifecycle.TransitionCallbackReturn.SUCCESS
        if node.get_parameter("autostart").value and node.trigger_configure() == started:
            node.trigger_activate()
        ros.rclpy.spin(node)
    except (KeyboardInterrupt, ros.executors.ExternalShutdownException):
        pass  # Ctrl-C, or a launch file that ends the node
    finally:
        node.on_shutdown(None)
        node.destroy_node()
        ros.rclpy.try_shutdown()


def _image_fields(message: Any) -> Fields:  # noqa: ANN401 - sensor_msgs/Image
    fields = {name: getattr(message, name) for name in _IMAGE_NAMES}
    return {**fields, "header": header_fields(message.header)}
