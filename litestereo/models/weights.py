"""Read weights from files into a model, all or nothing; write them to a file."""

from __future__ import annotations

import io
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from litestereo.errors import (
    CheckpointError,
    InputError,
    LiteStereoError,
    MissingDependencyError,
)
from litestereo.models.refiner import Refiner
from litestereo.runtime.files import write_atomic
from litestereo.runtime.manifest import Manifest
from litestereo.runtime.onnx_file import read_onnx
from litestereo.runtime.reading import read_file

if TYPE_CHECKING:
    from litestereo.models.las import StereoNetwork

__all__ = ["load_weights", "read_weights", "save_weights", "tensors_from"]

# A training run's state holds the averaged weights, which are the ones to use, beside the raw ones.
_ENVELOPES = ("average", "model", "state_dict")
_DDP_PREFIX = "module."
_REFINER = "refiner."
# Artefacts hold what inference needs: BatchNorm's step counters only matter to training.
_TRAINING_ONLY = "num_batches_tracked"
_MOST_BYTES = 4 * 2**30
_ARCHIVE = b"PK"
# What torch's reader of plain tensors says of the first thing that it refuses to make.
_REFUSED = re.compile(r"GLOBAL (\S+)")
# What readers of torch, ONNX and safetensors raise on damaged files, beside their own errors.
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, AssertionError, MemoryError),
)


def load_weights(model: StereoNetwork, path: str | Path, *, content: bytes | None = None) -> None:
    """Fill `model` from the file at `path`; see `litestereo.models.load_weights`.

    It has a refiner afterwards if the file has one, which looks as often as an artefact says.

    Args:
        model: a network of ours.
        path: .pth, .pt, .safetensors or an FP32 artefact.
        content: of the file, as `read_weights` gave it; None reads it.

    Raises:
        CheckpointError: it cannot be read, keeps no weights under their names, or does not fit.
    """
    path = Path(path)
    expected, refiner = _without_refiner(model.state_dict()), Refiner()
    of_refiner = {f"{_REFINER}{name}": t for name, t in refiner.state_dict().items()}
    content = read_weights(path) if content is None else content
    given = _without_prefix(_reader(path)(path, content, {**expected, **of_refiner}))
    manifest = _manifest(path, content) if path.suffix == ".onnx" else None
    if manifest is not None and manifest.precision != "fp32":
        raise CheckpointError(
            f"{path} holds an {manifest.precision} artefact, which keeps no weights under their "
            "names; give the FP32 artefact or the checkpoint"
        )
    refines = any(name.startswith(_REFINER) for name in given)
    if refines:
        expected = {**expected, **of_refiner}
    if path.suffix == ".onnx":
        given = {name: _as_matrix(tensor, expected[name].shape) for name, tensor in given.items()}
        counters = {n: t for n, t in expected.items() if n.endswith(_TRAINING_ONLY)}
        given = {**counters, **given}
    _check_fit(given, expected, path=path, manifest=manifest)
    fitted = {name: given[name].to(expected[name].dtype) for name in expected}
    if manifest is not None and manifest.refiner_passes is not None:
        refiner.passes = manifest.refiner_passes
    model.refiner = refiner.to(next(model.parameters()).device) if refines else None
    model.load_state_dict(fitted, strict=True)


