"""Receipts made of known samples, as fixtures."""

from __future__ import annotations

import known_receipts
import pytest


@pytest.fixture
def make_subject():
    return known_receipts.subject


@pytest.fixture
def make_receipt():
    return known_receipts.receipt


@pytest.fixture
def make_samples():
    return known_receipts.samples
