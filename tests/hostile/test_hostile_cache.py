"""A plan is code to TensorRT: one that a stranger may have put there is built anew."""

import os

import pytest
from readers import _KEY

from litestereo.runtime.tensorrt.cache import EngineCache


@pytest.fixture
def cache(tmp_path):
    said = []
    cache = EngineCache(tmp_path / "engines", said.append)
    cache.engine(_KEY, name="las1", build=lambda: (b"plan", {}))
    return cache, said


def again(cache):
    return cache.engine(_KEY, name="las1", build=lambda: (b"new", {}))


def test_our_own_plan_is_taken(cache):
    assert again(cache[0]).plan == b"plan"


@pytest.mark.parametrize("which", ["folder", "plan"])
def test_a_plan_that_everybody_may_write_is_not_taken(cache, which):
    cache, said = cache
    path = cache.folder if which == "folder" else cache.plan_path(_KEY, name="las1")
    path.chmod(0o777)
    assert again(cache).plan == b"new"
    assert "everybody may write" in said[-1]
    assert "chmod o-w" in said[-1]


def test_a_plan_of_another_user_is_not_taken(cache, monkeypatch):
    cache, said = cache
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4321)
    os.chown(cache.folder, os.getuid() or 1, -1)
    assert again(cache).plan == b"new"
    assert "belongs to user" in said[-1]


def test_root_takes_a_users_folder_as_containers_mount_them(cache, monkeypatch):
    cache, _ = cache
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert again(cache).plan == b"plan"


def test_a_changed_plan_is_not_taken(cache):
    cache, said = cache
    cache.plan_path(_KEY, name="las1").write_bytes(b"evil")
    assert again(cache).plan == b"new"
    assert "damaged" in said[-1]
