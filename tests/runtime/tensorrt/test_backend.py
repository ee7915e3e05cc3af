"""The backend's life around a fake TensorRT on a fake GPU: order, threads, reuse, GPU arrays."""

import dataclasses
import gc
import threading

import numpy as np
import pytest
from fake_cuda import FakeDevice
from fake_tensorrt import fake_tensorrt
from stand_in import expected, stand_in_manifest, write_stand_in

from litestereo.errors import EngineError, InputError
from litestereo.runtime.cuda.gpu_array import ANY_GPU, GpuArray
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.manifest import InputSpec
from litestereo.runtime.tensorrt import backend as module
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.backend import TensorRt, build_ahead
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions, SizeRange
from litestereo.runtime.tensorrt.plugin.library import library_path

SIZE = (64, 96)


def pair(rng, size=SIZE):
    return tuple(rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))


@pytest.fixture
def make(tmp_path):
    """Return a function that opens a backend and gives (backend, device, trt)."""
    opened = []

    def open_backend(
        *, size=None, device=None, version="10.3.0", behaviour=None, manifest="default", **options
    ):
        path = write_stand_in(tmp_path / "a.onnx", size=size, manifest=manifest)
        device = device or FakeDevice()
        shape = (*size, 3) if size else (-1, -1, 3)
        trt = fake_tensorrt(version, device=device, input_shape=shape, **(behaviour or {}))
        gpu = GpuOptions(cache_dir=tmp_path / "cache", **options)
        backend = TensorRt(trt, read_artifact(path), device=device, options=gpu)
        opened.append(backend)
        return backend, device, trt

    yield open_backend
    for backend in opened:
        backend.close()


def assert_right(backend, left, right):
    disparity, confidence = backend.infer(left, right)
    wanted = expected(left, right)
    np.testing.assert_allclose(disparity, wanted[0], atol=1e-4)
    np.testing.assert_allclose(confidence, wanted[1], atol=1e-6)


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_it_answers_by_every_path(make, rng, integrated, graph):
    backend, device, _ = make(size=SIZE, device=FakeDevice(integrated=integrated), cuda_graph=graph)
    for _ in range(3):
        assert_right(backend, *pair(rng))
    assert device.launches == (3 if graph else 0)
    kinds = sorted(device.live.values())
    assert kinds.count("mapped") == (2 if integrated else 0)  # pictures, answers
    assert kinds.count("pinned") == kinds.count("device") == (0 if integrated else 2)
    assert ("zero-copy" if integrated else "pinned copies") in backend.device
    assert ("CUDA graph" if graph else "enqueued") in backend.device
    assert "Fake GPU sm_87" in backend.device


def test_an_artefact_that_rectifies_answers_at_its_own_size(make, rng):
    raw, inside = (80, 112), SIZE
    manifest = stand_in_manifest(
        input=InputSpec(*raw, multiple_of=1), rectification={"size": list(inside)}
    )
    backend, *_ = make(
        size=raw, manifest=manifest.to_json(), behaviour={"answer_size": inside}, zero_copy=False
    )
    left, right = pair(rng, raw)
    disparity, confidence = backend.infer(left, right)
    wanted = expected(left[: inside[0], : inside[1]], right[: inside[0], : inside[1]])
    np.testing.assert_allclose(disparity, wanted[0], atol=1e-4)
    np.testing.assert_allclose(confidence, wanted[1], atol=1e-6)
    assert backend.fixed_size == raw


def test_without_graphs_in_the_binding_layers_are_enqueued(make, rng):
    backend, device, _ = make(size=SIZE, device=FakeDevice(graphs=False))
    assert_right(backend, *pair(rng))
    assert device.launches == 0
    assert "enqueued" in backend.device


def test_a_call_allocates_nothing(make, rng):
    backend, device, _ = make(size=SIZE)
    before = dict(device.live)
    first, _ = backend.infer(*pair(rng))
    second, _ = backend.infer(*pair(rng))
    assert device.live == before
    assert first is second


