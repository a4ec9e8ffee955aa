"""The corpus that ships with the package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from lookahead_data.sink.publish import write_text


def write_corpus(folder: Path) -> Path:
    """Write the demo corpus to `folder/corpus.jsonl` and give its path."""
    corpus = importlib.resources.files("lookahead_data.assets").joinpath("demo.jsonl")
    path = folder / "corpus.jsonl"
    write_text(path, corpus.read_text(encoding="utf-8"))
    return path
