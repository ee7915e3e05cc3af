"""Every reader of outside data as a function of bytes, with seeds made by code.

A reader may answer or raise one of litestereo.errors; anything else is a fault.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from runtime.geometry import rigs
from stand_in import stand_in_manifest, stand_in_model

from benchmarks import known_receipts
from litestereo.benchmarks.envelope import read_json
from litestereo.benchmarks.latency.receipt import read_receipt
from litestereo.benchmarks.latency.tegrastats import parse_tegrastats
from litestereo.benchmarks.layouts import LAYOUTS, Folder
from litestereo.benchmarks.readme import read_result
from litestereo.benchmarks.scenes import DisparityFile
from litestereo.calibration.options import MINIMUM_PAIRS
from litestereo.calibration.store import load_set
from litestereo.errors import InputError
from litestereo.ros.messages import calibration_from_infos, image_from_fields
from litestereo.runtime.disparity_io import read_pfm, read_png16
from litestereo.runtime.geometry.depth_io import read_depth_png
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.images import read_side_by_side
from litestereo.runtime.manifest import InputSpec, Manifest
from litestereo.runtime.measurements import read_measurements
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.attestation import read_inspection
from litestereo.runtime.tensorrt.cache import CacheKey, EngineCache

__all__ = ["READERS", "Reader", "png_header"]

_KEY = CacheKey("g", "96x128", "p", "10.0", "GPU", "sm_87", "16", "64", "{}", "v1")
_ZEDS = (376, 672)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        read: takes the content of a file or of a message.
        seeds: contents that it takes, and some that it refuses.
        share: of the campaign's executions; slow readers get fewer.
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    share: float = 1.0


@cache
def _folder() -> Path:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return Path(tempfile.mkdtemp(prefix="litestereo-hostile-", dir=base))


def _file(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(content)
    return path


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _from_file(
    name: str, read: Callable[[Path], object], seeds: Callable[[], list[bytes]], share: float = 1.0
) -> Reader:
    return Reader(lambda content: read(_file(name, content)), seeds, share)


def png_header(height: int, width: int, *, depth: int = 8, color: int = 0) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""
    parts = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")):
        parts += struct.pack(">I", len(data)) + kind + data
        parts += struct.pack(">I", zlib.crc32(kind + data))
    return parts


def _coded(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


def _pictures() -> list[bytes]:
    color = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    coded = [_coded(s, color) for s in (".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm")]
    coded += [_coded(".png", color[..., 0].astype(np.uint16) * 257), _coded(".pgm", color[..., 0])]
    return [*coded, png_header(31_623, 31_623), b"P6\n31623 31623\n255\n"]


def _grey16() -> list[bytes]:
    counts = np.arange(48, dtype=np.uint16).reshape(6, 8) * 300
    return [_coded(".png", counts), png_header(31_623, 31_623, depth=16)]


def _pfm() -> list[bytes]:
    values = np.arange(6, dtype="<f4").tobytes()
    return [b"Pf\n3 2\n-1.0\n" + values, b"Pf\n3 2\n1e0\n" + values, b"Pf\n99999 99999\n-1\n"]


def _numpy() -> list[bytes]:
    buffer, packed = io.BytesIO(), io.BytesIO()
    np.save(buffer, np.ones((2, 3), np.float32))
    np.savez_compressed(packed, disparity=np.ones((2, 3), np.float32))
    huge = buffer.getvalue().replace(b"(2, 3)", b"(9**9, 3)")
    return [buffer.getvalue(), packed.getvalue(), huge]


def _calibrations() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        written = [
            rigs.opencv_files(Path(folder), suffix=suffix, rectification=True).read_bytes()
            for suffix in ("yml", "xml")
        ]
    texts = [rigs.kalibr(), rigs.kalibr(from_imu=True), rigs.MIDDLEBURY, rigs.KITTI, rigs.ZED]
    texts += [rigs.kitti_raw(), rigs.camera_info("left"), rigs.camera_info_message("left")]
    texts += [rigs.camera_info("left") + "---\n" + rigs.camera_info("right")]
    texts += ["700 0 320 0 700 240 0 0 1\n0.12\n", '<?xml version="1.0"?><a><M1>1 2</M1></a>']
    return written + [text.encode() for text in texts]


def _calibration(content: bytes) -> object:
    path = _file("calibration.txt", content)
    try:
        return read_calibration(path)
    except InputError:
        return read_calibration(path, size=_ZEDS, baseline_m=0.12)


def _manifests() -> list[bytes]:
    whole = stand_in_manifest(input=InputSpec(96, 128), rectification={"size": [96, 128]})
    return [stand_in_manifest().to_json().encode(), json.dumps(asdict(whole)).encode(), b"{}"]


def _artifacts() -> list[bytes]:
    model = stand_in_model()
    plain = model.SerializeToString()
    tensor = model.graph.initializer[0]
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../../secret")
    return [plain, model.SerializeToString()]


def _set() -> list[bytes]:
    pair = {"name": "a", "file": "0000", "height": 8, "width": 8, "held_out": False}
    pairs = [{**pair, "sha256": "0" * 64}] * MINIMUM_PAIRS
    told = "\n".join(f"{pair['sha256']} {pair['held_out']}" for pair in pairs)
    sha256 = hashlib.sha256(told.encode()).hexdigest()
    content = {"format_version": 1, "sha256": sha256, "options": {}, "coverage": {}, "pairs": pairs}
    return [json.dumps(content).encode(), b'{"format_version": 1}']


def _calibration_set(content: bytes) -> object:
    _file("set.json", content)
    return load_set(_folder())


def _sidecars() -> list[bytes]:
    content = {"format_version": 1, "key": _KEY.to_json(), "plan_bytes": 4, "facts": {}}
    return [json.dumps({**content, "plan_sha256": "0"}).encode()]


def _engine_cache(content: bytes) -> object:
    cache = EngineCache(_folder(), lambda _: None)
    plan = cache.plan_path(_KEY, name="hostile")
    plan.write_bytes(b"plan")
    plan.with_suffix(".json").write_bytes(content)
    return cache.engine(_KEY, name="hostile", build=lambda: (b"new", {}))


def _metas() -> list[bytes]:
    files = {"left": "l.png", "right": "r.png", "gt": "gt.png"}
    content = {"set": "home", "scene": "room", "files": files}
    return [json.dumps({**content, "gt_encoding": {"kind": "png", "scale": 256}}).encode()]


def _layout(content: bytes) -> object:
    _file("meta.json", content)
    folder = Folder(_folder(), frozenset(), frozenset({"meta.json"}))
    return [scene.key for recognise in LAYOUTS.values() for scene in recognise(folder)]


def _receipts() -> list[bytes]:
    few = known_receipts.subject(samples_ms=known_receipts.samples(20.0, count=20))
    return [json.dumps(known_receipts.receipt(few).to_json()).encode()]


def _reports() -> list[bytes]:
    text = (
        Path(__file__).resolve().parents[2] / "benchmarks/results/accuracy-sgbm.json"
    ).read_text()
    report = json.loads(text)
    small = {**report, "scenes": report["scenes"][:1], "groups": report["groups"][:1]}
    return [json.dumps(small).encode(), b'{"schema": "litestereo.roofline", "schema_version": 1}']


def _tegrastats() -> list[bytes]:
    return [
        b"RAM 613/3964MB (lfb 634x4MB) EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 CPU@33C POM_5V_IN 2532/25",
        b"RAM 3024/7620MB GR3D_FREQ 12%@[305,0] cpu@46.4C gpu@45.9C VDD_IN 4876mW/4876mW",
    ]


def _inspections() -> list[bytes]:
    tensors = [{"Name": "x", "Format/Datatype": "Half"}]
    layer = {"Name": "a + b", "LayerType": "conv", "Inputs": tensors, "Outputs": tensors}
    return [json.dumps({"Layers": [{**layer, "Metadata": "[ONNX Layer: a]"}]}).encode()]


def _image_message(content: bytes) -> object:
    head, data = content[:12].ljust(12, b"\0"), content[12:]
    height, width, step = struct.unpack("<III", head)
    names = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "16UC1")
    encoding = names[step % len(names)]
    fields = {"encoding": encoding, "height": height, "width": width, "step": step, "data": data}
    return image_from_fields(fields)


def _images() -> list[bytes]:
    return [struct.pack("<III", 2, 3, 12) + bytes(24), struct.pack("<III", 0, 0, 0)]


def _camera_messages() -> list[bytes]:
    k, p = [700, 0, 320, 0, 700, 240, 0, 0, 1], [700, 0, 320, 0, 0, 700, 240, 0, 0, 0, 1, 0]
    eye = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "d": [], "k": k}
    eye |= {"r": [1, 0, 0, 0, 1, 0, 0, 0, 1], "p": p}
    right = {**eye, "p": [*p[:3], -84, *p[4:]]}
    return [json.dumps([eye, right]).encode()]


def _camera_message(content: bytes) -> object:
    """Return what a message's numbers give; the fields' types are what ROS itself guarantees."""
    try:
        left, right = json.loads(content)
        eyes = [_camera_fields(eye) for eye in (left, right)]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError):
        return None
    return calibration_from_infos(*eyes, size=(480, 640), rectified=False)


def _camera_fields(eye: dict) -> dict:
    counts = {"k": 9, "r": 9, "p": 12}
    fields = {name: [float(n) for n in eye[name]][:count] for name, count in counts.items()}
    fields = {name: fields[name] + [0.0] * (counts[name] - len(fields[name])) for name in counts}
    fields |= {name: int(eye[name]) % 2**32 for name in ("width", "height")}
    return {
        **fields,
        "d": [float(n) for n in eye["d"]],
        "distortion_model": str(eye["distortion_model"]),
    }


@cache
def _network():
    import torch

    torch.set_num_threads(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def _checkpoints() -> list[bytes]:
    import torch

    buffer, old = io.BytesIO(), io.BytesIO()
    torch.save(_network().state_dict(), buffer)
    torch.save(_network().state_dict(), old, _use_new_zipfile_serialization=False)
    return [buffer.getvalue(), old.getvalue(), _pickled(b"cos\nsystem\n(S'true'\ntR.")]


def _pickled(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()


def _safetensors() -> list[bytes]:
    from safetensors.torch import save

    return [save(_network().state_dict())]


def _onnx_weights() -> list[bytes]:
    import onnx
    from onnx import helper, numpy_helper

    values = {n: t.numpy() for n, t in _network().state_dict().items() if t.ndim}
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph([], "weights", [], [], tensors)
    plain = onnx.helper.make_model(graph).SerializeToString()
    return [plain, *_artifacts()]


def _weights(suffix: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> object:
        from litestereo.models.weights import load_weights

        return load_weights(_network(), _file(f"weights{suffix}", content))

    return read


def _states() -> list[bytes]:
    import torch

    from litestereo.training.state import Average, Progress, save_state

    network = _network()
    path = _folder() / "seed.pt"
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    average = Average(network, decay=0.9)
    save_state(path, model=network, optimizers=[optimizer], average=average, progress=Progress())
    return [path.read_bytes()]


def _training_state(content: bytes) -> object:
    import torch

    from litestereo.training.state import Average, load_state

    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    average = Average(network, decay=0.9)
    path = _file("state.pt", content)
    return load_state(path, model=network, optimizers=[optimizer], average=average)


def _session(content: bytes) -> object:
    from litestereo.runtime.backends import BackendOptions
    from litestereo.runtime.backends.onnxruntime_cpu import load

    return load(_file("session.onnx", content), BackendOptions(threads=1)).close()


def _logs() -> list[bytes]:
    steps = [{"step": n, "pairs": 4 * n, "loss": 1.5, "epe_px": 0.25} for n in (1, 2, 9)]
    judged = {"step": 2, "pairs": 8, "validation": {"eth3d_bad_1": 3.5, "figure": 3.5}}
    lines = [json.dumps(line) for line in (*steps, judged)]
    return ["\n".join([*lines, lines[0][:20]]).encode(), lines[0].encode()]


@cache
def _sitting() -> tuple[object, ...]:
    from litestereo.training.group import Group
    from litestereo.training.options import TrainOptions
    from litestereo.training.state import Progress

    # Not the first process: what the log says of the machine takes half a second to find out.
    return TrainOptions(output=_folder()), Group(rank=1, world=2), Progress(step=5)


def _training_log(content: bytes) -> object:
    """Read a log as a resumed run does, and make of it what goes into its new log and record."""
    from litestereo.training.journal import Journal, _thinned

    _file("log.jsonl", content)
    journal = Journal(*_sitting(), watch=lambda _: None)
    return json.dumps([journal.last["step"], *journal.lines, *_thinned(journal.lines, most=2)])


def _videos() -> list[bytes]:
    color = np.arange(64 * 192 * 3, dtype=np.uint32).reshape(64, 192, 3).astype(np.uint8)
    made = []
    for name, code in (("seed.avi", "MJPG"), ("seed.mp4", "mp4v")):
        path = str(_folder() / name)
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*code), 10, (192, 64))
        for turn in range(3):
            writer.write(np.roll(color, turn, axis=1))
        writer.release()
        made.append(Path(path).read_bytes())
    return [*made, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\nfile a.avi\n"]


def _video(content: bytes) -> object:
    from litestereo.calibration.options import CalibrateOptions
    from litestereo.calibration.sources import find_candidates

    path = _file("both.avi", content)
    frames = find_candidates([str(path)], options=CalibrateOptions(every_s=0.1))
    return [frame.name for frame in islice(frames, 8)]


def _profiles() -> list[bytes]:
    event = {"cat": "Node", "name": "a_kernel_time", "dur": 5, "args": {"op_name": "Conv"}}
    rows = [{"count": 3}, {"name": "a + b", "averageMs": 0.5}]
    return [json.dumps([event, {"cat": "Session"}]).encode(), json.dumps(rows).encode()]


def _profile(content: bytes) -> object:
    from litestereo.benchmarks.latency.layers import read_profile

    return [f"{layer.name:.40}" for layer in read_profile(_file("profile.json", content))]


def _texture(content: bytes) -> object:
    from litestereo.training.scenes.textures import _square_photo

    return _square_photo(_file("texture.jpg", content), 16)


def _teachers() -> list[bytes]:
    from onnx import TensorProto, helper

    shape = [1, 3, "height", "width"]
    pictures = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("left", "right")
    ]
    answer = helper.make_tensor_value_info("disparity", TensorProto.FLOAT, shape)
    node = helper.make_node("Sub", ["left", "right"], ["disparity"])
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_graph([node], "teacher", pictures, [answer])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return [model.SerializeToString(), *_artifacts()]


def _teacher(content: bytes) -> object:
    """Open any ONNX file as the teacher that follows strangers' models; it is not run."""
    from litestereo.training.teacher import _foreign

    return _foreign(_file("teacher.onnx", content))