def test_closing_drops_in_order_and_once(make, rng):
    backend, device, trt = make(size=SIZE)
    backend.infer(*pair(rng))
    gc.collect()
    trt.log.clear()
    # One list for both: what TensorRT drops and what the GPU frees.
    device.log = trt.log
    backend.close()
    backend.close()
    assert trt.log[:4] == ["free graph", "drop context", "drop engine", "drop runtime"]
    assert set(trt.log[4:-1]) == {"free device", "free pinned", "free event", "free stream"}
    assert trt.log[-1] == "close device"
    assert device.live == {}
    assert device.closed == 1
    with pytest.raises(EngineError, match="is closed"):
        backend.infer(*pair(rng))


def test_a_gpu_that_failed_is_closed_all_the_same(make, rng):
    backend, device, _ = make(size=SIZE)
    assert_right(backend, *pair(rng))

    def broken(_):
        raise EngineError("the CUDA driver failed with CUDA_ERROR_LAUNCH_TIMEOUT (702)")

    device.synchronize = broken
    with pytest.raises(EngineError, match="702"):
        backend.infer(*pair(rng))
    backend.close()
    assert device.closed == 1
    assert not device.live


def test_what_a_failed_gpu_refuses_to_free_does_not_keep_the_rest(make, rng):
    backend, device, _ = make(size=SIZE)
    stream = next(handle for handle, kind in device.live.items() if kind == "stream")
    free = device._free

    def refusing(handle):
        if handle == stream:
            raise EngineError("the CUDA driver failed")
        free(handle)

    device._free = refusing
    backend.close()
    assert device.closed == 1
    assert list(device.live) == [stream]


@pytest.mark.parametrize("ends", ["close", "sizes"])
def test_lent_answers_outlive_what_lent_them(make, rng, ends):
    backend, device, _ = make()
    engine = StereoEngine(backend)
    left, right = pair(rng)
    lent = engine(left, right, copy=False)
    if ends == "sizes":
        for number in range(module._MOST_SIZES):
            engine(*pair(rng, (128 + 32 * number, 96)))
        assert sorted(device.live.values()).count("pinned") == 2 * module._MOST_SIZES + 1
    before = lent.disparity_px.copy()
    engine.close()
    assert sorted(device.live.values()) == ["pinned"]  # which is never freed
    assert not device.closed
    np.testing.assert_array_equal(lent.disparity_px, before)
    np.testing.assert_allclose(before, expected(left, right)[0], atol=1e-4)


@pytest.mark.parametrize("integrated", [False, True])
def test_a_pair_in_the_input_buffers_is_not_copied(make, rng, integrated, monkeypatch):
    backend, device, _ = make(device=FakeDevice(integrated=integrated))
    engine = StereoEngine(backend)
    left, right = engine.input_buffers(SIZE)
    assert left.shape == right.shape == (*SIZE, 3)
    copied, uploaded = [], []
    copyto, upload = np.copyto, device.upload
    monkeypatch.setattr(
        "litestereo.runtime.tensorrt.session.np.copyto",
        lambda to, source: (copied.append(source), copyto(to, source)),
    )
    device.upload = lambda *given: (uploaded.append(given[1].array), upload(*given))
    for _ in range(2):
        given = pair(rng)
        left[...], right[...] = given
        result = engine(left, right)
        np.testing.assert_allclose(result.disparity_px, expected(*given)[0], atol=1e-4)
    assert not [one for one in copied if one.shape == left.shape]
    assert len(uploaded) == (0 if integrated else 2)  # both pictures at once
    assert all(np.shares_memory(one, side) for one in uploaded for side in (left, right))
    copied.clear()
    uploaded.clear()
    engine.close()
    left[...] = 1  # stays where it was
    assert sorted(device.live.values()).count("mapped" if integrated else "pinned") == 1


