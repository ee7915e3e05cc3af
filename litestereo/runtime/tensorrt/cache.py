"""Engines on disk: built once for a graph, a size, a GPU and a TensorRT, and checked when loaded.

Each engine is a plan and a JSON sidecar that holds its key, its checksum and its attestation. The
sidecar is written last: a plan without one, or with another's, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestereo.errors import EngineError, InputError
from litestereo.runtime.files import write_atomic
from litestereo.runtime.reading import JSON_MOST_BYTES, json_from, read_file
from litestereo.runtime.tensorrt.lock import CannotLockError, locked

__all__ = ["CacheKey", "CachedEngine", "EngineCache", "default_folder", "doubt_about"]

FORMAT_VERSION = 1

# Of the key's fields whose names say too little.
_WORDS = {
    "multiprocessors": "the GPU's number of multiprocessors",
    "memory_gb": "the GPU's memory in GB",
    "builder": "the version of litestereo's builder",
}


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an engine depends on; another value in any field is another engine.

    Attributes:
        graph_sha256: of the artefact's graph.
        sizes: sizes that it takes, as text.
        precision_map_sha256: of the map of FP32 islands.
        tensorrt_version: TensorRT loads its own version's engines only.
        gpu: the GPU's name.
        sm: its architecture, e.g. "sm_87".
        multiprocessors: how many the GPU has: every Orin has the name "Orin" and is sm_87.
        memory_gb: the GPU's memory, rounded.
        options: the build's options, as JSON.
        builder: a digest of the code of ours that decides what is built.
    """

    graph_sha256: str
    sizes: str
    precision_map_sha256: str
    tensorrt_version: str
    gpu: str
    sm: str
    multiprocessors: str
    memory_gb: str
    options: str
    builder: str

    @property
    def digest(self) -> str:
        """A name for the key; versions of the package that store otherwise use other names."""
        told = json.dumps([FORMAT_VERSION, self.to_json()])
        return hashlib.sha256(told.encode()).hexdigest()[:20]

    def to_json(self) -> dict[str, str]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def difference(self, other: Mapping[str, Any]) -> list[str]:
        """Return which fields differ from a sidecar's key, with both values, in words.

        Args:
            other: fields by name.
        """
        return [
            f"{_WORDS.get(name, name)} is {_short(known)}, need {_short(value)}"
            for name, value in self.to_json().items()
            if (known := other.get(name, "unknown")) != value
        ]


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """An engine from the cache, or freshly built.

    Attributes:
        plan: TensorRT's bytes.
        facts: what the builder noted about it: attestation, seconds, typing.
        path: its file; None if it could not be stored.
        was_built: whether it was built just now.
    """

    plan: bytes
    facts: Mapping[str, Any]
    path: Path | None
    was_built: bool


