"""Fixtures of the TensorRT tests."""

from plugin_kernels import kernels

__all__ = ["kernels"]