def test_pictures_that_are_resized_have_plain_input_buffers(make, rng):
    backend, device, _ = make()
    engine = StereoEngine(backend)
    left, right = engine.input_buffers((75, 101))
    assert not device.live
    left[...], right[...] = pair(rng, (75, 101))
    assert engine(left, right).disparity_px.shape == (75, 101)
    with pytest.raises(InputError):
        engine.input_buffers((9, 9))


def test_memory_of_lent_answers_goes_once_nobody_holds_them(make, rng):
    backend, device, _ = make()
    engine = StereoEngine(backend)
    lent = engine(*pair(rng), copy=False)
    for number in range(module._MOST_SIZES):
        engine(*pair(rng, (128 + 32 * number, 96)))
    del lent
    engine.close()
    assert not device.live
    assert device.closed == 1


def test_the_second_start_comes_from_the_cache(make, tmp_path):
    said = []
    _, _, first = make(size=SIZE, progress=said.append)
    _, _, second = make(size=SIZE, progress=said.append)
    assert (len(first.builds), len(second.builds)) == (1, 0)
    assert sum("no engine is cached" in line for line in said) == 1
    assert len(list((tmp_path / "cache").glob("*.plan"))) == 1


def test_another_tensorrt_builds_again_and_says_why(make):
    said = []
    make(size=SIZE)
    _, _, trt = make(size=SIZE, version="10.7.0", progress=said.append)
    assert len(trt.builds) == 1
    assert any("tensorrt_version is 10.3.0, need 10.7.0" in line for line in said)


def test_other_options_are_another_engine(make):
    make(size=SIZE)
    _, _, trt = make(size=SIZE, build=BuildOptions(optimization_level=1))
    assert len(trt.builds) == 1


def test_a_plan_that_does_not_load_is_an_error_with_its_words(make):
    with pytest.raises(EngineError, match=r"cannot load the engine stand-in.*out of memory"):
        make(size=SIZE, behaviour={"refuse_load": "out of memory"})


def test_an_engine_with_other_tensors_is_refused(make):
    device = FakeDevice()
    with pytest.raises(EngineError, match="build the engine from an artefact"):
        make(
            size=SIZE,
            device=device,
            behaviour={"io_types": ("FLOAT", "FLOAT", "FLOAT", "FLOAT")},
        )
    assert device.live == {}
    assert device.closed == 1


def test_a_failed_run_says_so(make):
    device = FakeDevice()
    with pytest.raises(EngineError, match="failed to run"):
        make(size=SIZE, device=device, behaviour={"refuse_execution": True})
    assert device.live == {}


def test_each_size_of_a_dynamic_artefact_gets_an_engine(make, rng):
    backend, _, trt = make()
    assert backend.fixed_size is None
    assert trt.builds == []
    for size in ((64, 96), (32, 64), (64, 96)):
        assert_right(backend, *pair(rng, size))
    assert len(trt.builds) == 2
    shapes = trt.builds[0][1].profiles[0].shapes
    assert shapes["left"] == shapes["right"] == ((64, 96, 3),) * 3


def test_it_says_while_it_gets_a_size_ready(make, rng):
    seen = []
    backend, *_ = make(progress=lambda _: seen.append(engine.is_preparing))
    engine = StereoEngine(backend)
    engine(*pair(rng))
    assert True in seen, "while its engine is built"
    assert engine.is_preparing is False
    engine(*pair(rng))
    engine.close()
    assert engine.is_preparing is False


def test_only_so_many_sizes_are_kept(make, rng):
    backend, device, _ = make()
    for width in range(64, 64 + 6 * 32, 32):
        assert_right(backend, *pair(rng, (32, width)))
    assert sorted(device.live.values()).count("graph") == 4
    assert_right(backend, *pair(rng, (32, 64)))


def test_one_engine_serves_a_range(make, rng):
    sizes = SizeRange((32, 64), (64, 96), (128, 160))
    backend, _, trt = make(size_range=sizes)
    assert len(trt.builds) == 1
    for size in ((32, 64), (128, 160), (64, 96)):
        assert_right(backend, *pair(rng, size))
    assert len(trt.builds) == 1
    assert_right(backend, *pair(rng, (160, 160)))
    assert len(trt.builds) == 2


