import builtins
import sys
import types

import pytest

from litestereo.errors import MissingDependencyError
from litestereo.runtime.opencv import import_cv2


def test_the_installed_one_is_taken():
    assert import_cv2("a test") is sys.modules["cv2"]


def test_without_it_the_extra_and_the_system_package_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match="python3-opencv") as caught:
        import_cv2("reading pictures")
    assert "reading pictures needs it" in str(caught.value)
    assert "pip install 'litestereo[opencv]'" in str(caught.value)


def test_a_missing_system_library_is_told_in_its_own_words(monkeypatch):
    plain_import = builtins.__import__

    def without_gl(name, *rest):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return plain_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_gl)
    with pytest.raises(MissingDependencyError, match=r"libGL\.so\.1: cannot open"):
        import_cv2("reading pictures")


def test_the_empty_rest_of_two_builds_is_recognised(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))
    with pytest.raises(MissingDependencyError, match=r"uninstall every opencv-python\*"):
        import_cv2("reading pictures")
