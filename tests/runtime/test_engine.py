import threading

import numpy as np
import pytest
from stand_in import expected, stand_in_manifest, write_stand_in

import litestereo
from litestereo.assets import artifact_path, bundled_artifact, bundled_models
from litestereo.errors import EngineError, InputError
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.manifest import InputSpec
from litestereo.runtime.preprocess import padded_pair
from litestereo.runtime.results import StereoResult


@pytest.fixture
def artifact(tmp_path):
    return write_stand_in(tmp_path / "stand_in.onnx")


def pair(rng, height=75, width=101):
    return tuple(rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(2))


def test_the_answer_is_cropped_to_the_picture(artifact, rng):
    left, right = pair(rng)
    with StereoEngine.load(artifact, threads=1) as engine:
        result = engine(left, right)
    disparity, confidence = expected(left, right)
    np.testing.assert_allclose(result.disparity_px, disparity, atol=1e-4)
    np.testing.assert_allclose(result.confidence, confidence, atol=1e-6)
    assert result.disparity_px.dtype == result.confidence.dtype == np.float32
    assert (result.backend, result.device, result.precision) == ("onnxruntime-cpu", "cpu", "fp32")
    assert (result.scale, result.inference_size) == (1.0, (96, 128))
    assert result.max_disparity_px == 188


def test_grey_gives_what_grey_as_rgb_gives(artifact, rng):
    grey = rng.integers(0, 256, (2, 64, 80), np.uint8)
    with StereoEngine.load(artifact) as engine:
        flat = engine(grey[0], grey[1]).disparity_px
        single = engine(grey[0][..., None], grey[1][..., None]).disparity_px
    np.testing.assert_allclose(flat, grey[0] * 0.5, atol=1e-4)
    np.testing.assert_array_equal(flat, single)


def test_timings_add_up(artifact, rng):
    with StereoEngine.load(artifact) as engine:
        timings = engine(*pair(rng)).timings
    parts = (timings.preprocess_ms, timings.inference_ms, timings.postprocess_ms)
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(timings.total_ms)


def test_a_scaled_answer_is_in_pixels_of_the_given_picture(artifact):
    left = np.full((96, 128, 3), 80, np.uint8)
    with StereoEngine.load(artifact, scale=0.5) as engine:
        result = engine(left, left)
    assert result.inference_size == (64, 64)
    assert result.scale == 0.5
    assert result.max_disparity_px == 376
    assert result.disparity_px.shape == (96, 128)
    # 80 grey levels are 40 px to the stand-in, at half the size: 80 px of the given picture.
    np.testing.assert_allclose(result.disparity_px, 80, rtol=1e-5)


def test_a_scaled_map_stays_in_place(artifact):
    left = np.tile(np.linspace(0, 250, 128).astype(np.uint8)[None, :, None], (96, 1, 3))
    with StereoEngine.load(artifact, scale=0.5) as engine:
        half = engine(left, left).disparity_px
    np.testing.assert_allclose(half[:, 4:-4], left[:, 4:-4, 0] * 0.5 * 2, atol=2.5)


def test_a_larger_range_lowers_the_size(artifact, rng):
    left, right = pair(rng, 128, 192)
    with StereoEngine.load(artifact, max_disparity_px=376) as engine:
        result = engine(left, right)
    assert result.scale == 0.5
    assert result.inference_size == (64, 96)
    assert result.max_disparity_px == 376


def test_a_range_within_reach_changes_nothing(artifact, rng):
    with StereoEngine.load(artifact, max_disparity_px=100) as engine:
        assert engine(*pair(rng)).scale == 1


def test_fit_within_bounds_the_size(artifact, rng):
    with StereoEngine.load(artifact, fit_within=(64, 64)) as engine:
        assert engine(*pair(rng, 64, 128)).inference_size == (32, 64)


def test_a_scale_that_cannot_reach_the_range_is_refused(artifact):
    with pytest.raises(InputError, match=r"reaches 188 px .* 300 px are asked for"):
        StereoEngine.load(artifact, scale=1.0, max_disparity_px=300)


