"""The JSON envelope of the measuring commands: a schema's name, its version, dataclasses as fields.

Reading is strict: what is missing, unknown, of another type or not finite is refused by its place
in the file, e.g. "subjects[2].closed.frames". Only a field whose default is None may be missing:
earlier versions did not write it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from litestereo._version import __version__
from litestereo.errors import InputError
from litestereo.runtime.reading import JSON_MOST_BYTES, json_from, read_file

__all__ = ["check_header", "decode", "header", "read_json"]

_Record = TypeVar("_Record")


def header(schema: str, version: int) -> dict[str, Any]:
    """Return the fields that begin every file of results.

    Args:
        schema: what kind of results it is, such as "litestereo.latency".
        version: of that kind.
    """
    return {"schema": schema, "schema_version": version, "litestereo_version": __version__}


def check_header(content: object, schema: str, version: int, *, command: str) -> None:
    """Refuse content that is no result of `command`, or one of another version.

    Args:
        content: what the file holds.
        schema: which kind is needed.
        version: of that kind.
        command: what writes it, for the message.

    Raises:
        InputError: it is not.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"the file holds a JSON {type(content).__name__}, need an object: it is not a report "
            f"of {command}"
        )
    for name, expected in (("schema", schema), ("schema_version", version)):
        if content.get(name) != expected:
            raise InputError(
                f"{name} is {content.get(name)!r}, need {expected!r}: not a report of {command}, "
                "or one of another version"
            )


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the content of a JSON file.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json_from(read_file(path, most_bytes=JSON_MOST_BYTES))
    except ValueError as error:
        raise InputError(f"cannot read {path} as JSON: {error}") from error


def decode(kind: type[_Record], content: object, *, where: str = "report") -> _Record:
    """Return the dataclass of which `dataclasses.asdict` made `content`, checked field by field.

    Args:
        kind: a dataclass of numbers, texts, tuples, dicts, dataclasses, Literals and None.
        content: as `json.loads` gives it.
        where: what to call it in an error.

    Raises:
        InputError: a field is missing, unknown, of another type, or no finite number.
    """
    return cast(_Record, _value(kind, content, where))


def _value(kind: Any, content: object, where: str) -> Any:  # noqa: ANN401 - a type, not a class
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if content is None else _value(_without_none(arguments), content, where)
    if origin is Literal:
        return content if content in arguments else _refuse(content, where, str(arguments))
    if origin is tuple:
        return _tuple(arguments, content, where)
    if origin is dict:
        items = _checked(dict, content, where).items()
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in items}
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), content, where)
    return _scalar(kind, content, where)


def _without_none(arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a type, not a class
    return next(argument for argument in arguments if argument is not types.NoneType)


def _tuple(arguments: tuple[Any, ...], content: object, where: str) -> tuple[Any, ...]:
    items = _checked(list, content, where)
    kinds = arguments
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds = (arguments[0],) * len(items)
    if len(items) != len(kinds):
        _refuse(content, where, f"{len(kinds)} items")
    pairs = zip(kinds, items, strict=True)
    return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


def _dataclass(kind: type, content: object, where: str) -> object:
    given = _checked(dict, content, where)
    hints = get_type_hints(kind)
    expected = {field.name for field in fields(kind)}
    later = {field.name for field in fields(kind) if field.default is None}
    if not expected - later <= set(given) <= expected:
        wrong = ", ".join(sorted(set(given) ^ expected))
        raise InputError(
            f"{where} has missing or unknown fields: {wrong}; it is of another version or was "
            "edited"
        )
    return kind(**{name: _value(hints[name], given[name], f"{where}.{name}") for name in given})


def _scalar(kind: Any, content: object, where: str) -> object:  # noqa: ANN401 - a class, or Any
    if kind is float:
        numeric = isinstance(content, (int, float)) and not isinstance(content, bool)
        # Compared, not converted: a whole number may be beyond every float.
        if not numeric or not abs(cast(float, content)) <= sys.float_info.max:
            _refuse(content, where, "a finite number")
        return float(cast(float, content))
    return _checked(kind, content, where)


def _checked(kind: type, content: object, where: str) -> Any:  # noqa: ANN401 - a `kind`
    # bool is an int to Python, and never what a report means by a number.
    if not isinstance(content, kind) or (kind is int and isinstance(content, bool)):
        _refuse(content, where, f"a {kind.__name__}")
    return content


def _refuse(content: object, where: str, need: str) -> None:
    text = repr(content)
    shown = text if len(text) < 60 else f"{text[:57]}..."
    raise InputError(f"{where} is {shown}; need {need}")
