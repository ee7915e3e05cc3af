"""Disks that are full, read-only or shared, homes that are missing, clocks that jump."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeDevice
from fake_tensorrt import fake_tensorrt
from fault_jobs import BIN, TESTS, environment
from stand_in import expected, write_stand_in

from litestereo.errors import EngineError, InputError
from litestereo.runtime.files import write_atomic
from litestereo.runtime.tensorrt import cache as module
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.backend import TensorRt
from litestereo.runtime.tensorrt.cache import CacheKey, EngineCache, default_folder
from litestereo.runtime.tensorrt.options import GpuOptions

KEY = CacheKey("a" * 64, "64x96", "b" * 64, "10.3", "Fake", "sm_87", "16", "64", "{}", "v1")
PLAN = b"plan" * 250_000


def never():
    raise AssertionError("built although a sound engine is cached")


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 1 MiB, or skip."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_old_file(small_disk):
    path = write_atomic(small_disk / "a.bin", b"old" * 1000)
    with pytest.raises(InputError, match="No space left on device"):
        write_atomic(path, bytes(2_000_000))
    assert path.read_bytes() == b"old" * 1000
    assert os.listdir(small_disk) == ["a.bin"]


def test_a_full_disk_costs_the_cache_not_the_engine(small_disk):
    said = []
    cache = EngineCache(small_disk, said.append)
    big = bytes(2_000_000)
    engine = cache.engine(KEY, name="las1", build=lambda: (big, {}))
    assert engine.plan == big
    assert engine.path is None
    assert "No space left" in said[-1]
    assert not list(small_disk.glob("*.plan")) + list(small_disk.glob(".*tmp"))
    small = cache.engine(KEY, name="las1", build=lambda: (b"small", {}))
    assert small.path is not None
    assert cache.engine(KEY, name="las1", build=never).plan == b"small"


def test_a_disk_without_a_byte_left_costs_the_cache_not_the_engine(small_disk):
    """There is room for the lock's name, and none for the process that it notes."""
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    said = []
    engine = EngineCache(small_disk, said.append).engine(KEY, name="las1", build=lambda: (PLAN, {}))
    assert (engine.plan, engine.path, engine.was_built) == (PLAN, None, True)
    assert "No space left" in said[-1]
    assert said[-1].endswith("for this run only")


