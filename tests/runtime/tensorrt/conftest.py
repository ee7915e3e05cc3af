"""Fixtures of the TensorRT tests."""

import pytest
from plugin_kernels import kernels

__all__ = ["kernels", "las2_s"]


@pytest.fixture(scope="session")
def las2_s():
    """Return the simplified graph of LAS2-S, with random weights."""
    from litestereo import models
    from litestereo.export.options import ExportOptions
    from litestereo.export.pipeline import fp32_graph
    from litestereo.export.simplify import simplify

    network = models.create("las2_s").eval()
    return simplify(fp32_graph(network, options=ExportOptions(model="las2_s")))
