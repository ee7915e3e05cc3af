"""A strict reader of the YAML that calibration files are written in; no package needed.

It knows block maps and lists by indentation, flow lists and maps that may run over lines, quoted
and plain scalars, comments, tags such as `!!opencv-matrix` (ignored) and several documents.
Anchors, aliases, multi-line strings and tabs are refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from litestereo.errors import InputError

__all__ = ["yaml_documents"]

_KEY = re.compile(
    r"""^(?P<key>"[^"]*"|'[^']*'|[^\s"'\[\]{},#&*!|>][^:#]*?)\s*:(?:\s+(?P<rest>.*))?$"""
)
_TAG = re.compile(r"^!\S*\s*")
_FLOW_TOKEN = re.compile(r"""\s*("[^"]*"|'[^']*'|[\[\]{},]|[^\[\]{},"']+)""")
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def yaml_documents(text: str) -> list[Any]:
    """Return the documents of a file: dicts, lists, strings and numbers.

    Raises:
        InputError: something outside the subset; the message has the line.
    """
    documents: list[list[_Line]] = [[]]
    for line in _logical_lines(text):
        if line.text == "---" or line.text.startswith("--- "):
            documents.append([])
        else:
            documents[-1].append(line)
    return [_block(lines) for lines in documents if lines]


def _logical_lines(text: str) -> list[_Line]:
    """Return lines without comments and blanks, flow values that run over lines joined."""
    lines: list[_Line] = []
    open_brackets = 0
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if raw.startswith("%") or raw.strip() == "...":
            continue
        content = _without_comment(raw).rstrip()
        if not content.strip():
            continue
        if "\t" in content[: len(content) - len(content.lstrip())]:
            raise InputError(f"line {number} is indented by a tab; YAML takes spaces")
        if open_brackets > 0:
            last = lines[-1]
            lines[-1] = _Line(last.number, last.indent, f"{last.text} {content.strip()}")
        else:
            lines.append(_Line(number, len(content) - len(content.lstrip()), content.strip()))
        open_brackets += _bracket_balance(content)
    if open_brackets > 0:
        raise InputError(f"line {lines[-1].number}: a bracket is not closed; the file is cut off")
    return lines


def _without_comment(line: str) -> str:
    quote = ""
    for index, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index]
    return line


def _bracket_balance(text: str) -> int:
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    return sum(bare.count(c) for c in "[{") - sum(bare.count(c) for c in "]}")


def _block(lines: list[_Line], depth: int = 0) -> Any:  # noqa: ANN401 - a YAML value
    """Return the value of lines of one document, or of one indented block."""
    if depth > _DEEPEST:
        raise InputError(f"line {lines[0].number}: nested deeper than {_DEEPEST} levels")
    first = lines[0]
    if first.text == "-" or first.text.startswith("- "):
        return _sequence(lines, depth)
    if _KEY.match(first.text):
        return _mapping(lines, depth)
    if len(lines) > 1:
        raise InputError(f"line {lines[1].number}: {lines[1].text!r} belongs to nothing above it")
    return _value(first)


def _mapping(lines: list[_Line], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for head, body in _groups(lines, sequences_inside=True):
        match = _KEY.match(head.text)
        if match is None:
            raise InputError(f"line {head.number}: {head.text!r} is no 'key: value'")
        key = match["key"].strip("\"'")
        if key in result:
            raise InputError(f"line {head.number}: {key!r} is there twice")
        rest = _TAG.sub("", match["rest"] or "")
        if rest and body:
            raise InputError(f"line {body[0].number}: {body[0].text!r} is indented under a value")
        if rest:
            result[key] = _value(_Line(head.number, head.indent, rest))
        else:
            result[key] = _block(body, depth + 1) if body else None
    return result


def _sequence(lines: list[_Line], depth: int) -> list[Any]:
    items = []
    for head, body in _groups(lines, sequences_inside=False):
        if not (head.text == "-" or head.text.startswith("- ")):
            raise InputError(f"line {head.number}: {head.text!r} stands between list items")
        rest = head.text[1:]
        inner = _TAG.sub("", rest.lstrip())
        if inner:  # "- a: 1" opens a block whose indentation is that of "a"
            indent = head.indent + 1 + len(rest) - len(rest.lstrip())
            body = [_Line(head.number, indent, inner), *body]
        items.append(_block(body, depth + 1) if body else None)
    return items


def _groups(lines: list[_Line], *, sequences_inside: bool) -> list[tuple[_Line, list[_Line]]]:
    """Return each line of the block's own indentation with the deeper lines under it.

    A list may stand at the indentation of the key that it belongs to.
    """
    indent = lines[0].indent
    groups: list[tuple[_Line, list[_Line]]] = []
    for line in lines:
        item = line.text == "-" or line.text.startswith("- ")
        if line.indent < indent:
            raise InputError(f"line {line.number}: {line.text!r} is indented less than its block")
        if line.indent > indent or (sequences_inside and item and groups):
            groups[-1][1].append(line)
        else:
            groups.append((line, []))
    return groups


def _value(line: _Line) -> Any:  # noqa: ANN401 - a YAML value
    text = line.text
    if text[0] not in "[{":
        return _scalar(text, line.number)
    tokens = _FLOW_TOKEN.findall(text)
    value, rest = _flow(tokens, line.number, 0)
    if rest:
        raise InputError(f"line {line.number}: {''.join(rest)!r} follows a closed bracket")
    return value


def _flow(tokens: list[str], number: int, depth: int) -> tuple[Any, list[str]]:
    """Return the first flow value of `tokens` and the tokens after it."""
    if depth > _DEEPEST or not tokens:
        raise InputError(f"line {number}: brackets are nested too deep, or not closed")
    first, rest = tokens[0].strip(), tokens[1:]
    if first == "{":
        return _flow_map(rest, number, depth)
    if first != "[":
        return _scalar(first, number), rest
    items: list[Any] = []
    while rest and rest[0] != "]":
        item, rest = _flow(rest, number, depth + 1)
        items.append(item)
        if rest and rest[0] == ",":
            rest = rest[1:]
        elif rest and rest[0] != "]":
            raise InputError(f"line {number}: need a comma before {rest[0]!r}")
    if not rest:
        raise InputError(f"line {number}: a bracket is not closed")
    return items, rest[1:]


def _flow_map(tokens: list[str], number: int, depth: int) -> tuple[dict[str, Any], list[str]]:
    result: dict[str, Any] = {}
    rest = tokens
    while rest and rest[0] != "}":
        key, colon, text = rest[0].partition(":")
        rest = rest[1:]
        if not colon:
            raise InputError(f"line {number}: {key.strip()!r} in braces has no value")
        if text.strip():
            value: Any = _scalar(text.strip(), number)
        else:
            value, rest = _flow(rest, number, depth + 1)
        result[key.strip().strip("\"'")] = value
        if rest and rest[0] == ",":
            rest = rest[1:]
    if not rest:
        raise InputError(f"line {number}: a brace is not closed")
    return result, rest[1:]


def _scalar(text: str, number: int) -> str | float | int | bool | None:
    if not text:
        raise InputError(f"line {number}: a value is missing between brackets or commas")
    if text[0] in "\"'":
        if len(text) < 2 or text[-1] != text[0]:
            raise InputError(f"line {number}: {text!r} has an open quote")
        return text[1:-1]
    if text[0] in "&*|>":
        raise InputError(f"line {number}: {text!r} is YAML that calibrations do not use")
    named = {"true": True, "false": False, "null": None, "~": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text.replace(".Nan", "nan").replace(".Inf", "inf"))
    except ValueError:
        return text
