"""Whole files or none: things are made under a temporary name and then renamed."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from litestereo.errors import InputError

__all__ = ["replacing", "require_writable", "write_atomic"]


class _NoLocksError(Exception):
    """The file system has no locks."""


def write_atomic(path: Path, content: bytes, *, durable: bool = False) -> Path:
    """Write `content` to `path`, making its folder, and return the path.

    Args:
        path: the file; what was there is replaced, of a symbolic link what it points to.
        content: all of it.
        durable: wait until the disk has it, so that a power cut leaves the old or the new file.

    Raises:
        InputError: the place cannot be written; nothing is left behind.
    """
    target = _target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary, temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; choose another place with -o"
        ) from error
    return path


def require_writable(path: Path, *, folder: bool = False) -> None:
    """Raise where something cannot be written, before the work whose result it is.

    Nothing is made: the folder that is there, or the nearest one above it, is looked at.

    Args:
        path: the file, or the folder of several.
        folder: whether it is a folder.

    Raises:
        InputError: the place is of the wrong kind, or may not be written.
    """
    place = path if folder else _target(path).parent
    there = next((each for each in (place, *place.parents) if os.path.lexists(each)), Path("/"))
    if not os.path.isdir(there):
        reason = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = f"{there} may not be written"
    else:
        return
    raise InputError(f"cannot write {path}: {reason}; choose another place with -o")


def _target(path: Path) -> Path:
    """Return the file that is written, without symbolic links; refuse what is no file."""
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise InputError(f"cannot write {path}: it is a folder; name a file in it with -o")
    if os.path.lexists(target) and not os.path.isfile(target):
        raise InputError(f"cannot write {path}: it is no regular file; name a file")
    return target


@contextmanager
def replacing(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file, or folder, that takes the place of `path` at the end.

    It is removed where the block fails. What a killed process left is taken up by the next one: a
    maker holds a lock on what it makes, and the kernel gives back the locks of the dead.

    Args:
        path: what to make; an old file is replaced, a folder must not be there.
        folder: whether it is a folder.

    Raises:
        OSError: the place cannot be written.
    """
    claim = _Claim(path, folder=folder)
    try:
        claim.take()
        _empty(claim.temporary, claim.held)
        yield claim.temporary
        os.replace(claim.temporary, path)
    except BaseException:
        claim.remove()
        raise
    finally:
        claim.release()


class _Claim:
    """A temporary file or folder, from before it is made: an interrupt at any moment is cleaned up.

    Attributes:
        temporary: where it is made.
        held: the descriptor that locks it; -1 while there is none.
    """

    def __init__(self, path: Path, *, folder: bool) -> None:
        self.temporary, self.held = path, -1
        self._path, self._folder = path, folder

    def take(self) -> None:
        """Make and lock the first temporary file or folder of the path that is free."""
        for number in itertools.count():
            self.temporary = self._path.with_name(f".{self._path.name}.{number or ''}tmp")
            try:
                if self._lock():
                    return
            except _NoLocksError:
                # Nobody can tell there whose a file is, so each has a name of its own.
                self.remove()
                self.release()
                own = f".{self._path.name}.{uuid.uuid4().hex[:8]}tmp"
                self.temporary = self._path.with_name(own)
                self.held = _opened(self.temporary, folder=self._folder)
                return

    def _lock(self) -> bool:
        while True:
            self.held = _opened(self.temporary, folder=self._folder)
            try:
                fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                return False
            except OSError as error:
                raise _NoLocksError from error
            # Whoever had it may have renamed it meanwhile: then this is the finished file.
            if _is(self.temporary, self.held):
                return True
            self.release()

    def remove(self) -> None:
        """Remove what was made, unless another maker holds it."""
        if self.temporary == self._path:
            return
        if self.held < 0:  # stopped before the descriptor of the new file was known
            try:
                self.held = os.open(self.temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                return
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            pass  # no locks there: another maker has another name
        if _is(self.temporary, self.held):
            _remove(self.temporary)

    def release(self) -> None:
        """Give the lock back."""
        held, self.held = self.held, -1
        if held >= 0:
            os.close(held)


def _opened(temporary: Path, *, folder: bool) -> int:
    if not folder:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(temporary, flags, 0o666)
    while True:
        temporary.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # its maker was done between the two calls
            return os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _is(path: Path, held: int) -> bool:
    """Say whether a path still is what a descriptor was opened on."""
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except FileNotFoundError:
        return False


def _empty(temporary: Path, held: int) -> None:
    if not temporary.is_dir():
        os.ftruncate(held, 0)
        return
    for left in temporary.iterdir():
        _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