@pytest.mark.parametrize(
    ("version", "asked"), [("8.6.2", {"PROFILE_SHARING_0806": True}), ("10.3.0", {})]
)
def test_contexts_of_one_engine_share_its_sizes(make, version, asked):
    sizes = SizeRange((64, 64), SIZE, (128, 128))
    _, _, trt = make(size_range=sizes, version=version)
    assert trt.builds[0][1].previews == asked


def test_threads_share_a_backend_and_engines_share_a_gpu(make, rng):
    engines = [StereoEngine(make(size=SIZE)[0]), StereoEngine(make()[0])]
    pairs = [pair(rng) for _ in range(4)]
    wrong = []

    def work(engine, left, right):
        for _ in range(20):
            found = engine(left, right).disparity_px
            if not np.allclose(found, expected(left, right)[0], atol=1e-4):
                wrong.append(1)

    workers = [threading.Thread(target=work, args=(engines[n % 2], *pairs[n])) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_it_runs_behind_the_engine(make, rng):
    backend, _, _ = make()
    left, right = pair(rng, (50, 70))
    with StereoEngine(backend) as engine:
        result = engine(left, right)
    np.testing.assert_allclose(result.disparity_px, expected(left, right)[0], atol=1e-4)
    assert (result.backend, result.precision) == ("tensorrt", "fp32")


def test_device_times_belong_to_the_last_host_call(make, rng):
    backend, device, _ = make(size=SIZE)
    backend.infer(*pair(rng))
    times = backend.device_times()
    assert times.enqueue_ms > 0
    assert (times.host_to_device_ms, times.compute_ms, times.device_to_host_ms) == (1, 1, 1)
    on_gpu = [on(device, picture) for picture in pair(rng)]
    backend.infer_gpu(*on_gpu, stream=device.foreign_stream())
    assert backend.device_times() is None


def on(device, picture):
    """Return a picture on the fake GPU."""
    return GpuArray(picture.ctypes.data, picture.shape, picture.dtype, owner=picture)


def read(array):
    from fake_cuda import memory_at

    return memory_at(array.address, array.shape, array.dtype)


def test_gpu_arrays_run_on_the_callers_stream(make, rng):
    backend, device, _ = make(size=SIZE)
    left, right = pair(rng)
    stream = device.foreign_stream()
    disparity, confidence = backend.infer_gpu(on(device, left), on(device, right), stream=stream)
    wanted = expected(left, right)
    assert not np.allclose(read(disparity), wanted[0]), "queued, not waited for"
    device.run_stream(stream)
    np.testing.assert_allclose(read(disparity), wanted[0], atol=1e-4)
    np.testing.assert_allclose(read(confidence), wanted[1], atol=1e-6)


def test_gpu_answers_go_where_the_caller_wants(make, rng):
    backend, device, _ = make(size=SIZE)
    left, right = pair(rng)
    disparity, confidence = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    stream = device.foreign_stream()
    backend.infer_gpu(
        on(device, left),
        on(device, right),
        stream=stream,
        disparity=on(device, disparity),
        confidence=on(device, confidence),
    )
    device.run_stream(stream)
    np.testing.assert_allclose(disparity, expected(left, right)[0], atol=1e-4)


def test_host_and_gpu_calls_follow_each_other(make, rng):
    """The context's memory is one: work that is queued elsewhere is waited for."""
    backend, device, _ = make(size=SIZE)
    first, second, third = pair(rng), pair(rng), pair(rng)
    out = np.zeros(SIZE, np.float32)
    streams = device.foreign_stream(), device.foreign_stream()
    backend.infer_gpu(
        on(device, first[0]), on(device, first[1]), stream=streams[0], disparity=on(device, out)
    )
    queued, _ = backend.infer_gpu(*(on(device, p) for p in second), stream=streams[1])
    device.run_stream(streams[1])  # runs the first, which it waits for, and then the second
    np.testing.assert_allclose(out, expected(*first)[0], atol=1e-4)
    np.testing.assert_allclose(read(queued), expected(*second)[0], atol=1e-4)
    backend.infer_gpu(
        on(device, first[0]), on(device, first[1]), stream=streams[0], disparity=on(device, out)
    )
    out[...] = 0
    assert_right(backend, *third)
    np.testing.assert_allclose(out, expected(*first)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left": np.zeros((64, 96, 3), np.float32)}, "left is float32"),
        ({"right": np.zeros((32, 96, 3), np.uint8)}, r"right uint8 \(32, 96, 3\); a pair"),
        ({"disparity": np.zeros((64, 96), np.float16)}, "disparity is float16"),
    ],
)
def test_gpu_arrays_that_do_not_fit_are_refused(make, rng, change, message):
    backend, device, _ = make(size=SIZE)
    left, right = pair(rng)
    arrays = {"left": left, "right": right, **change}
    given = {name: on(device, array) for name, array in arrays.items()}
    with pytest.raises(InputError, match=message):
        backend.infer_gpu(given.pop("left"), given.pop("right"), **given)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (((3, 64, 96), np.uint8), ((3, 64, 96), np.uint8), "channels last"),
        (((64, 96, 3), np.float32), ((64, 96, 3), np.float32), "float32"),
        (((9,), np.uint8), ((9,), np.uint8), r"\(9,\)"),
        (((64, 96, 3), np.uint8), ((64, 64, 3), np.uint8), "one size"),
    ],
)
def test_no_engine_is_built_for_what_is_no_pair(make, left, right, message):
    backend, _, trt = make()
    arrays = [np.zeros(*one) for one in (left, right)]
    with pytest.raises(InputError, match=message):
        backend.infer_gpu(*(GpuArray(a.ctypes.data, a.shape, a.dtype) for a in arrays))
    assert not trt.builds


