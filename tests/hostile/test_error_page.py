"""The page of errors follows from the exception tree, and the tree's picture from its classes."""

import inspect

import pytest
from error_page import PAGE, error_page

from litestereo import errors


def test_page_is_up_to_date():
    assert PAGE.read_text() == error_page(), "run python tests/hostile/error_page.py"


def test_every_error_is_public_and_in_the_picture():
    classes = {n: c for n, c in vars(errors).items() if inspect.isclass(c)}
    assert set(classes) == set(errors.__all__)
    assert all(issubclass(c, errors.LiteStereoError) for c in classes.values())
    assert all(name in errors.__doc__ for name in classes)


def test_an_error_without_a_fix_is_found(monkeypatch):
    monkeypatch.setattr(errors.InputError, "__doc__", "Only words. Cause: something.")
    with pytest.raises(ValueError, match="InputError needs"):
        error_page()
