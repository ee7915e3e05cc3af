"""What all tests of training share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures this small gain nothing from threads, which cost much beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
