"""What all tests of training share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu_of_those_that_need_one(request):
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures this small gain nothing from threads, which cost much beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