def _without_refiner(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the published networks have of a state dict."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(_REFINER)}


def read_weights(path: Path) -> bytes:
    """Return the content of a file of weights.

    Args:
        path: .pth, .pt, .safetensors or an FP32 artefact.

    Raises:
        CheckpointError: it is not there, is of no such kind, or cannot be read.
    """
    _reader(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file at {path}; check the path")
    if path.suffix == ".onnx":
        return read_onnx(path, error=CheckpointError)
    return read_file(path, most_bytes=_MOST_BYTES, error=CheckpointError)


def save_weights(model: nn.Module, path: str | Path, *, half: bool = False) -> None:
    """Write the state dict of `model`; see `litestereo.models.save_weights`.

    Args:
        model: a network of ours.
        path: ends in .safetensors.
        half: store weights of two and more dimensions as float16.

    Raises:
        InputError: the name has another ending.
        MissingDependencyError: safetensors is not installed.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} does not end in .safetensors, the only format that is written; name it so"
        )
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise _missing("safetensors", purpose="writing .safetensors files") from error
    data = save({name: _to_store(t, half=half) for name, t in model.state_dict().items()})
    write_atomic(path, data, durable=True)


def _to_store(tensor: Tensor, *, half: bool) -> Tensor:
    # Vectors stay as they are: they weigh nothing, and a running variance may leave half's range.
    if half and tensor.is_floating_point() and tensor.ndim > 1:
        tensor = tensor.half()
    return tensor.detach().cpu().contiguous()


def _missing(package: str, *, purpose: str) -> MissingDependencyError:
    return MissingDependencyError(package, purpose=purpose, extra="export")


def _reader(path: Path) -> Callable[[Path, bytes, Iterable[str]], dict[str, Tensor]]:
    """Return what makes tensors of a file's path and content and the names that are wanted."""
    readers = {
        ".pth": _from_pickle,
        ".pt": _from_pickle,
        ".safetensors": _from_safetensors,
        ".onnx": _from_onnx,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise CheckpointError(
            f"{path} ends in {path.suffix or 'nothing'!r}; weights come as {', '.join(readers)}"
        )
    return reader


def _from_pickle(path: Path, content: bytes, _: Iterable[str]) -> dict[str, Tensor]:
    return _tensors_only(tensors_from(path, content=content), path=path)


def tensors_from(
    path: Path, *, device: str | torch.device = "cpu", content: bytes | None = None
) -> Any:  # noqa: ANN401
    """Return what `torch.save` wrote, if it is tensors and plain values; code is never run.

    Args:
        path: the file.
        device: where the tensors come to be.
        content: of the file; None reads it.

    Raises:
        CheckpointError: it is damaged, would need code, or claims more memory than its own size.
    """
    if content is None:
        content = read_file(path, most_bytes=_MOST_BYTES, error=CheckpointError)
    try:
        # Only archives: what the older format claims to hold is allocated before it is read.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, *_DAMAGE) as error:
        if content.startswith(_ARCHIVE):
            raise CheckpointError(
                f"{path} begins as an archive of torch.save, but is cut off or damaged; get it "
                "again from its source"
            ) from error
        raise CheckpointError(
            f"{path} is no archive of torch.save, or one of before torch 1.6; save it again with "
            "a later torch, or as .safetensors"
        ) from error
    if unpacked > len(content):
        raise CheckpointError(
            f"{path} would unpack to {unpacked} bytes from {len(content)}; torch.save does not "
            "compress: get it again from its source"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd pickles and then reads or refuses
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        raise CheckpointError(
            f"{path} is not a plain file of tensors: it holds "
            f"{refused[1] if refused else 'other things'}. Reading it would need unpickling, which "
            "can run code from the file; save its state dict alone with torch.save, or as "
            ".safetensors"
        ) from error
    except (zipfile.BadZipFile, struct.error, *_DAMAGE) as error:
        raise _unreadable(path, error) from error


def _tensors_only(content: object, *, path: Path) -> dict[str, Tensor]:
    """Open the envelope, if there is one, and make sure that tensors are in it."""
    if isinstance(content, Mapping):
        for key in _ENVELOPES:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; a state dict is needed, bare or under "
            f"one of the keys {', '.join(map(repr, _ENVELOPES))}"
        )
    strangers = [str(k) for k, v in content.items() if not isinstance(v, Tensor) or v.is_nested]
    if strangers:
        raise CheckpointError(
            f"{path} holds {_some(strangers)} that are not plain tensors; a state dict is needed, "
            f"bare or under one of the keys {', '.join(map(repr, _ENVELOPES))}"
        )
    return {str(name): tensor for name, tensor in content.items()}


def _from_safetensors(path: Path, content: bytes, _: Iterable[str]) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ModuleNotFoundError as error:
        raise _missing("safetensors", purpose="reading .safetensors files") from error
    try:
        return dict(load(content))
    except (SafetensorError, *_DAMAGE) as error:
        raise _unreadable(path, error) from error


def _from_onnx(path: Path, content: bytes, names: Iterable[str]) -> dict[str, Tensor]:
    """Read the initializers that carry a state-dict name; the graph has constants beside them."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise _missing("onnx", purpose="reading weights from an .onnx artefact") from error
    wanted = set(names)
    if not content:
        raise _unreadable(path, EOFError("it is empty"))
    try:
        graph = onnx.load_from_string(content).graph
        return {
            tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
            if tensor.name in wanted
        }
    except (DecodeError, *_DAMAGE) as error:
        raise _unreadable(path, error) from error


def _as_matrix(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Undo the 1x1 kernel form that an artefact may give to LAS1's matrices."""
    return tensor.reshape(shape) if tensor.shape == (*shape, 1, 1) else tensor


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if state and all(name.startswith(_DDP_PREFIX) for name in state):
        return {name[len(_DDP_PREFIX) :]: tensor for name, tensor in state.items()}
    return state


def _check_fit(
    given: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    path: Path,
    manifest: Manifest | None,
) -> None:
    shared = [name for name in expected if name in given]
    misshapen = [n for n in shared if given[n].shape != expected[n].shape]
    mistyped = [n for n in shared if not _is_alike(given[n], expected[n])]
    # Only what fits is looked into: a strange tensor's values may not fit into memory.
    sound = [n for n in shared if n not in misshapen and n not in mistyped]
    problems = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "misshapen": [
            f"{n} {tuple(given[n].shape)} instead of {tuple(expected[n].shape)}" for n in misshapen
        ],
        "of another type": [
            f"{n} {given[n].dtype} instead of {expected[n].dtype}" for n in mistyped
        ],
        "not finite": [n for n in sound if not _is_finite(given[n].to(expected[n].dtype))],
    }
    found = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
    if not found:
        return
    other = _whose(_without_refiner(given), manifest=manifest)
    if other and _shapes_of(other) != _shapes(_without_refiner(expected)):
        raise CheckpointError(
            f"{path} does not fit the model: it holds weights of {other}; choose that model, or "
            "other weights"
        )
    raise CheckpointError(
        f"{path} does not fit the model ({found}); check that it was made for this model"
    )


def _whose(given: Mapping[str, Tensor], *, manifest: Manifest | None) -> str | None:
    """Return the name of the network of ours whose weights these are, if they are any's."""
    from litestereo.models.registry import MODEL_NAMES

    if manifest is not None:
        return manifest.model if manifest.model in MODEL_NAMES else None
    return next((name for name in MODEL_NAMES if _shapes_of(name) == _shapes(given)), None)


def _manifest(path: Path, content: bytes) -> Manifest | None:
    """Return what an artefact says of itself; None of somebody else's."""
    from litestereo.runtime.tensorrt.artifact import read_artifact

    with suppress(LiteStereoError):
        return read_artifact(path, content=content).manifest
    return None


def _shapes_of(model: str) -> dict[str, torch.Size]:
    from litestereo.models import create

    with torch.device("meta"):
        return _shapes(create(model).state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _is_alike(given: Tensor, expected: Tensor) -> bool:
    """Whether both are whole or both fractions, and the given one an ordinary tensor."""
    plain = given.layout == torch.strided and not (given.is_quantized or given.is_meta)
    real = not given.is_complex() and given.is_floating_point() == expected.is_floating_point()
    return plain and real


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _some(names: list[str], *, shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} keys ({', '.join(names[:shown])}{more})"


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({_first_line(error)}); it is damaged or of another format: "
        f"get it again"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
