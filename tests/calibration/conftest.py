"""A set that several tests read, made once."""

from __future__ import annotations

import pytest
from pairs import write_folders

from litestereo.calibration.make import make_set


@pytest.fixture(scope="session")
def calibration(tmp_path_factory):
    """Return a set of sixteen pairs."""
    folder = tmp_path_factory.mktemp("calibration")
    return make_set([str(write_folders(folder / "scenes", 16))], output=folder / "set")[0]