def _roofline(content: bytes) -> object:
    from litestereo.benchmarks.roofline import floors_of
    from litestereo.benchmarks.roofline_count import count_kernels, count_layers
    from litestereo.benchmarks.roofline_devices import DEVICES
    from litestereo.benchmarks.roofline_graph import graph_of

    graph = graph_of(str(_file("roofline.onnx", content)), (96, 128))
    device = next(iter(DEVICES.values()))
    return floors_of(count_layers(graph), count_kernels(graph), device=device)


def _manifest(content: bytes) -> object:
    return Manifest.from_json(_text(content))


READERS = {
    "pictures": _from_file("picture", read_side_by_side, _pictures, 0.5),
    "16-bit disparity PNG": _from_file("disparity.png", read_png16, _grey16, 0.25),
    "16-bit depth PNG": _from_file("depth.png", read_depth_png, _grey16, 0.25),
    "PFM": _from_file("a.pfm", read_pfm, _pfm),
    "ground truth NPY and NPZ": _from_file(
        "a.npz", lambda path: DisparityFile(path).read(), _numpy, 0.5
    ),
    "calibrations": Reader(_calibration, _calibrations, 0.6),
    "manifest": Reader(_manifest, _manifests),
    "artefact": _from_file("a.onnx", read_artifact, _artifacts),
    "artefact in ONNX Runtime": Reader(_session, _artifacts, 0.02),
    "calibration set": Reader(_calibration_set, _set),
    "engine cache": Reader(_engine_cache, _sidecars, 0.25),
    "scene folder": Reader(_layout, _metas),
    "latency receipt": _from_file("receipt.json", read_receipt, _receipts, 0.5),
    "accuracy and roofline results": _from_file("report.json", read_result, _reports, 0.5),
    "any JSON": _from_file("any.json", read_json, _manifests, 0.5),
    "measurements": _from_file("m.json", lambda path: read_measurements([path]), _receipts, 0.5),
    "tegrastats": Reader(lambda content: parse_tegrastats(_text(content)), _tegrastats, 2.0),
    "engine inspector": Reader(lambda content: read_inspection(_text(content)), _inspections),
    "ROS image": Reader(_image_message, _images, 2.0),
    "ROS camera_info": Reader(_camera_message, _camera_messages),
    "checkpoint .pth": Reader(_weights(".pth"), _checkpoints, 0.05),
    "checkpoint .safetensors": Reader(_weights(".safetensors"), _safetensors, 0.1),
    "checkpoint .onnx": Reader(_weights(".onnx"), _onnx_weights, 0.1),
    "training state": Reader(_training_state, _states, 0.03),
    "training log": Reader(_training_log, _logs, 0.5),
    "photos for textures": Reader(_texture, _pictures, 0.25),
    "video": Reader(_video, _videos, 0.1),
    "profile of layers": Reader(_profile, _profiles, 0.5),
    "teacher in ONNX Runtime": Reader(_teacher, _teachers, 0.02),
    "graph for a roofline": Reader(_roofline, _artifacts, 0.01),
}
