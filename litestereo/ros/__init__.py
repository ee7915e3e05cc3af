"""A ROS 2 node around the engine; rclpy is only imported when the node is made."""