@pytest.mark.parametrize(
    ("fixed", "size", "words"),
    [
        (None, (65, 97), "65x97 and the network takes multiples of 32 only; pad to 96x128"),
        (SIZE, (48, 96), "48x96 and the network takes 64x96 only; pad to 64x96"),
    ],
)
def test_no_engine_is_built_for_a_size_that_is_not_taken(make, rng, fixed, size, words):
    backend, device, trt = make(size=fixed)
    built = len(trt.builds)
    with pytest.raises(InputError, match=words):
        backend.infer_gpu(*(on(device, picture) for picture in pair(rng, size)))
    assert len(trt.builds) == built


def test_answers_are_on_the_gpu_that_they_were_made_on(make, rng):
    """The CUDA array interface does not tell it, and DLPack has to."""
    backend, device, _ = make(size=SIZE)
    out = np.zeros(SIZE, np.float32)
    given = GpuArray(out.ctypes.data, out.shape, out.dtype, (2, ANY_GPU), out)
    left, right = (on(device, picture) for picture in pair(rng))
    answers = backend.infer_gpu(left, right, disparity=given)
    device.run_stream(0)
    assert [one.__dlpack_device__() for one in answers] == [(2, 0)] * 2
    assert answers[0].address == given.address


def test_a_plugin_that_is_not_trusted_is_said_once(make, tmp_path):
    said, manifest = [], stand_in_manifest(precision="fp16", precision_map={"nodes": {"fp16": 1}})
    (tmp_path / "cache").mkdir()
    compiled = library_path(tmp_path / "cache", tensorrt="10.3.0", sm="sm_87")
    compiled.write_bytes(b"library")
    compiled.chmod(0o666)
    make(size=SIZE, manifest=sized(manifest), behaviour={"layers": [HALF]}, progress=said.append)
    assert sum("the plugin is not trusted" in line for line in said) == 1


def sized(manifest):
    """Return the text of a manifest for pictures of `SIZE`."""
    return dataclasses.replace(manifest, input=InputSpec(*SIZE)).to_json()


