"""Videos, folders and (pretended) cameras as sources."""

import threading
import time

import cv2
import numpy as np
import pytest
from timed import TimedBackend

from litestereo.errors import InputError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.stream import StreamOptions, camera_sources, cameras, folders, videos
from litestereo.runtime.stream.camera_sources import CameraOptions
from litestereo.runtime.stream.sources import as_source

SIZE = (48, 64)


def grey(value, size=SIZE):
    return np.full((*size, 3), value, np.uint8)


def write_video(path, pictures, *, rate_hz=30.0):
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate_hz, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def read_all(source):
    reader = source.open(time.monotonic)
    frames = []
    while (frame := reader.read()) is not None:
        frames.append(frame)
    reader.close()
    return frames, reader.unpaired


def test_a_side_by_side_video_is_cut_in_halves(tmp_path):
    pictures = [np.hstack([grey(10 * k), grey(10 * k + 100)]) for k in range(8)]
    frames, _ = read_all(videos(write_video(tmp_path / "both.avi", pictures)))
    assert len(frames) == 8
    for k, frame in enumerate(frames):
        assert frame.left.shape == (*SIZE, 3)
        assert abs(float(frame.left.mean()) - 10 * k) < 3
        assert abs(float(frame.right.mean()) - 10 * k - 100) < 3
    stamps = [frame.stamp_s for frame in frames]
    assert np.diff(stamps) == pytest.approx([1 / 30] * 7, abs=1e-3)


def test_two_videos_of_different_rates_pair_by_time(tmp_path):
    left = write_video(tmp_path / "left.avi", [grey(8 * k) for k in range(20)], rate_hz=20)
    right = write_video(tmp_path / "right.avi", [grey(16 * k) for k in range(10)], rate_hz=10)
    frames, unpaired = read_all(videos(left, right))
    # Half of the left pictures have no partner within 25 ms.
    assert len(frames) == 10
    assert unpaired >= 9
    for frame in frames:
        assert abs(float(frame.left.mean()) - float(frame.right.mean())) < 4


def test_colours_are_rgb(tmp_path):
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[..., 2] = 250  # red, in OpenCV's order
    both = write_video(tmp_path / "red.avi", [np.hstack([picture, picture])] * 2)
    frames, _ = read_all(videos(both))
    red, green, blue = frames[0].left.reshape(-1, 3).mean(axis=0)
    assert red > 230
    assert max(green, blue) < 20


def test_a_video_in_real_time_keeps_its_pace(tmp_path):
    path = write_video(tmp_path / "both.avi", [np.hstack([grey(9), grey(9)])] * 10)
    start_s = time.monotonic()
    frames, _ = read_all(videos(path, realtime=True))
    assert len(frames) == 10
    assert 0.28 <= time.monotonic() - start_s < 2


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 50])
def test_missing_and_broken_videos_say_so(tmp_path, content):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_all(videos(path))


def test_folders_pair_by_order_and_a_broken_file_is_one_invalid_pair(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        for k in (1, 2, 10):
            cv2.imwrite(str(tmp_path / side / f"f{k}.png"), grey(k * 10))
    (tmp_path / "right" / "f2.png").write_bytes(b"broken")
    frames, _ = read_all(folders(tmp_path))
    assert [frame.name for frame in frames] == ["f1", "f2", "f10"]
    assert [frame.problem is None for frame in frames] == [True, False, True]
    assert "f2.png" in frames[1].problem
    assert float(frames[2].left.mean()) == 100


def test_a_folder_of_side_by_side_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.hstack([grey(1), grey(2)]))
    frames, _ = read_all(folders(tmp_path))
    assert (frames[0].left.mean(), frames[0].right.mean()) == (1, 2)


class FakeCapture:
    """A camera of 100 Hz that shows its number, and stops after `pictures`."""

    opened: list["FakeCapture"] = []  # noqa: RUF012 - cleared by the fixture
    pictures = 50
    missing: tuple[int, ...] = ()
    sound = 10**6
    failure: Exception = cv2.error("OpenCV(4.x)\n !_src.empty() in function 'cvtColor'\n")
    steady: tuple[int, ...] = ()

    def __init__(self, device):
        self.device = device
        self.left = self.pictures
        self.released = False
        self.opened.append(self)

    def isOpened(self):
        return self.device not in self.missing

    def grab(self):
        time.sleep(0.01)
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        if self.left < self.pictures - self.sound and self.device not in self.steady:
            raise self.failure
        return True, grey(self.device * 10)

    def set(self, name, value):
        return True

    def get(self, name):
        return 0.0

    def release(self):
        self.released = True


