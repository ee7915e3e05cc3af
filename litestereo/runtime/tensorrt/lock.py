"""A lock between processes that a dead process cannot keep."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["CannotLockError", "locked"]

_POLL_S = 0.1


class CannotLockError(Exception):
    """The folder or the lock cannot be opened, or their file system has no locks."""


@contextmanager
def locked(path: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock `path` for a `with` block, waiting while another process holds it.

    The kernel gives the lock back when its process ends, however it ends, so a lock is never stale;
    the file stays and says whose it was last, where that can be written.

    Args:
        path: the lock's file, made with its folder.
        waiting: told once who holds the lock, if someone does.

    Raises:
        CannotLockError: the lock cannot be made here.
    """
    descriptor = _opened(path)
    try:
        _acquire(descriptor, waiting)
        try:
            _sign(descriptor)
            yield
        finally:
            # Closing is not enough: a process forked meanwhile holds the descriptor, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        # A lock that root left takes no note of ours, and can be held all the same.
        with suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        refused = path if os.path.exists(path) else path.parent
        raise CannotLockError(f"{refused}: {error.strerror}") from error
    except OSError as error:
        raise CannotLockError(f"{path.parent}: {error.strerror or error}") from error


def _sign(descriptor: int) -> None:
    """Note whose lock it is; a full disk or another's file takes no note, and the lock holds."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _acquire(descriptor: int, waiting: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                waiting(f"process {holder or 'unknown'} is building the same engine: waiting")
                told = True
            time.sleep(_POLL_S)
        except OSError as error:
            raise CannotLockError(f"this file system has no locks: {error.strerror}") from error