def test_answers_at_the_end_of_the_range_are_counted(tmp_path):
    artifact = write_stand_in(tmp_path / "far.onnx", gain=0.75)
    left = np.zeros((64, 100, 3), np.uint8)
    left[:, :25] = 250  # 187.5 px
    with StereoEngine.load(artifact) as engine:
        assert engine(left, left).range_clipped == 0.25
    with StereoEngine.load(artifact, scale=0.5) as engine:
        assert engine(left, left).range_clipped == pytest.approx(0.25, abs=0.02)


def test_fixed_sizes_pad_up_and_never_down(tmp_path, rng):
    artifact = write_stand_in(tmp_path / "fixed.onnx", size=(96, 128))
    left, right = pair(rng, 50, 70)
    with StereoEngine.load(artifact) as engine:
        result = engine(left, right)
        with pytest.raises(InputError, match="128x128 do not fit the artefact's fixed size 96x128"):
            engine(*pair(rng, 128, 128))
    assert result.inference_size == (96, 128)
    np.testing.assert_allclose(result.disparity_px, expected(left, right)[0], atol=1e-4)


def test_negative_answers_become_zero(tmp_path, rng):
    artifact = write_stand_in(tmp_path / "negative.onnx", gain=-1.0)
    with StereoEngine.load(artifact) as engine:
        assert (engine(*pair(rng)).disparity_px == 0).all()


def test_answers_that_are_no_number_are_an_error(tmp_path, rng):
    artifact = write_stand_in(tmp_path / "nan.onnx", gain=float("nan"))
    with StereoEngine.load(artifact) as engine, pytest.raises(EngineError, match="NaN"):
        engine(*pair(rng))


class Answers:
    """A backend that answers what it is told."""

    name, device, precision, fixed_size = "answers", "cpu", "fp32", None
    manifest = stand_in_manifest()

    def __init__(self, *maps):
        self.maps = maps

    def infer(self, left, right):
        return self.maps

    def close(self):
        pass


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["disparity", "confidence"])
@pytest.mark.parametrize("place", [(0, 0), (37, 50), (95, 127)])
def test_one_value_that_is_no_number_is_found_in_either_map(bad, name, place):
    maps = {name: np.ones((96, 128), np.float32) for name in ("disparity", "confidence")}
    engine, pictures = StereoEngine(Answers(*maps.values())), np.zeros((2, 96, 128, 3), np.uint8)
    engine(*pictures)
    maps[name][place] = bad
    with pytest.raises(EngineError, match=f"{name} holds NaN or infinity"):
        engine(*pictures)