@dataclass(frozen=True, slots=True)
class EngineCache:
    """A folder of engines, shared by processes.

    Attributes:
        folder: where they are; made when the first is stored.
        say: told in one line why an engine is built again, and what is waited for.
    """

    folder: Path
    say: Callable[[str], None]

    def engine(
        self, key: CacheKey, *, name: str, build: Callable[[], tuple[bytes, Mapping[str, Any]]]
    ) -> CachedEngine:
        """Return the engine of `key`; only one process builds it, the others wait for that.

        Args:
            key: what it depends on.
            name: what to call it, in messages and as the start of its file's name.
            build: makes the plan and facts about it that JSON can hold.
        """
        stem = f"{_file_name(name)}_{key.digest}"
        found, reason = self._load(stem, key)
        if found is not None:
            return found
        try:
            with locked(self.folder / f".{stem}.lock", waiting=self.say):
                found, reason = self._load(stem, key)
                if found is not None:
                    return found
                self.say(f"{name}: {reason or self._nearest(name, key)}")
                return self._store(stem, key, *build())
        except CannotLockError as error:
            self.say(f"{name}: the engine cannot be kept ({error}); it is built for this run only")
            plan, facts = build()
            return CachedEngine(plan, facts, None, was_built=True)

    def plan_path(self, key: CacheKey, *, name: str) -> Path:
        """Return where the engine of `key` is or would be.

        Args:
            key: what the engine depends on.
            name: what to call it.
        """
        return self.folder / f"{_file_name(name)}_{key.digest}.plan"

    def _load(self, stem: str, key: CacheKey) -> tuple[CachedEngine | None, str]:
        """Return a stored engine, or None and why not ("" if it was never stored)."""
        path = self.folder / f"{stem}.plan"
        sidecar, plan = _read_sidecar(path.with_suffix(".json")), _read(path)
        if plan is None or sidecar is None:
            unread = "its sidecar" if plan is not None else "its plan"
            reason = f"the cached engine is incomplete ({unread} is missing or broken): building"
            return None, "" if plan is None and sidecar is None else reason
        if doubt := doubt_about(self.folder, path):
            return None, f"the cached engine is not trusted ({doubt}): building"
        if differing := key.difference(sidecar["key"]):
            return None, f"the cached engine is another's: {'; '.join(differing)}: building"
        if len(plan) != sidecar["plan_bytes"]:
            wanted = sidecar["plan_bytes"]
            return None, f"plan_bytes is {len(plan)}, need {wanted}: it was cut off: building"
        if hashlib.sha256(plan).hexdigest() != sidecar["plan_sha256"]:
            return None, "plan_sha256 differs: the cached engine is damaged: building"
        return CachedEngine(plan, sidecar["facts"], path, was_built=False), ""

    def _store(
        self, stem: str, key: CacheKey, plan: bytes, facts: Mapping[str, Any]
    ) -> CachedEngine:
        """Write an engine, the sidecar last; where that fails, the engine is used all the same."""
        path = self.folder / f"{stem}.plan"
        sidecar = {
            "format_version": FORMAT_VERSION,
            "key": key.to_json(),
            "plan_bytes": len(plan),
            "plan_sha256": hashlib.sha256(plan).hexdigest(),
            "facts": facts,
        }
        try:
            write_atomic(path, plan, durable=True)
            write_atomic(path.with_suffix(".json"), json.dumps(sidecar, indent=1).encode())
        except InputError as error:
            self.say(f"the engine cannot be kept ({error}); it is used for this run only")
            return CachedEngine(plan, facts, None, was_built=True)
        return CachedEngine(plan, facts, path, was_built=True)

    def _nearest(self, name: str, key: CacheKey) -> str:
        """Say how the most similar engine of the same name differs."""
        sidecars = map(_read_sidecar, self.folder.glob(f"{_file_name(name)}_*.json"))
        differing = [key.difference(sidecar["key"]) for sidecar in sidecars if sidecar]
        if not differing:
            return "no engine is cached: building"
        nearest = min(differing, key=lambda fields: len(fields))
        return f"the cached engine does not fit: {'; '.join(nearest)}: building"


def default_folder() -> Path:
    """Return the user's cache folder for engines, by the XDG rule.

    Raises:
        EngineError: the user has no home, as in some containers and services.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The rule: an unset, empty or relative value means ~/.cache.
    try:
        root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    except RuntimeError as error:
        # Not in /tmp: whoever made the folder there first could plant an engine.
        raise EngineError(
            "there is no home folder to keep engines in: HOME is not set; name a folder with "
            "--engine-cache (GpuOptions.cache_dir), or set XDG_CACHE_HOME"
        ) from error
    return root / "litestereo" / "engines"


def doubt_about(folder: Path, file: Path) -> str:
    """Say why a plan or plugin may be a stranger's, for both run as code; "" if it is not.

    Root takes what users own: containers mount folders of theirs. Not from a folder like /tmp.

    Args:
        folder: the engine cache.
        file: a file in it.
    """
    try:
        modes = {path: path.stat() for path in (folder, file)}
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    user, shared = os.geteuid(), modes[folder].st_mode & stat.S_IWOTH
    for path, status in modes.items():
        if status.st_uid not in (0, user) and (user != 0 or shared):
            return f"{path} belongs to user {status.st_uid}; use a folder of your own"
        # In a sticky folder nobody replaces the files of others.
        if status.st_mode & stat.S_IWOTH and not (path == folder and status.st_mode & stat.S_ISVTX):
            return f"everybody may write to {path}; chmod o-w it"
    return ""


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return a sidecar that has all that is read of it, else None."""
    kinds = {"key": dict, "plan_bytes": int, "plan_sha256": str, "facts": dict}
    try:
        data = json_from(read_file(path, most_bytes=JSON_MOST_BYTES))
    except (InputError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
        return None
    return data if all(isinstance(data.get(k), kind) for k, kind in kinds.items()) else None


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)


def _short(value: object) -> str:
    """Return a value for a one-line message: hashes and option lists are long."""
    text = str(value)
    return text if len(text) <= 48 else f"{text[:12]}..{text[-12:]}"
