"""Planning: how input is divided by default, and that one pass is enough for digests and units."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
from helpers import write_jsonl
from hypothesis import given
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data import planning
from lookahead_data.config import MIB, Settings
from lookahead_data.plan import InputFile
from lookahead_data.source import readers
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import jsonl


def of_size(*sizes: int) -> list[InputFile]:
    return [InputFile(f"{at}.jsonl", f"{at}.jsonl", "jsonl", None, size, 0) for at, size in enumerate(sizes)]


@given(
    sizes=st.lists(st.integers(0, 1 << 38), min_size=1, max_size=5), pack=st.sampled_from([None, 64, 32768])
)
def test_the_default_unit_size_follows_from_the_input(sizes: list[int], pack: int | None) -> None:
    settings = Settings(tokenizer="builtin", pack=pack)
    size = planning.sized(settings, of_size(*sizes)).unit_size
    assert size == planning.sized(settings, of_size(*reversed(sizes))).unit_size
    assert size is not None
    assert 4 * MIB <= size <= 64 * MIB
    if pack is None and 48 * 4 * MIB <= sum(sizes) <= 48 * 64 * MIB:
        assert 32 <= sum(sizes) / size <= 64


def test_a_unit_size_that_is_given_wins() -> None:
    given_size = Settings(unit_size=1000)
    assert planning.sized(given_size, of_size(1 << 33)) == given_size


def test_the_plan_states_the_unit_size_that_was_used(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "What is 1?", "completion": "It is 1."}])
    manifest = la.convert(source, tmp_path / "out", tokenizer="builtin", workers=1)
    assert manifest.settings.unit_size == 4 * MIB
    again = la.convert(source, tmp_path / "out", tokenizer="builtin", workers=1)  # the same job
    assert again.document == manifest.document


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" ")), max_size=40),
    ending=st.booleans(),
    unit_size=st.integers(1, 200),
    block=st.integers(1, 50),
)
def test_one_pass_finds_what_two_passes_find(
    lines: list[bytes], ending: bool, unit_size: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    data = b"\n".join(lines) + b"\n" * ending
    path.write_bytes(data)
    file = dataclasses.replace(describe(str(path)), size=len(data))
    settings = Settings(unit_size=unit_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_BLOCK", block)
        digested, parts = planning._surveyed(file, settings, la.Listener())
    assert digested.sha256 == hashlib.sha256(data).hexdigest()
    assert parts == readers.split(file, unit_size)


def test_planning_tells_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "TOLD_FROM", 100)
    rows = [{"prompt": f"What is {at}?", "completion": f"It is {at}."} for at in range(50)]
    sources = [
        write_jsonl(tmp_path / "many.jsonl", rows),
        write_jsonl(tmp_path / "one.jsonl", rows[:1]),  # one unit: read for its digest alone
    ]
    told: list[Any] = []

    class Ear(la.Listener):
        def looking(self, what: str, size: int) -> None:
            told.append([what, size])

        def looked(self, rows: int, size: int) -> None:
            told.append(size)

    la.convert(sources, tmp_path / "out", tokenizer="builtin", workers=1, unit_size=500, listener=Ear())
    size = sum(Path(source).stat().st_size for source in sources)
    assert told[0] == ["reading the inputs", size]
    assert sum(told[1:]) == size