def test_gpu_arrays_of_another_gpu_are_refused(make, rng):
    backend, device, _ = make(size=SIZE)
    left, right = pair(rng)
    far = GpuArray(left.ctypes.data, left.shape, left.dtype, device=(2, 1), owner=left)
    with pytest.raises(InputError, match="left is on GPU 1, the engine on GPU 0"):
        backend.infer_gpu(far, on(device, right))


def test_the_engine_takes_gpu_arrays_where_the_backend_does(make, rng, tmp_path):
    backend, device, _ = make(size=SIZE)
    left, right = pair(rng)
    with StereoEngine(backend) as engine:
        disparity, _ = engine.infer_gpu(on(device, left), on(device, right))
        device.run_stream(0)
        np.testing.assert_allclose(read(disparity), expected(left, right)[0], atol=1e-4)
    with (
        StereoEngine.load(write_stand_in(tmp_path / "b.onnx")) as engine,
        pytest.raises(InputError, match="onnxruntime-cpu takes no GPU arrays"),
    ):
        engine.infer_gpu(left, right)


HALF = {"Name": "h", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "Half"}]}
FULL = {"Name": "f", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "Float"}]}


def test_the_precision_is_the_engines(make):
    manifest = stand_in_manifest(precision="fp16", precision_map={"nodes": {"fp16": 8, "fp32": 2}})
    backend, _, _ = make(manifest=manifest.to_json(), behaviour={"layers": [HALF] * 7 + [FULL] * 3})
    assert backend.attestation is None
    backend.infer(*(np.zeros((32, 64, 3), np.uint8),) * 2)
    assert backend.precision == "fp16"
    assert backend.attestation.share("fp16") == 0.7


def test_a_build_that_ignored_the_types_is_not_used(make, tmp_path):
    manifest = stand_in_manifest(precision="fp16", precision_map={"nodes": {"fp16": 8, "fp32": 2}})
    backend, _, _ = make(manifest=manifest.to_json(), behaviour={"layers": [FULL] * 10})
    with pytest.raises(EngineError, match="not one layer is half"):
        backend.infer(*(np.zeros((32, 64, 3), np.uint8),) * 2)
    assert list((tmp_path / "cache").glob("*.plan")) == []


def test_building_ahead_fills_the_cache(make, tmp_path, monkeypatch):
    device = FakeDevice()
    trt = fake_tensorrt(device=device, input_shape=(*SIZE, 3))
    monkeypatch.setattr(module, "import_tensorrt", lambda: trt)
    monkeypatch.setattr(module, "open_device", lambda index, binding: device)
    options = GpuOptions(cache_dir=tmp_path / "cache")
    built = build_ahead(write_stand_in(tmp_path / "f.onnx", size=SIZE), options=options)
    assert built.was_built
    assert built.path.is_file()
    assert device.closed == 1
    assert device.live == {}
    _, _, second = make(size=SIZE)
    assert second.builds == []
    with pytest.raises(InputError, match="an engine needs one"):
        build_ahead(write_stand_in(tmp_path / "d.onnx"), options=options)


@pytest.mark.parametrize("integrated", [False, True])
def test_pictures_are_on_their_way_before_the_graph_is_launched(make, rng, integrated):
    backend, device, _ = make(size=SIZE, device=FakeDevice(integrated=integrated))
    assert device.graph_marks == 3  # network and answers are timed inside the graph
    session = backend._sessions[SIZE][1]
    order = []
    for name in ("upload", "download", "record"):
        method = getattr(device, name)
        setattr(
            device,
            name,
            lambda *given, name=name, method=method: (order.append(name), method(*given)),
        )
    launch = session._graph.launch
    session._graph.launch = lambda stream: (order.append("launch"), launch(stream))
    assert_right(backend, *pair(rng))
    copy = [] if integrated else ["record", "upload", "record"]
    assert order == [*copy, "launch"]
    times = backend.device_times()
    assert (times.host_to_device_ms, times.compute_ms) == (0 if integrated else 1, 1)