@pytest.mark.parametrize(
    "command",
    [
        ("stereo-run", "--demo", "--npy", "--model", "{model}", "-o", "{disk}/out"),
        ("stereo-calibrate", "{pairs}", "-o", "{disk}/set"),
    ],
    ids=lambda command: command[0],
)
def test_commands_on_a_full_disk_say_so_and_leave_nothing(small_disk, tmp_path, command):
    from calibration.pairs import write_folders

    (small_disk / "filler").write_bytes(bytes(900_000))
    places = {
        "model": write_stand_in(tmp_path / "m.onnx"),
        "disk": small_disk,
        "pairs": write_folders(tmp_path / "pairs", 12, size=(160, 320)),
    }
    ran = subprocess.run(
        [str(BIN / command[0]), *(word.format(**places) for word in command[1:])],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{command[0]}: error: cannot write")
    assert "No space left on device" in last
    left = {path.name for path in small_disk.rglob("*") if path.name.endswith("tmp")}
    assert left == set()
    assert not (small_disk / "set").exists()


def test_a_read_only_cache_gives_its_engines_and_takes_none(tmp_path):
    """Mounted read-only, so that it holds for root, too."""
    said = []
    folder = tmp_path / "cache"
    cache = EngineCache(folder, said.append)
    cache.engine(KEY, name="las1", build=lambda: (PLAN, {}))
    bound = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if bound.returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        assert cache.engine(KEY, name="las1", build=never).plan == PLAN
        other = CacheKey(**{**KEY.to_json(), "gpu": "other"})
        built = cache.engine(other, name="las1", build=lambda: (b"other", {}))
        assert (built.plan, built.path) == (b"other", None)
        assert "Read-only file system" in said[-1]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_without_a_home_commands_run(tmp_path):
    """No HOME, and a user that no list of users knows, as in many containers."""
    model = write_stand_in(tmp_path / "m.onnx")
    tmp_path.chmod(0o777)
    variables = environment(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        variables.pop(name)
    words = ["--demo", "--model", str(model), "-o", str(tmp_path / "out")]
    ran = subprocess.run(
        [str(BIN / "stereo-run"), *words], env=variables, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_without_a_home_engines_need_a_named_folder(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(EngineError, match="HOME is not set; name a folder with --engine-cache"):
        default_folder()


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    """Files from the future are used as any other, and times are taken from a monotonic clock."""
    cache = EngineCache(tmp_path, lambda _: None)
    stored = cache.engine(KEY, name="las1", build=lambda: (PLAN, {})).path
    for path in (stored, stored.with_suffix(".json")):
        os.utime(path, (4e9, 4e9))
    assert cache.engine(KEY, name="las1", build=never).plan == PLAN
    script = (
        "import itertools, time\n"
        "clock = itertools.count(4e9, -3600)\n"
        "time.time = lambda: float(next(clock))\n"
        "time.time_ns = lambda: int(1e9 * next(clock))\n"
        "from litestereo.cli import run_main\n"
        "import sys; sys.exit(run_main())"
    )
    model = write_stand_in(tmp_path / "m.onnx")
    words = ["--demo", "--model", str(model), "-o", str(tmp_path / "out")]
    ran = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    timings = json.loads(ran.stdout)["pairs"][0]["timings"]
    assert all(0 <= value < 60_000 for value in timings.values())


def test_no_module_measures_by_a_clock_that_can_be_set():
    package = TESTS.parent / "litestereo"
    wrong = [p.name for p in package.rglob("*.py") if "time.time()" in p.read_text()]
    assert wrong == []


def use_cache(folder, seed, queue):
    import random

    order = random.Random(seed)
    cache = EngineCache(folder, lambda _: None)
    built = 0

    def build(plan):
        nonlocal built
        built += 1
        time.sleep(0.01)
        return plan, {}

    for _ in range(30):
        number = order.randrange(6)
        key = CacheKey(**{**KEY.to_json(), "sizes": str(number)})
        plan = bytes([number]) * 200_000
        if cache.engine(key, name="las1", build=lambda plan=plan: build(plan)).plan != plan:
            queue.put("wrong plan")
        if order.random() < 0.1:  # an impatient user clears the cache
            cache.plan_path(key, name="las1").unlink(missing_ok=True)
    queue.put(built)


def test_eight_processes_share_a_cache(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    users = [context.Process(target=use_cache, args=(tmp_path, i, queue)) for i in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
    assert [user.exitcode for user in users] == [0] * 8
    answers = [queue.get() for _ in users]
    assert "wrong plan" not in answers
    # Six engines, and one more for each that was cleared: not one for each process.
    assert 6 <= sum(answers) < 60
    assert not list(tmp_path.glob(".*tmp"))


def test_two_versions_of_the_package_share_a_cache(tmp_path, monkeypatch):
    """A version that stores otherwise has engines of its own: neither reads nor spoils others'."""
    cache = EngineCache(tmp_path, lambda _: None)
    cache.engine(KEY, name="las1", build=lambda: (PLAN, {}))
    with monkeypatch.context() as other:
        other.setattr(module, "FORMAT_VERSION", module.FORMAT_VERSION + 1)
        newer = cache.engine(KEY, name="las1", build=lambda: (b"newer", {}))
        assert (newer.plan, newer.was_built) == (b"newer", True)
        assert cache.engine(KEY, name="las1", build=never).plan == b"newer"
    assert cache.engine(KEY, name="las1", build=never).plan == PLAN


def test_tensorrt_driver_or_gpu_changed_under_a_cached_engine(tmp_path, rng):
    """Each change builds anew, says why, and going back finds the first engine."""
    artifact = read_artifact(write_stand_in(tmp_path / "m.onnx"))
    pair = tuple(rng.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(2))

    def builds(version="10.3.0", **info):
        said, device = [], FakeDevice(**info)
        trt = fake_tensorrt(version, device=device)
        options = GpuOptions(cache_dir=tmp_path / "cache", progress=said.append)
        backend = TensorRt(trt, artifact, device=device, options=options)
        np.testing.assert_allclose(backend.infer(*pair)[0], expected(*pair)[0], atol=1e-4)
        backend.close()
        return len(trt.builds), " ".join(said)

    assert builds()[0] == 1
    assert builds() == (0, "")
    for change, word in (
        ({"version": "10.7.0"}, "tensorrt_version is 10.3.0, need 10.7.0"),
        ({"name": "Other GPU"}, "gpu is Fake GPU, need Other GPU"),
        ({"compute_capability": (9, 0)}, "sm is sm_87, need sm_90"),
    ):
        count, said = builds(**change)
        assert count == 1
        assert word in said
    # A newer driver runs older engines: TensorRT promises it, and nothing is built.
    assert builds(driver_version=(13, 0))[0] == 0
    assert builds() == (0, "")


def test_an_engine_that_tensorrt_refuses_is_a_clear_error(tmp_path):
    """The cache's word is good and TensorRT's own check still says no."""
    artifact = read_artifact(write_stand_in(tmp_path / "m.onnx", size=(64, 96)))
    options = GpuOptions(cache_dir=tmp_path / "cache")
    device = FakeDevice()
    trt = fake_tensorrt("10.3.0", device=device, input_shape=(64, 96, 3))
    TensorRt(trt, artifact, device=device, options=options).close()
    device = FakeDevice()
    other = fake_tensorrt(
        "10.3.0", device=device, input_shape=(64, 96, 3), refuse_load="built for another driver"
    )
    with pytest.raises(EngineError, match="another driver"):
        TensorRt(other, artifact, device=device, options=options)
    assert device.closed == 1
