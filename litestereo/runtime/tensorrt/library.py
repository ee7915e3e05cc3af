"""Get at TensorRT: after the driver, with its messages kept for our errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.cuda import choose_binding
from litestereo.runtime.cuda.driver import Driver

__all__ = [
    "OLDEST",
    "WordsLog",
    "import_tensorrt",
    "make_log",
    "own_words",
    "require_tensorrt",
    "version_of",
]

OLDEST = (8, 6)
_KEPT = 20


def import_tensorrt(*, open_driver: Callable[[], object] = Driver.open) -> Any:  # noqa: ANN401
    """Return the module `tensorrt`; the CUDA driver is checked first.

    Args:
        open_driver: raises where there is no GPU.

    Raises:
        EngineError: no driver, no GPU, or a version that is too old.
        MissingDependencyError: it is not installed.
    """
    open_driver()
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        if error.name not in (None, "tensorrt"):
            raise EngineError(
                f"tensorrt is installed and cannot be imported: {error}; its libraries and its "
                "Python package must be of one version"
            ) from error
        raise MissingDependencyError(
            "tensorrt",
            purpose="the tensorrt backend (on a Jetson: apt install python3-libnvinfer, and make "
            "the environment with --system-site-packages)",
            extra="tensorrt",
        ) from error
    version = version_of(trt)
    if version[:2] < OLDEST:
        raise EngineError(
            f"TensorRT is {trt.__version__}; need {OLDEST[0]}.{OLDEST[1]} or later (JetPack 6)"
        )
    return trt


def require_tensorrt() -> None:
    """Raise where no engine can be built here, before the work that would end with one.

    Raises:
        LiteStereoError: no driver, no GPU, no TensorRT, or no package for GPU memory.
    """
    import_tensorrt()
    choose_binding()


def version_of(trt: Any) -> tuple[int, ...]:  # noqa: ANN401 - the module
    """Return TensorRT's version as numbers.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
    """
    return tuple(int(part) for part in str(trt.__version__).split(".") if part.isdigit())


class WordsLog:
    """The last warnings and errors of a TensorRT logger."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self._warnings: deque[str] = deque(maxlen=_KEPT)

    def note(self, line: str, *, is_error: bool) -> None:
        """Keep a line.

        Args:
            line: of TensorRT's log.
            is_error: an error, else a warning.
        """
        (self._errors if is_error else self._warnings).append(" ".join(line.split()))

    def clear(self) -> None:
        """Forget all lines: what follows is about something else."""
        self._errors.clear()
        self._warnings.clear()

    def words(self) -> str:
        """Return the errors, else the last warnings, as one line."""
        lines = dict.fromkeys(self._errors or list(self._warnings)[-3:])
        return "; ".join(lines) or "TensorRT gave no reason"


def make_log(trt: Any, words: WordsLog) -> Any:  # noqa: ANN401 - the module, an ILogger
    """Return a TensorRT logger that prints nothing and keeps warnings and errors in `words`.

    TensorRT keeps the logger of the first builder or runtime for the whole process, so one is
    made for all: see `own_words`.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        words: keeps the lines.
    """
    severity = trt.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]  # the class comes with the module
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:  # noqa: ANN401 - an enum
            if level in errors or level == severity.WARNING:
                words.note(message, is_error=level in errors)

    return Log()


_logs: dict[int, tuple[Any, WordsLog]] = {}


def own_words(trt: Any) -> tuple[Any, WordsLog]:  # noqa: ANN401 - the module, an ILogger
    """Return the process's logger for this TensorRT, and the words it keeps.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
    """
    if id(trt) not in _logs:
        words = WordsLog()
        _logs[id(trt)] = (make_log(trt, words), words)
    return _logs[id(trt)]
