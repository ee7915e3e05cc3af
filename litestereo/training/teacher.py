"""Stronger models that label real pairs: our artefacts and networks, or any ONNX stereo model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litestereo.assets import artifact_path
from litestereo.errors import InputError, TrainingError
from litestereo.runtime.onnx_file import read_onnx
from litestereo.runtime.opencv import import_cv2
from litestereo.runtime.preprocess import disparity_from_padded, padded_pair

__all__ = ["ForeignTeacher", "Teacher", "open_teacher"]

_Image = NDArray[np.uint8]


class Teacher(Protocol):
    """Turns a rectified pair, (H, W, 3) uint8 RGB each, into (H, W) float32 disparity in px."""

    def __call__(self, left: _Image, right: _Image) -> NDArray[np.float32]:
        """Match a pair.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """


@contextmanager
def open_teacher(text: str, *, device: str | None = None) -> Iterator[tuple[Teacher, str]]:
    """Open what `text` names, and give it with the SHA-256 of its file.

    Args:
        text: an ONNX file, ours or any other with two float NCHW inputs; the name of a bundled
            model; or NAME=WEIGHTS, a network of ours with a checkpoint.
        device: of a network in torch; None is the CPU.

    Raises:
        LiteStereoError: there is no such file, or it cannot run here.
    """
    from litestereo.benchmarks.matchers import open_matcher

    name, _, weights = text.partition("=")
    path = Path(weights) if weights else artifact_path(text)
    if not path.is_file():
        raise InputError(f"there is no teacher at {path}; give an ONNX file or NAME=WEIGHTS")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if not weights and (foreign := _foreign(path)):
        yield foreign, sha256
        return
    backend = "torch" if weights else "onnxruntime-cpu"
    with open_matcher(
        backend,
        model=name if weights else None,
        weights=path,
        device=device if weights else None,
    ) as matcher:
        yield (lambda left, right: matcher(left, right).disparity_px), sha256


def _session(path: Path) -> Any:  # noqa: ANN401 - onnxruntime has no stubs
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        from litestereo.errors import MissingDependencyError

        raise MissingDependencyError(
            "onnxruntime", purpose="running a teacher", extra="cpu"
        ) from error
    content = read_onnx(path, error=TrainingError)
    available = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    try:
        return onnxruntime.InferenceSession(content, providers=wanted)
    except Exception as error:
        raise TrainingError(
            f"{path} is no ONNX model that ONNX Runtime can run: {str(error).splitlines()[0]}; "
            "export it again"
        ) from error


def _foreign(path: Path) -> ForeignTeacher | None:
    """Open a file; None where it is one of ours, which the runtime opens."""
    session = _session(path)
    try:
        if "litestereo" in session.get_modelmeta().custom_metadata_map:
            return None
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"{path} has metadata that is no text; it is damaged: get it again"
        ) from error
    return ForeignTeacher(path, session)


class ForeignTeacher:
    """A stereo model of any origin, as FoundationStereo, IGEV or CREStereo are exported.

    It takes two float tensors (1, 3, H, W), RGB in 0..255 (the model normalises itself), and its
    first output is the disparity, (1, 1, H, W) or (1, H, W), in pixels of its input. A model of
    fixed size gets pictures resized to it; others get them brought to multiples of 32.
    """

    def __init__(self, path: Path, session: Any = None) -> None:  # noqa: ANN401 - no stubs
        """Open the file with ONNX Runtime, on the GPU where its build has one.

        Args:
            path: an ONNX file.
            session: of that file, where it is open already.

        Raises:
            TrainingError: it cannot run, or its inputs are not two float NCHW pictures.
        """
        self._path, self._session = path, session or _session(path)
        try:
            inputs = self._session.get_inputs()
            shapes = [tuple(each.shape) for each in inputs]
            named = [each.name for each in inputs]
        except UnicodeDecodeError as error:
            raise TrainingError(
                f"{path} has names that are no text; it is damaged: get it again"
            ) from error
        if (
            len(inputs) != 2
            or any(each.type not in ("tensor(float)", "tensor(float16)") for each in inputs)
            or any(len(shape) != 4 or shape[1] not in (3, None) for shape in shapes)
            or any(isinstance(shape[0], int) and shape[0] != 1 for shape in shapes)
        ):
            raise TrainingError(
                f"{path} takes {[(i.name, i.type, i.shape) for i in inputs]}; a teacher takes two "
                "float tensors (1, 3, H, W), left and right"
            )
        # By name where the names say it; else in order.
        self._names = named
        if "right" in self._names[0].lower() or "left" in self._names[1].lower():
            self._names.reverse()
        self._type = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        height, width = shapes[0][2:]
        fixed = isinstance(height, int) and isinstance(width, int)
        self._size = (height, width) if fixed else None

    def __call__(self, left: _Image, right: _Image) -> NDArray[np.float32]:
        """Match a pair of any size.

        Args:
            left: (H, W, 3) uint8 RGB, rectified.
            right: same of the right camera.
        """
        if self._size is None:
            padded_left, padded_right, frame = padded_pair(left, right)
            return disparity_from_padded(self._run(padded_left, padded_right), frame)
        cv2 = import_cv2("resizing pictures")
        (height, width), (new_height, new_width) = left.shape[:2], self._size
        # Each side is shrunk by areas, else grown linearly: grown by areas, pixels become blocks.
        least = min(width, new_width), min(height, new_height)
        shrunk = [cv2.resize(each, least, interpolation=cv2.INTER_AREA) for each in (left, right)]
        fitted = [
            cv2.resize(each, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
            for each in shrunk
        ]
        disparity = cv2.resize(self._run(*fitted), (width, height), interpolation=cv2.INTER_LINEAR)
        scaled: NDArray[np.float32] = disparity * np.float32(width / new_width)
        return scaled

    def _run(self, left: _Image, right: _Image) -> NDArray[np.float32]:
        feeds = {
            name: np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(self._type))
            for name, picture in zip(self._names, (left, right), strict=True)
        }
        height, width = left.shape[:2]
        try:
            disparity = np.asarray(self._session.run(None, feeds)[0], np.float32)
        except Exception as error:
            raise TrainingError(
                f"{self._path} does not run on pictures of {height}x{width}: "
                f"{str(error).splitlines()[0]}; a teacher takes (1, 3, H, W), H and W both fixed "
                "or any multiple of 32: export it so"
            ) from error
        if disparity.shape not in ((1, 1, height, width), (1, height, width)):
            raise TrainingError(
                f"{self._path} answers {disparity.shape} to pictures of {height}x{width}; need a "
                f"disparity, (1, 1, {height}, {width}): export the model with it as first output"
            )
        return disparity.reshape(height, width)
