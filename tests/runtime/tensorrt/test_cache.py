"""The engine cache: faults of disk and processes cost a build, never a wrong engine."""

import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import time

import pytest

from litestereo.runtime.tensorrt.cache import CacheKey, EngineCache
from litestereo.runtime.tensorrt.lock import locked

KEY = CacheKey("a" * 64, "64x96", "b" * 64, "8.6.0", "Stand-in", "sm_90", "16", "64", "{}", "v1")
PLAN = b"plan" * 1000


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return EngineCache(tmp_path / "engines", said.append)


def built(plan=PLAN):
    return plan, {"seconds": 1}


def never():
    raise AssertionError("built although a sound engine is cached")


def test_is_built_once(cache):
    assert cache.engine(KEY, name="las1", build=built).was_built
    again = cache.engine(KEY, name="las1", build=never)
    assert again.plan == PLAN
    assert again.facts == {"seconds": 1}
    assert not again.was_built


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_flip(path):
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def damage_sidecar(path):
    path.with_suffix(".json").write_text("{")


def damage_key(path):
    sidecar = json.loads(path.with_suffix(".json").read_text())
    sidecar["key"]["gpu"] = "another"
    path.with_suffix(".json").write_text(json.dumps(sidecar))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (damage_cut, "cut off"),
        (damage_flip, "plan_sha256"),
        (damage_sidecar, "sidecar"),
        (damage_key, "gpu is another, need Stand-in"),
    ],
)
def test_damage_is_said_and_built_again(cache, said, damage, word):
    damage(cache.engine(KEY, name="las1", build=built).path)
    said.clear()
    assert cache.engine(KEY, name="las1", build=built).was_built
    assert len(said) == 1
    assert word in said[0]
    assert cache.engine(KEY, name="las1", build=never).plan == PLAN


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(CacheKey)])
def test_each_field_of_the_key_is_another_engine(cache, said, field):
    cache.engine(KEY, name="las1", build=built)
    other = dataclasses.replace(KEY, **{field: "other"})
    assert cache.engine(other, name="las1", build=lambda: built(b"other")).plan == b"other"
    words = {
        "multiprocessors": "the GPU's number of multiprocessors",
        "memory_gb": "the GPU's memory in GB",
        "builder": "the version of litestereo's builder",
    }
    assert f"{words.get(field, field)} is {getattr(KEY, field)[:12]}" in said[-1]
    assert cache.engine(KEY, name="las1", build=never).plan == PLAN


def test_an_engine_of_a_version_that_noted_less_is_built_again(cache, said):
    sidecar = cache.engine(KEY, name="las1", build=built).path.with_suffix(".json")
    old = json.loads(sidecar.read_text())
    del old["key"]["builder"]
    sidecar.write_text(json.dumps(old))
    assert cache.engine(KEY, name="las1", build=built).was_built
    assert "the version of litestereo's builder is unknown, need v1: building" in said[-1]


def slow_build(folder, seconds):
    def build():
        with (folder / "builds").open("a") as log:
            log.write("x")
        time.sleep(seconds)
        return built()

    EngineCache(folder, lambda _: None).engine(KEY, name="las1", build=build)


def test_two_processes_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=slow_build, args=(tmp_path, 0.5)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "builds").read_text() == "x"


def test_a_process_forked_during_a_build_does_not_keep_its_lock(tmp_path):
    lock = tmp_path / "lock"
    with locked(lock, waiting=lambda _: None):
        forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        forked.start()
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        forked.kill()
        forked.join()


def test_a_killed_build_leaves_nothing_in_the_way(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=slow_build, args=(tmp_path, 60))
    process.start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "builds").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert EngineCache(tmp_path, lambda _: None).engine(KEY, name="las1", build=built).was_built


def test_where_nothing_can_be_kept_the_engine_is_used_once(tmp_path, said):
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file" / "engines", said.append)
    engine = cache.engine(KEY, name="las1", build=built)
    assert engine.plan == PLAN
    assert engine.path is None
    assert "cannot be kept" in said[-1]


@pytest.fixture
def roots_lock(cache, monkeypatch):
    """Return a lock that root left; the flags in the list that is given too are refused on it."""
    lock = cache.plan_path(KEY, name="las1").with_suffix(".lock")
    lock = lock.with_name(f".{lock.name}")
    lock.parent.mkdir()
    lock.write_text("4321\n")
    refused = [os.O_RDWR]

    def opened(path, flags, *mode, really=os.open):
        if path == lock and flags & os.O_ACCMODE in refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    return lock, refused


def test_a_lock_that_can_only_be_read_is_held(cache, roots_lock):
    lock, _ = roots_lock

    def build():
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return built()

    assert cache.engine(KEY, name="las1", build=build).path is not None
    assert lock.read_text() == "4321\n"


def test_a_lock_that_cannot_be_read_is_named_itself(cache, said, roots_lock):
    lock, refused = roots_lock
    refused.append(os.O_RDONLY)
    assert cache.engine(KEY, name="las1", build=built).path is None
    assert f"cannot be kept ({lock}: Permission denied)" in said[-1]
