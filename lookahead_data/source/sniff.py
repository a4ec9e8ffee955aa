"""What the first bytes of a text file show: a JSON array named `.jsonl`, and files that hold no rows as they are.

Each refusal names what the file is and the command that makes rows of it.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import replace

from lookahead_data.errors import InputError
from lookahead_data.plan import InputFile
from lookahead_data.source.records import open_bytes
from lookahead_data.source.splits import KEYWORDS

_HEAD = 1 << 16

_LISTS = {word for words in KEYWORDS.values() for word in words} | {
    "data", "rows", "records", "examples", "items", "instances", "dataset", "samples", "entries",
}  # fmt: skip
"""Names under which a file of one object holds its list of rows."""
_TURN_KEYS = frozenset(("role", "from", "content", "value", "speaker", "parts"))
_LIST_OF_ROWS = re.compile(r'\s*\{\s*"([^"\\]+)"\s*:\s*\[\s*\{\s*"([^"\\]+)"')
_COLUMNS = re.compile(r'\s*\{\s*"[^"\\]+"\s*:\s*\{\s*"0"\s*:')


def sniff(file: InputFile) -> InputFile:
    """The file, as `json` where it is an array in spite of its name.

    Raises:
        InputError: it is a Git LFS pointer, pretty-printed objects, one object that holds all rows, or Python's repr.
    """
    if file.format not in ("jsonl", "json") or not file.size:
        return file
    with open_bytes(file) as stream:
        raw = stream.read(_HEAD)
    whole = len(raw) < _HEAD
    head = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").lstrip()
    first, _, rest = head.partition("\n")
    alone = not rest.strip()
    if head.startswith("[") and file.format == "jsonl":
        return file if _is_json(first) and not alone else replace(file, format="json")
    if re.match(r"\{\s*'", head):
        raise InputError(
            "its rows are written as Python prints dicts (with single quotes), not as JSON",
            where=file.name,
            remedy='Convert it: python -c "import ast, json, sys; '
            '[print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]" < FILE > NEW.jsonl',
        )
    if not head.startswith("{"):
        return file
    is_row = _is_json(first) or (alone and not whole)
    if is_row and not alone:
        return file
    if _COLUMNS.match(head):
        raise InputError(
            "holds columns, not rows, as pandas' to_json writes by default",
            where=file.name,
            remedy="Write it again with df.to_json(FILE, orient='records', lines=True).",
        )
    found = _LIST_OF_ROWS.match(head)
    if found and found[1].lower() in _LISTS and found[2] not in _TURN_KEYS:
        keys = _lists_in(head) if whole else [found[1]]
        raise InputError(
            f"is one object, whose rows are in a list under {', '.join(map(repr, keys or [found[1]]))}",
            where=file.name,
            remedy=f"Take the list out: jq -c '.[\"{found[1]}\"][]' FILE > {found[1]}.jsonl",
        )
    if file.format == "jsonl" and (first.strip() == "{" or "\n" in _first_value(head)):
        raise InputError(
            "its objects go over several lines (pretty-printed), and JSON Lines has one object per line",
            where=file.name,
            remedy="Put each object on one line: jq -c . FILE > NEW.jsonl",
        )
    return file


def _first_value(text: str) -> str:
    """The first JSON value of a text, as it is written; empty where there is none."""
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]]
    except (ValueError, RecursionError):
        return ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lists_in(text: str) -> list[str]:
    """The keys of an object whose values are lists of objects."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [
        key
        for key, items in value.items()
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
    ]