@pytest.fixture
def fake_cameras(monkeypatch):
    class FakeCv2:
        VideoCapture = FakeCapture

        def __getattr__(self, name):
            return getattr(cv2, name)

    monkeypatch.setattr(camera_sources, "import_cv2", lambda purpose: FakeCv2())
    monkeypatch.setattr(FakeCapture, "opened", [])
    return FakeCapture


def test_two_cameras_pair_and_a_dead_one_is_an_error(fake_cameras):
    reader = cameras(1, 2, options=CameraOptions(tolerance_ms=8)).open(time.monotonic)
    frames = [reader.read() for _ in range(20)]
    assert all((f.left[0, 0, 0], f.right[0, 0, 0]) == (10, 20) for f in frames)
    with pytest.raises(InputError, match=r"camera [12] stopped giving pictures"):
        list(iter(reader.read, None))
    reader.close()
    assert all(camera.released for camera in fake_cameras.opened)


@pytest.mark.parametrize("devices", [(1,), (1, 2)])
def test_an_error_of_opencvs_is_a_lost_camera(fake_cameras, monkeypatch, devices):
    monkeypatch.setattr(fake_cameras, "sound", 3)
    options = StreamOptions(reconnects=10, reconnect_after_s=0.0)
    engine = StereoEngine(TimedBackend(time.sleep, lambda _: 0.0))
    source = cameras(*devices, options=CameraOptions(tolerance_ms=1000))
    with engine.stream(source, options=options) as stream:
        until_s = time.monotonic() + 5
        while stream.health["reconnects"] < 11 and time.monotonic() < until_s:
            stream.latest(timeout_s=0.05)
        monkeypatch.setattr(fake_cameras, "sound", 0)
        with pytest.raises(InputError, match=r"camera [12] failed: .*!_src\.empty\(\) in function"):
            list(stream)
    assert stream.health["frames_in"] > 0
    assert len(fake_cameras.opened) == len(devices) * (1 + stream.health["reconnects"])


def test_an_eye_that_fails_ends_the_pairs_of_both_at_once(fake_cameras, monkeypatch):
    monkeypatch.setattr(fake_cameras, "sound", 3)
    monkeypatch.setattr(fake_cameras, "failure", MemoryError("no buffers"))
    monkeypatch.setattr(fake_cameras, "steady", (1,))
    monkeypatch.setattr(fake_cameras, "pictures", 10**6)
    reader = cameras(1, 2).open(time.monotonic)
    with pytest.raises(MemoryError, match="no buffers"):
        list(iter(reader.read, None))
    reader.close()
    assert all(camera.released for camera in fake_cameras.opened)


def test_closing_two_cameras_releases_both_by_their_own_threads(fake_cameras, monkeypatch):
    monkeypatch.setattr(fake_cameras, "pictures", 10**6)
    threads = []
    release = fake_cameras.release

    def noted(self):
        threads.append(threading.current_thread().name)
        release(self)

    monkeypatch.setattr(fake_cameras, "release", noted)
    reader = cameras(1, 2).open(time.monotonic)
    assert reader.read() is not None
    reader.close()
    assert sorted(threads) == ["litestereo camera 1", "litestereo camera 2"]


def test_a_camera_that_is_not_there_says_so_and_frees_the_other(fake_cameras, monkeypatch):
    monkeypatch.setattr(fake_cameras, "missing", (2,))
    with pytest.raises(InputError, match="camera 2 cannot be opened"):
        cameras(1, 2).open(time.monotonic)
    assert all(camera.released for camera in fake_cameras.opened)


def test_a_size_that_the_camera_does_not_have_is_refused(fake_cameras):
    with pytest.raises(InputError, match="0x0 and 480x1280 was asked for"):
        cameras(0, options=CameraOptions(size=(480, 1280))).open(time.monotonic)


def test_a_real_missing_camera_is_an_error(capfd):
    with pytest.raises(InputError, match="cannot be opened"):
        cameras("/dev/no_such_camera").open(time.monotonic)


def test_a_broken_video_is_not_opened_again(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"RIFF1234AVI no more than that")
    stream = StereoEngine(TimedBackend(time.sleep, lambda _: 0.0)).stream(
        videos(tmp_path / "clip.avi"), options=StreamOptions(reconnects=3)
    )
    with pytest.raises(InputError, match=r"clip\.avi"):
        list(stream)
    assert stream.health["reconnects"] == 0


@pytest.mark.parametrize("source", [7, "left.mp4", None])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(InputError, match="no source of pairs"):
        as_source(source)
