"""Inputs shaped like public data sets and bug reports, which stand beside the project."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import SHARED, read_quarantine, read_rows

import lookahead_data as la
from lookahead_data.config import Settings
from lookahead_data.model.tokenizer import load_tokenizer
from lookahead_data.source.discover import discover
from lookahead_data.source.readers import read_all
from lookahead_data.source.recognize import recognize
from lookahead_data.source.rows import Row
from lookahead_data.source.strict import to_row

WILD = SHARED / "wild"

needs_wild = pytest.mark.skipif(not WILD.is_dir(), reason="the folder shared/wild is not there")


def case(name: str) -> Path:
    """The folder of a case, by the number that its name begins with."""
    found = [path for path in WILD.iterdir() if path.name.split("-")[0] == name] if WILD.is_dir() else []
    if not found:
        pytest.skip(f"the case {name} of shared/wild is not there")
    return found[0]


def said(path: Path, **changes: Any) -> list[list[tuple[str, str | None]]]:
    """Role and content of the messages of each row of an input, read strictly."""
    return [
        [(message["role"], message["content"]) for message in row.messages]
        for row in rows_of(path, **changes)
    ]


def rows_of(path: Path, **changes: Any) -> list[Row]:
    """The rows of an input, read strictly."""
    settings = Settings(**changes)
    files = discover([path])
    shapes = recognize(files, settings).shapes
    return [
        to_row(record.value, shape)
        for file, shape in zip(files, shapes, strict=True)
        for record in read_all(file, max_line_size=1 << 20)
        if isinstance(record.value, dict)
    ]


def fields_of(path: Path, **changes: Any) -> Mapping[str, Any]:
    """The account of fields of an input of one shape."""
    (fields,) = recognize(discover([path]), Settings(**changes)).fields
    return fields.to_dict()


def converted(path: Path, out: Path, **changes: Any) -> tuple[list[str], list[dict[str, Any]], la.Manifest]:
    """The texts of the rows that are written, what is quarantined, and the manifest."""
    given = {"tokenizer": "builtin", "workers": 1} | changes
    manifest = la.convert(path, out, **given)
    tokenizer = load_tokenizer("builtin")
    texts = [tokenizer.decode(row["input_ids"]) for row in read_rows(out)]
    return texts, read_quarantine(out), manifest


def cases() -> dict[str, dict[str, Any]]:
    """The list of cases, by number."""
    lines = (WILD / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["case"].split("-")[0]: entry for entry in map(json.loads, lines)}
