"""A kill at any moment leaves nothing that is read as whole, and nothing in the next one's way.

The long version, 200 kills and 100 interrupts over five jobs, is tests/faults/kill_campaign.py.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from calibration.pairs import write_folders
from fault_jobs import BIN, command_jobs, environment
from kill_campaign import attack, temporary_files

from litestereo.commands import shared
from litestereo.runtime.files import replacing, write_atomic


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return command_jobs(write_folders(tmp_path_factory.mktemp("scenes"), 12))


@pytest.mark.parametrize("name", ["engine build", "cache write"])
def test_killed_jobs_leave_nothing_unsound(jobs, tmp_path, name):
    assert attack(jobs[name], tmp_path / "job", trials=2, number=signal.SIGKILL, seed=3) == []


@pytest.mark.parametrize("name", ["calibration"])
def test_interrupted_jobs_leave_nothing_behind(jobs, tmp_path, name):
    assert attack(jobs[name], tmp_path / "job", trials=2, number=signal.SIGINT, seed=3) == []


def test_the_attack_can_fail(jobs, tmp_path):
    """A job that writes its file under the final name is found out."""
    careless = (
        "import sys, time; f = open(sys.argv[1] + '/a.onnx', 'wb'); f.write(b'half'); f.flush(); "
        "open(sys.argv[1] + '/.a.onnx.tmp', 'w'); time.sleep(60)"
    )
    job = jobs["export"]
    broken = type(job)("careless", (sys.executable, "-c", careless, "{folder}"), job.check)
    folder = tmp_path / "job"
    folder.mkdir()
    process = subprocess.Popen(broken.words(folder))
    while not temporary_files(folder):
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(Exception, match="ONNX Runtime cannot load"):
        broken.check(folder)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_says_one_line(tmp_path, number, status):
    """Stopped while it writes one result after another; its summary comes all the same."""
    many = ["--folder", str(tmp_path / "pairs"), "--save-every", "1", "-o", str(tmp_path / "out")]
    write_folders(tmp_path / "scenes", 1)
    for index in range(300):
        for side in ("left", "right"):
            to = tmp_path / "pairs" / side / f"{index:03d}.png"
            to.parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / "scenes" / "scene_000" / f"{side}.png", to)
    process = subprocess.Popen(
        [str(BIN / "stereo-run"), *many, "--threads", "1"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline_s = time.monotonic() + 60
    while not (tmp_path / "out").is_dir() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    process.send_signal(number)
    out, words = process.communicate(timeout=60)
    assert process.returncode == status, words
    summary = json.loads(out)
    assert summary["ended"] == "interrupt"
    assert summary["health"]["frames_out"] >= 1
    assert words.count(f"stereo-run: stopped by {number.name}\n") == 1
    assert "Traceback" not in words
    assert temporary_files(tmp_path) == set()


def test_a_library_call_leaves_the_callers_signals_alone():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    app = shared.command_app()
    app.command()(lambda: None)
    with pytest.raises(SystemExit):
        shared.run_command(app, name="x", arguments=[])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    found = []

    def elsewhere():
        with pytest.raises(SystemExit):
            shared.run_command(app, name="x", arguments=[])
        found.append("ran")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == ["ran"]


def test_a_killed_writers_file_is_taken_up(tmp_path):
    (tmp_path / ".a.bin.tmp").write_bytes(b"x" * 100)
    write_atomic(tmp_path / "a.bin", b"new")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_killed_makers_folder_is_taken_up_empty(tmp_path):
    (tmp_path / ".a.tmp" / "deep").mkdir(parents=True)
    (tmp_path / ".a.tmp" / "old").write_bytes(b"old")
    with replacing(tmp_path / "a", folder=True) as folder:
        (folder / "new").write_bytes(b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["new"]


def test_a_living_writers_file_is_left_to_it(tmp_path):
    with replacing(tmp_path / "a.bin") as slow:
        slow.write_bytes(b"slow")
        write_atomic(tmp_path / "a.bin", b"quick")
        assert (tmp_path / "a.bin").read_bytes() == b"quick"
    assert (tmp_path / "a.bin").read_bytes() == b"slow"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_without_locks_each_writer_has_its_own_name(tmp_path, monkeypatch):
    from litestereo.runtime import files

    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with replacing(tmp_path / "a.bin") as one, replacing(tmp_path / "a.bin") as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"one"


def test_writers_at_once_give_whole_files(tmp_path):
    """Eight threads replace one file; a reader sees only whole ones."""
    path, torn = tmp_path / "a.bin", []
    write_atomic(path, bytes([0]) * 50_000)

    def write(value):
        for _ in range(25):
            write_atomic(path, bytes([value]) * 50_000)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        content = path.read_bytes()
        if len(content) != 50_000 or len(set(content)) != 1:
            torn.append(len(content))
    assert torn == []
    assert os.listdir(tmp_path) == ["a.bin"]
