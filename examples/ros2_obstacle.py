"""The ROS 2 node with something of your own in its process: a warning for what is near.

    source /opt/ros/$ROS_DISTRO/setup.bash
    python examples/ros2_obstacle.py --ros-args -r left/image_rect:=/camera/left/image_rect ...

The node itself needs no code: `python -m litestereo.ros --ros-args -p model:=las1`.
"""

import sys

import numpy as np

if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:]):
    print(__doc__)
    sys.exit()  # before the imports that need ROS

import rclpy
from sensor_msgs.msg import Image
from std_msgs.msg import Float32

from litestereo.ros.node import make_node

NEAR_M = 1.0


def nearest_m(message: Image) -> float:
    """Return the distance that 2 % of the depth picture are nearer than; NaN if it is empty."""
    rows = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
    seen = rows[np.isfinite(rows)]
    return float(np.percentile(seen, 2)) if seen.size else float("nan")


def main() -> None:
    rclpy.init()
    node = make_node("litestereo")
    publisher = node.create_publisher(Float32, "nearest", 1)

    def warn(message: Image) -> None:
        distance_m = nearest_m(message)
        publisher.publish(Float32(data=distance_m))
        if distance_m < NEAR_M:
            node.get_logger().warning(f"something is {distance_m:.2f} m away")

    # The depth topic is published only while someone listens, as here.
    node.create_subscription(Image, "depth/image", warn, 1)
    node.trigger_configure()
    node.trigger_activate()
    try:
        rclpy.spin(node)
    finally:
        node.on_shutdown(None)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
