"""What the commands share: the app's settings, options, one line for an error."""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from litestereo._version import __version__
from litestereo.errors import LiteStereoError

__all__ = [
    "Backend",
    "Debug",
    "EngineCache",
    "Threads",
    "Version",
    "command_app",
    "example",
    "run_command",
    "say",
    "scenes_watched",
    "stdout_columns",
    "with_joined_size",
    "with_split_size",
]


def command_app() -> typer.Typer:
    """Return an app with the settings that all commands share."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help text: rich's frames double the time of --help and break when it is piped.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def example(text: str) -> str:
    """Return the end of a help text: one line to copy (the escape keeps its line breaks).

    Args:
        text: the line.
    """
    return f"\b\nExample:\n  {text}"


def run_command(app: typer.Typer, *, name: str, arguments: Sequence[str] | None) -> int:
    """Run `app`, turning our own errors into one line; return the exit status.

    Args:
        app: the command.
        name: what it is called, for messages.
        arguments: words that replace the command line's; None takes those of `sys.argv`.
    """
    given = _given(arguments)
    try:
        with _stoppable(name):
            app(given, prog_name=name)  # leaves by SystemExit, also when all went well
    except LiteStereoError as error:
        if "--debug" in given:
            raise
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def with_split_size(arguments: Sequence[str] | None, option: str) -> list[str]:
    """Return a command line in which 480x640 after `option` is two words, as the option takes them.

    Args:
        arguments: as `run_command` takes them.
        option: its name.
    """
    words: list[str] = []
    for word in _given(arguments):
        name, equals, value = word.partition("=")
        after = words[-1:] == [option]
        if not after and equals and name == option:
            words.append(name)
            word, after = value, True
        size = re.fullmatch(r"(\d+)[xX](\d+)", word) if after else None
        words += size.groups() if size else [word]
    return words


def with_joined_size(arguments: Sequence[str] | None, option: str) -> list[str]:
    """Return a command line in which the words 480 640 after `option` are one, 480x640.

    Args:
        arguments: as `run_command` takes them.
        option: its name.
    """
    words: list[str] = []
    for word in _given(arguments):
        both = words[-2:-1] == [option] and all(each.isdecimal() for each in (words[-1], word))
        if both:
            words[-1] += f"x{word}"
        else:
            words.append(word)
    return words


def _given(arguments: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def _stoppable(name: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a command in one line, after its clean-up; a second one kills.

    By SystemExit, because click's releases make different things of KeyboardInterrupt. The exit
    status is the shell's: 130 and 143.
    """

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        print(f"{name}: stopped by {signal.Signals(number).name}", file=sys.stderr, flush=True)
        raise SystemExit(128 + number)

    own: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    # What a caller has set, such as nohup's ignoring, stays; other threads cannot set anything.
    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in own if main and signal.getsignal(number) == own[number]]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, own[number])


def _print_version(asked: bool) -> None:
    if asked:
        print(f"litestereo {__version__}")
        raise typer.Exit


def say(*lines: str) -> None:
    """Print words for a person, on stderr.

    Args:
        lines: without their line breaks.
    """
    for line in lines:
        print(line, file=sys.stderr)


def scenes_watched(scenes: Any) -> Iterator[Any]:  # noqa: ANN401 - Scene, not loaded yet
    """Yield the scenes; show a bar on a terminal, else a line as each one begins.

    Args:
        scenes: a sequence of `Scene`.
    """
    if sys.stderr.isatty():
        with typer.progressbar(scenes, label="scenes", file=sys.stderr) as bar:
            yield from bar
        return
    for index, scene in enumerate(scenes, start=1):
        say(f"{index}/{len(scenes)} {scene.key}")
        yield scene


def stdout_columns() -> int | None:
    """Return the terminal's width; None where stdout is none, and nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


Backend = Annotated[
    str,
    typer.Option(help="onnxruntime-cpu, onnxruntime-cuda or tensorrt; never replaced by another."),
]
EngineCache = Annotated[
    Path | None,
    typer.Option(
        show_default="~/.cache/litestereo/engines", help="Folder of built TensorRT engines."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")]
Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
]
