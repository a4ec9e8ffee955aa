"""A JSON file that is one array of objects, read piece by piece; or, as many are, JSON Lines.

Which of the two it is, its first character tells. An array that is broken somewhere cannot be read
past that place, since nothing marks where the next element starts: that is the file's fault.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from lookahead_data.errors import InputError, RowError
from lookahead_data.plan import InputFile
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import (
    Record,
    Split,
    as_object,
    excerpt_of,
    open_bytes,
    parse_json_text,
)

_BLOCK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def fields(file: InputFile) -> list[str] | None:
    return None


def split(file: InputFile, unit_size: int) -> list[Split]:
    if is_lines(file):
        return jsonl.split(file, unit_size)
    return [Split(0, file.size, 0, file.size)]


def read(file: InputFile, part: Split, *, max_line_size: int) -> Iterator[Record]:
    if is_lines(file):
        yield from jsonl.read(file, part, max_line_size=max_line_size)
        return
    for row, text in enumerate(_elements(file, max_line_size)):
        yield record_of(text, row)


def record_of(text: str, row: int) -> Record:
    """The record of an element of the array."""
    try:
        return Record(row, None, len(text), as_object(parse_json_text(text)))
    except RowError as error:
        return Record(row, None, len(text), error, excerpt_of(text))


def is_element(text: str) -> bool:
    """Whether a text is one JSON value, so that an array goes on behind it, whatever else is wrong with it."""
    try:
        return _DECODER.raw_decode(text)[1] == len(text)
    except (ValueError, RecursionError):
        return False


def is_lines(file: InputFile) -> bool:
    """Whether a file is JSON Lines in spite of its name.

    Raises:
        InputError: it is neither that nor an array.
    """
    with open_bytes(file) as stream:
        head = stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
        if head[:1] in (b"[", b""):
            return False
        if head[:1] != b"{":
            raise InputError(
                f"is no JSON array: it starts with {excerpt_of(head[:20])!r}",
                where=file.name,
                remedy="A .json file holds an array of objects, or one object a line.",
            )
        line = head.split(b"\n")[0].strip()
        if line == b"{" or (len(head) < 4096 and not _parses(line) and _parses(head)):
            raise InputError(
                "is a single JSON object, not an array of rows",
                where=file.name,
                remedy="Take the list of rows out of it, for instance with jq '.data' FILE > NEW.",
            )
    return True


def _parses(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _elements(file: InputFile, limit: int) -> Iterator[str]:
    """The text of each element of the array."""
    with open_bytes(file) as stream:
        decode = codecs.getincrementaldecoder("utf-8")().decode
        # `text[at:]` is what was read and not yet given; `before` counts the characters before it.
        text, at, before = "", 0, 0
        ended = False

        def more() -> bool:
            nonlocal text, at, before, ended
            block = stream.read(max(_BLOCK, len(text) - at))
            ended = not block
            before += at
            try:
                text, at = text[at:] + decode(block, ended), 0
            except UnicodeDecodeError as error:
                raise InputError(f"is not UTF-8: {error}", where=file.name) from None
            return not ended

        def skip_space() -> str:
            nonlocal at
            while True:
                match = _SPACE.match(text, at)
                at = match.end() if match else at
                if at < len(text) or not more():
                    return text[at : at + 1]

        def broken(problem: str) -> InputError:
            return InputError(
                f"the JSON array is broken at character {before + at:,}: {problem}",
                where=file.name,
                remedy="Nothing behind that place can be read. Mend it, or turn the file into JSON Lines.",
            )

        more()
        text = text.removeprefix("\ufeff")
        if skip_space() != "[":
            if not text:
                return
            raise broken("expected [")
        at += 1
        if skip_space() == "]":
            at += 1
        else:
            while True:
                skip_space()
                while True:
                    try:
                        end = _DECODER.raw_decode(text, at)[1]
                        # A number at the very end of what was read may go on behind it.
                        if end < len(text) or ended:
                            break
                    except RecursionError:
                        raise broken("nested too deeply") from None
                    except ValueError as error:
                        if ended:
                            raise broken(str(error)) from None
                    if len(text) - at > limit:
                        raise broken(f"an element has more than {limit:,} characters (--max-line-size)")
                    more()
                yield text[at:end]
                at = end
                separator = skip_space()
                at += 1
                if separator == "]":
                    break
                if separator != ",":
                    raise broken("the array does not end" if not separator else "expected , or ]")
        if skip_space():
            raise broken("something follows the array")