@pytest.mark.parametrize("size", [SIZE, (32, 32), (96, 160)])
def test_both_maps_and_both_pictures_are_aligned_parts_of_one_block(make, size):
    backend, *_ = make(size=size)
    backend.infer(*(np.zeros((*size, 3), np.uint8),) * 2)
    parts = backend._sessions[size][1]._parts
    for first, second in (("left", "right"), ("disparity", "confidence")):
        apart = parts[second].address - parts[first].address
        assert apart % 256 == 0
        assert apart >= parts[first].array.nbytes
        assert parts[second].array.ctypes.data - parts[first].array.ctypes.data == apart
        assert parts[first].array.flags.c_contiguous


@pytest.mark.parametrize(("wait", "waited"), [("spin", "stream"), ("block", True)])
def test_the_host_waits_as_it_is_told(make, rng, wait, waited):
    backend, device, _ = make(size=SIZE, wait=wait)
    device.waited.clear()
    assert_right(backend, *pair(rng))
    assert device.waited == [waited]
    assert ("asleep while waiting" in backend.device) == (wait == "block")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("graph", [False, True])
def test_a_pipeline_answers_each_pair_in_order(make, rng, count, graph):
    backend, device, _ = make(size=SIZE, cuda_graph=graph)
    pairs = [pair(rng) for _ in range(count)]
    answers = 0
    for (left, right), (disparity, confidence) in zip(
        pairs, backend.infer_many(iter(pairs)), strict=True
    ):
        wanted = expected(left, right)
        np.testing.assert_allclose(disparity, wanted[0], atol=1e-4)
        np.testing.assert_allclose(confidence, wanted[1], atol=1e-6)
        answers += 1
    assert answers == count
    disparity = confidence = None
    assert sorted(device.live.values()).count("device") == 2  # the pipeline's own are gone
    backend.close()
    assert not device.live


def test_a_pipeline_has_two_pairs_on_the_way(make, rng):
    backend, *_ = make(size=SIZE)
    taken = []

    def pairs():
        for index in range(4):
            taken.append(index)
            yield pair(rng)

    answers = backend.infer_many(pairs())
    next(answers)
    # The third is asked for before the first answer is waited for: two are on the way.
    assert taken == [0, 1, 2]
    answers.close()
    assert_right(backend, *pair(rng))


def test_a_pipeline_that_is_left_open_ends_with_the_backend(make, rng):
    backend, device, _ = make(size=SIZE)
    answers = backend.infer_many(pair(rng) for _ in range(5))
    next(answers)
    backend.close()
    assert device.live == {}
    with pytest.raises(EngineError, match="is closed"):
        next(answers)
    answers.close()


def test_a_pipeline_takes_one_size(make, rng):
    backend, *_ = make()
    answers = backend.infer_many([pair(rng), pair(rng, (96, 96))])
    with pytest.raises(InputError, match="a pair is 96x96 and the first was 64x96"):
        next(answers)


def test_a_size_that_a_pipeline_uses_keeps_its_engine(make, rng):
    backend, *_ = make()
    pairs = [pair(rng) for _ in range(4)]
    answers = backend.infer_many(iter(pairs))
    next(answers)
    for number in range(module._MOST_SIZES):
        assert_right(backend, *pair(rng, (128 + 32 * number, 96)))
    assert len(backend._engines) == module._MOST_SIZES + 1
    for (left, right), (disparity, _) in zip(pairs[1:], answers, strict=True):
        np.testing.assert_allclose(disparity, expected(left, right)[0], atol=1e-4)


def test_layers_are_timed_without_a_graph(make, rng):
    backend, *_ = make(size=SIZE, cuda_graph=False)
    profiler = object()
    backend.profile(profiler)
    _, session = backend._sessions[SIZE]
    assert session._context.profiler is profiler
    graphed, *_ = make(size=SIZE)
    with pytest.raises(EngineError, match="cuda_graph=False"):
        graphed.profile(profiler)
