"""A strict reader of the YAML that calibration files are written in; no package needed.

It knows block maps and lists by indentation, flow lists and maps that may run over lines, quoted
and plain scalars, comments, tags such as `!!opencv-matrix` (ignored) and several documents.
Anchors, aliases, multi-line strings and tabs are refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from litestereo.errors import InputError

__all__ = ["yaml_documents"]

_KEY = re.compile(
    r"""^(?P<key>"[^"]*"\s*|'[^']*'\s*|[^\s"'\[\]{},#&*!|>][^:#]*):(?:\s+(?P<rest>.*))?$"""
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

    Args:
        text: of the whole file.

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
    parts: list[str] = []  # of the last line; joined once, since each join copies the whole
    open_brackets = 0
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if raw.startswith("%") or raw.strip() == "...":
            continue
        content = _without_comment(raw).rstrip()
        if not content.strip():
            continue
        if "\t" in content[: len(content) - len(content.lstrip())]:
            raise InputError(f"line {number} is indented by a tab; YAML takes spaces")
        if open_brackets <= 0:
            lines.append(_Line(number, len(content) - len(content.lstrip()), content.strip()))
            parts = []
        parts.append(content.strip())
        open_brackets += _bracket_balance(content)
        if open_brackets <= 0 and len(parts) > 1:
            lines[-1] = replace(lines[-1], text=" ".join(parts))
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
        key = match["key"].strip().strip("\"'")
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
    tokens = _Tokens(_FLOW_TOKEN.findall(text))
    value = _flow(tokens, line.number, 0)
    if tokens.next:
        raise InputError(f"line {line.number}: {tokens.next!r} follows a closed bracket")
    return value


class _Tokens:
    """A list of tokens, read from its front; copies of the rest would take quadratic time."""

    def __init__(self, tokens: list[str]) -> None:
        self._left = tokens[::-1]

    @property
    def next(self) -> str:
        """The next token; empty at the end."""
        return self._left[-1] if self._left else ""

    def take(self) -> str:
        """Return the next token and go on."""
        return self._left.pop() if self._left else ""


def _flow(tokens: _Tokens, number: int, depth: int) -> Any:  # noqa: ANN401 - a YAML value
    """Return the first flow value of `tokens`, and take it from them."""
    if depth > _DEEPEST or not tokens.next:
        raise InputError(f"line {number}: brackets are nested too deep, or not closed")
    first = tokens.take().strip()
    if first == "{":
        return _flow_map(tokens, number, depth)
    if first != "[":
        return _scalar(first, number)
    items: list[Any] = []
    while tokens.next not in ("", "]"):
        items.append(_flow(tokens, number, depth + 1))
        if tokens.next == ",":
            tokens.take()
        elif tokens.next not in ("", "]"):
            raise InputError(f"line {number}: need a comma before {tokens.next!r}")
    if not tokens.take():
        raise InputError(f"line {number}: a bracket is not closed")
    return items


def _flow_map(tokens: _Tokens, number: int, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    while tokens.next not in ("", "}"):
        key, colon, text = tokens.take().partition(":")
        if not colon:
            raise InputError(f"line {number}: {key.strip()!r} in braces has no value")
        if text.strip():
            value: Any = _scalar(text.strip(), number)
        else:
            value = _flow(tokens, number, depth + 1)
        result[key.strip().strip("\"'")] = value
        if tokens.next == ",":
            tokens.take()
    if not tokens.take():
        raise InputError(f"line {number}: a brace is not closed")
    return result


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