@pytest.mark.parametrize("size", [(96, 128), (96, 125), (64, 75), (70, 128)])
@pytest.mark.parametrize("least", [0.0, -1.0])
@pytest.mark.parametrize("rows", [(0, 1), (3, 60), (63, 64), (0, 96), (5, 5)])
def test_the_range_s_end_is_counted_wherever_it_is(rng, size, least, rows):
    padded = tuple(-(-side // 32) * 32 for side in size)
    disparity = rng.uniform(least, 180, padded).astype(np.float32)
    disparity[rows[0] : rows[1], 3:64] = 187
    backend = Answers(disparity, np.ones(padded, np.float32))
    engine = StereoEngine(backend)
    for _ in range(2):
        result = engine(*np.zeros((2, *size, 3), np.uint8))
        end = 0.97 * result.max_disparity_px
        assert result.range_clipped == np.count_nonzero(result.disparity_px >= end) / np.prod(size)


def test_sizes_and_shrinking_may_change_from_call_to_call(artifact, rng):
    with StereoEngine.load(artifact) as engine:
        for size in ((64, 96), (96, 64), (64, 96), (64, 96)):
            left, right = pair(rng, *size)
            wanted = expected(left, right)[0]
            np.testing.assert_allclose(engine(left, right).disparity_px, wanted, atol=1e-4)
            assert engine.prepare(left, right).frame.padded_size == size
            half = engine.prepare(left, right, shrink=0.5).frame
            assert half == engine.frame_for(size, shrink=0.5)
            assert half.padded_size != size
    with pytest.raises(EngineError, match="is closed"):
        engine.prepare(left, right)


def test_results_stay_when_the_engine_runs_again(artifact, rng):
    with StereoEngine.load(artifact) as engine:
        first = engine(*pair(rng, 64, 96))
        kept = first.disparity_px.copy()
        engine(*pair(rng, 64, 96))
    np.testing.assert_array_equal(first.disparity_px, kept)


def test_inputs_are_left_alone(artifact, rng):
    left, right = pair(rng)
    before = left.copy(), right.copy()
    with StereoEngine.load(artifact, scale=0.5) as engine:
        engine(left, right)
    np.testing.assert_array_equal(left, before[0])
    np.testing.assert_array_equal(right, before[1])


def test_close_is_idempotent_and_final(artifact, rng):
    engine = StereoEngine.load(artifact)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="engine is closed"):
        engine(*pair(rng))


@pytest.mark.parametrize("recovers", [False, True])
def test_an_engine_closes_while_a_call_hangs(artifact, rng, recovers):
    engine = StereoEngine.load(artifact)
    backend, called, done = engine._backend, threading.Event(), threading.Event()
    answer = backend.infer

    def hanging(left, right):
        called.set()
        assert done.wait(30)
        return answer(left, right)

    backend.infer = hanging
    left, right = pair(rng)
    thread = threading.Thread(target=engine, args=(left, right))
    thread.start()
    assert called.wait(30)
    engine.expect_no_answer()
    if recovers:
        done.set()
        thread.join(30)
        engine(left, right)
    engine.close()  # which would wait for the call that hangs
    with pytest.raises(EngineError, match="engine is closed"):
        engine(left, right)
    assert thread.is_alive() != recovers
    done.set()
    thread.join(30)


def test_the_network_sees_the_pictures_own_pixels(artifact, rng):
    left, right = pair(rng, 62, 94)
    with StereoEngine.load(artifact) as engine:
        result = engine(left, right)
    around = [(0, 2), (0, 2), (0, 0)]
    padded = (np.pad(picture, around, mode="edge") for picture in (left, right))
    np.testing.assert_allclose(result.disparity_px, expected(*padded)[0][:-2, :-2], atol=1e-4)


def test_threads_get_their_own_answers(artifact, rng):
    pairs = [pair(rng, 64, 64 + 32 * n) for n in range(8)]
    results: dict[int, StereoResult] = {}
    with StereoEngine.load(artifact) as engine:
        workers = [
            threading.Thread(target=lambda n=n: results.update({n: engine(*pairs[n])}))
            for n in range(8)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for n, (left, right) in enumerate(pairs):
        np.testing.assert_allclose(results[n].disparity_px, expected(left, right)[0], atol=1e-4)


class ReusingBackend:
    """A backend that answers every call in one buffer and notices calls that overlap."""

    name, device, precision, fixed_size = "reusing", "cpu", "fp32", None

    def __init__(self, manifest):
        self.manifest = manifest
        self.closed = 0
        self._busy = threading.Lock()
        self._buffer = np.empty((64, 64), np.float32)

    def infer(self, left, right):
        assert self._busy.acquire(blocking=False), "two calls at once"
        self._buffer[:] = left[..., 0]
        self._busy.release()
        return self._buffer, np.ones((64, 64), np.float32)

    def close(self):
        self.closed += 1


def test_a_backend_may_reuse_its_buffers(artifact):
    with StereoEngine.load(artifact) as engine:
        backend = ReusingBackend(engine.manifest)
    wrong = []

    def work(level):
        picture = np.full((64, 64), level, np.uint8)
        for _ in range(50):
            if not (engine(picture, picture).disparity_px == level).all():
                wrong.append(level)

    with StereoEngine(backend) as engine:
        workers = [threading.Thread(target=work, args=(10 * n,)) for n in range(1, 5)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []
    assert backend.closed == 1


def test_a_map_of_another_size_is_refused(artifact):
    class Shrinking(ReusingBackend):
        def infer(self, left, right):
            return left[1:, :, 0].astype(np.float32), right[..., 0].astype(np.float32)

    with StereoEngine.load(artifact) as loaded:
        engine = StereoEngine(Shrinking(loaded.manifest))
    picture = np.zeros((64, 64), np.uint8)
    with pytest.raises(EngineError, match="not what its manifest"):
        engine(picture, picture)


def test_an_unknown_model_lists_the_bundled():
    with pytest.raises(InputError, match=r"'las9' is neither a bundled model \(.*\) nor"):
        StereoEngine.load("las9")


def test_bundled_names_become_their_artifact(tmp_path):
    assert [artifact_path(name) for name in bundled_models()] == [
        bundled_artifact(name) for name in bundled_models()
    ]
    assert artifact_path(write_stand_in(tmp_path / "x.onnx")) == tmp_path / "x.onnx"


def test_the_public_names_are_the_engine():
    assert litestereo.StereoEngine is StereoEngine
    assert litestereo.StereoResult is StereoResult


@pytest.mark.skipif("las1" not in bundled_models(), reason="las1 is not bundled in this checkout")
def test_the_bundled_model_shifts_with_a_shifted_picture(rng):
    import cv2

    texture = rng.integers(0, 256, (40, 60, 3), np.uint8)
    wide = cv2.resize(texture, (220, 128), interpolation=cv2.INTER_CUBIC)
    left, right = wide[:, 8:200], wide[:, 20:212]
    with StereoEngine.load("las1") as engine:
        assert engine.manifest.model == "las1"
        assert engine.manifest.input == InputSpec()
        result = engine(left, right)
    assert result.disparity_px.shape == (128, 192)
    inner = result.disparity_px[16:-16, 48:-16]
    assert np.median(inner) == pytest.approx(12, abs=1)
    assert 0 <= result.confidence.min() <= result.confidence.max() <= 1


def test_prepared_and_engine_pixels_are_the_same(artifact, rng):
    left, right = pair(rng, 70, 90)
    seen = []

    class Watching(ReusingBackend):
        def infer(self, padded_left, padded_right):
            seen.extend([padded_left.copy(), padded_right.copy()])
            zeros = np.zeros(padded_left.shape[:2], np.float32)
            return zeros, zeros

    with StereoEngine.load(artifact) as loaded, StereoEngine(Watching(loaded.manifest)) as engine:
        engine(left, right)
    for one, other in zip(seen, padded_pair(left, right)[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_maps_may_lie_in_the_backends_memory(rng):
    class Reuses:
        """A backend whose answers lie in memory that the next call overwrites."""

        name = device = "fake"
        precision = "fp32"
        fixed_size = None
        manifest = stand_in_manifest()
        maps = np.ones((2, 64, 96), np.float32)

        def infer(self, left, right):
            self.maps[0] = left[0, 0, 0]
            return self.maps[0], self.maps[1]

        def close(self):
            pass

    dark, light = (np.full((64, 96, 3), value, np.uint8) for value in (10, 20))
    with StereoEngine(Reuses()) as engine:
        kept, lent = engine(dark, dark), engine(dark, dark, copy=False)
        assert np.shares_memory(lent.disparity_px, Reuses.maps)
        engine(light, light)
    assert (kept.disparity_px == 10).all()
    assert (lent.disparity_px == 20).all(), "the next call's"


def test_a_resized_answer_is_a_copy_in_any_case(artifact, rng):
    left, right = pair(rng)
    with StereoEngine.load(artifact, scale=0.5) as engine:
        kept = engine(left, right).disparity_px
        np.testing.assert_array_equal(engine(left, right, copy=False).disparity_px, kept)
