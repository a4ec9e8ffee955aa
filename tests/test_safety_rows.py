"""Rows of the class safety: how they are told, the share that they have, and that they are not previewed."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import conversation, read_jsonl, read_quarantine, read_rows, write_jsonl
from helpers import convert_verified as convert
from mixtures import MANY, REFUSAL, copies, rows_of

import lookahead_data as la
from lookahead_data.model.tokenizer import load_tokenizer


@pytest.mark.parametrize("by", ["sampling", "repeating"])
def test_a_share_of_safety_rows_is_met(by: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", MANY, safety=20))
    manifest = convert(source, tmp_path / "out", safety_share=0.2, safety_by=by)
    safety = manifest.document["classes"]["safety"]
    assert safety["rows_read"] == {"count": 100, "share": 0.05}
    total = 500 if by == "sampling" else 1900 / 0.8
    assert manifest.totals["written"] == total
    assert safety["rows_written"]["share"] == 0.2
    written = [tuple(row["input_ids"]) for row in read_rows(manifest.folder)]
    tokenizer = load_tokenizer("builtin")
    said = Counter("sorry" in tokenizer.decode(row) for row in written)
    assert said[True] == safety["rows_written"]["count"] == manifest.totals["safety_written"]
    assert all(row["row"] % 20 for row in read_quarantine(manifest.folder))


def test_a_share_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 100, safety=5))
    manifest = convert(source, tmp_path / "out", safety_share=0.1)
    assert manifest.totals["written"] == 100
    bare = write_jsonl(tmp_path / "bare.jsonl", rows_of("rows", 100))
    with pytest.raises(la.InputError, match="no row is of the class safety"):
        la.convert(bare, tmp_path / "none", tokenizer="builtin", safety_share=0.1)


def test_a_safety_set_is_mixed_in(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 900))
    extra = write_jsonl(tmp_path / "safety.jsonl", rows_of("No. Ask", 30))
    manifest = convert(
        [source, extra], tmp_path / "out", mix={str(extra): "10%"}, safety_set=[str(extra)], shuffle=1
    )
    assert manifest.totals["safety_written"] == 100
    assert manifest.totals["safety_read"] == 30
    assert manifest.totals["notes"]["safety_without_preview"] == 30
    assert manifest.totals["previews"] == 900


def flagged(folder: Path, kind: str) -> Path:
    """Rows of which every third is flagged, in ways that a format has for it."""
    said: dict[str, Any] = {
        "jsonl": [True, False, None],
        "words": ["Safety", "other", ""],
        "parquet": [True, False, None],
        "csv": ["true", "0", ""],
        "messages": [1, 0, None],
    }
    rows = rows_of("rows", 60)
    for at, row in enumerate(rows):
        row["safe"] = said[kind][at % 3]
    if kind == "parquet":
        path = folder / "rows.parquet"
        pl.DataFrame(rows).write_parquet(path)
        return path
    if kind == "csv":
        path = folder / "rows.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path
    if kind == "messages":
        rows = [{"messages": conversation(r["prompt"], r["completion"]), "safe": r["safe"]} for r in rows]
    return write_jsonl(folder / "rows.jsonl", rows)


@pytest.mark.parametrize("kind", ["jsonl", "words", "parquet", "csv", "messages"])
def test_a_field_tells_the_class(kind: str, tmp_path: Path) -> None:
    source = flagged(tmp_path, kind)
    manifest = convert(source, tmp_path / "out", safety_field="safe", keep={"other": 0.0})
    assert manifest.totals["written"] == manifest.totals["safety_read"] == 20
    assert manifest.totals["previews"] == 0
    if kind != "csv":
        report = la.preview(source, tmp_path / "out.jsonl", tokenizer="builtin", safety_field="safe").report
        assert (report.previews, report.notes["safety_without_preview"]) == (40, 20)


def test_a_field_that_no_row_has_is_refused(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 3))
    with pytest.raises(la.InputError, match=r"no field 'saef'(?s:.*)--safety-field"):
        la.convert(source, tmp_path / "out", tokenizer="builtin", safety_field="saef")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "told_by_us.py").write_text(
        "def short(messages):\n"
        "    return len(messages[-1]['content']) < 17\n"
        "def broken(messages):\n"
        "    raise KeyError('harm')\n"
        "number = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # which the folder is added to
    yield "told_by_us"
    sys.modules.pop("told_by_us", None)


def test_a_function_tells_the_class(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookahead_data.backends import local

    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 60))
    name = f"{module}:short"
    short = sum(len(row["completion"]) < 17 for row in rows_of("rows", 60))
    manifest = convert(source, tmp_path / "out", safety_function=name, keep={"other": 0.0})
    assert 0 < manifest.totals["written"] == manifest.totals["safety_read"] == short < 60
    monkeypatch.setattr(local, "SMALL", 0)
    again = convert(
        source, tmp_path / "two", safety_function=name, keep={"other": 0.0}, workers=2, unit_size=1000
    )
    assert copies(again) == copies(manifest)
    report = la.preview(source, tmp_path / "out.jsonl", tokenizer="builtin", safety_function=name).report
    assert report.previews == 60 - short
    found = la.curate(source, safety_function=name, keep={"other": 0.0})
    assert len(found.verdicts) == 60 - short


def test_another_function_of_the_same_name_is_another_job(tmp_path: Path, module: str) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 6))
    convert(source, tmp_path / "out", safety_function=f"{module}:short")
    code = tmp_path / "told_by_us.py"
    code.write_text(code.read_text().replace("17", "18"))
    with pytest.raises(la.OutputError, match="another job's output: function is"):
        la.convert(
            source,
            tmp_path / "out",
            tokenizer="builtin",
            workers=1,
            unit_size=20_000,
            safety_function=f"{module}:short",
        )


def test_raw_input_is_shown_as_safety_rows_become(tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / f"{name}.jsonl", rows_of(name, 1)) for name in ("one", "two")]
    paths = list(map(str, files))
    seen, _ = la.inspect(paths, tokenizer="builtin", safety_set=paths[1:], rows=2)
    assert [any(run.kind == "preview" for run in row.runs) for row in seen] == [True, False]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("told_by_us:broken", "told_by_us:broken failed: KeyError: 'harm'"),
        ("told_by_us:nothing", "cannot be loaded: AttributeError"),
        ("no_such_module:short", "cannot be loaded: ModuleNotFoundError"),
        ("told_by_us:number", "is not a function"),
    ],
)
def test_a_function_that_is_none_is_refused(name: str, said: str, tmp_path: Path, module: str) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 3))
    with pytest.raises(la.SettingsError, match=said):
        la.convert(source, tmp_path / "out", tokenizer="builtin", safety_function=name)
    assert not (tmp_path / "out/manifest.json").exists()


def test_two_ways_to_tell_the_class_are_refused() -> None:
    with pytest.raises(la.SettingsError, match="tell the same thing"):
        la.Settings(safety_field="a", safety_function="b:c")
    with pytest.raises(la.SettingsError, match="which is not given"):
        la.Settings(safety_by="repeating")
    for share in (0.0, 1.0):
        with pytest.raises(la.SettingsError, match="no share"):
            la.Settings(safety_share=share)


def test_refusals_have_no_preview_unless_asked(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 20, safety=4))
    for changes, previews in (
        ({}, 15),
        ({"mode": "virtual"}, 15),
        ({"cut": "reference"}, 20),
        ({"preview_safety": True}, 20),
        ({"cut": "reference", "preview_safety": False}, 15),
        ({"refusals": ["It is 7 "]}, 14),
    ):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        assert convert(source, out, **changes).totals["previews"] == previews
        path = out.with_suffix(".jsonl")
        assert la.preview(source, path, tokenizer="builtin", **changes).report.previews == previews
        same = [new == old for new, old in zip(read_jsonl(path), read_jsonl(source), strict=True)]
        assert sum(same) == 20 - previews


@pytest.mark.parametrize("shape", ["pairs", "messages"])
def test_refusals_can_go_without_a_preview(shape: str, tmp_path: Path) -> None:
    pairs = [("How?", "I can't help with that, sorry."), ("Why?", "Because it is so, and always was.")] * 20
    rows: list[dict[str, Any]] = [
        {"prompt": ask, "completion": say} if shape == "pairs" else {"messages": conversation(ask, say)}
        for ask, say in pairs
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(source, tmp_path / "out", preview_safety=False)
    assert manifest.totals["previews"] == 20
    assert manifest.totals["notes"] == {"safety_without_preview": 20}
    report = la.preview(source, tmp_path / "out.jsonl", tokenizer="builtin", preview_safety=False).report
    assert (report.previews, report.notes) == (20, Counter(safety_without_preview=20))
    assert [row == old for row, old in zip(read_jsonl(tmp_path / "out.jsonl"), rows, strict=True)] == [
        True,
        False,
    ] * 20


@pytest.mark.parametrize("turns", ["last", "first", "all"])
def test_each_answer_that_refuses_goes_without_a_preview(turns: str, tmp_path: Path) -> None:
    rows = [
        {"messages": conversation("How?", REFUSAL, "And why?", "Because it would hurt.")},
        {"messages": conversation("Who?", "It was me, of all people.", "And now?", REFUSAL)},
        {"messages": conversation("Who?", "It was me, of all people.", "And now?", "Now we go home.")},
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    # The first row's refusal, and all of the second row, which ends in one.
    expected = {"last": 2, "first": 1, "all": 3}[turns]
    assert convert(source, tmp_path / "out", preview_turns=turns).totals["previews"] == expected


def test_safety_rows_weigh_one_throughout(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 12, safety=3))
    for asked in (True, False):
        out = tmp_path / str(asked)
        convert(source, out, preview_weight=0.25, preview_safety=asked)
        weights = pl.read_parquet(out / "weights/*.parquet")["weights"].to_list()
        assert [0.25 in row for row in weights] == [bool(at % 3) for at in range(12)]
