"""How often rows are written: repeats and shares of sources, shares and classes of safety rows."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import conversation, read_jsonl, read_quarantine, read_rows, write_jsonl
from hypothesis import assume, given
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.curation.mixing import amounts_of, source_of
from lookahead_data.model.tokenizer import load_tokenizer

MANY = 2000
REFUSAL = "I'm sorry, but I can't help with that."


def rows_of(name: str, count: int, safety: int = 0) -> list[dict[str, Any]]:
    """So many rows, every so-manieth of them a refusal."""
    return [
        {
            "prompt": f"{name} {at}?",
            "completion": f"{REFUSAL} {at}" if safety and at % safety == 0 else f"It is {at} in {name}.",
        }
        for at in range(count)
    ]


def convert(source: Any, out: Path, **changes: Any) -> la.Manifest:
    paths = [str(path) for path in source] if isinstance(source, list) else str(source)
    manifest = la.convert(
        paths, out, **{"tokenizer": "builtin", "workers": 1, "unit_size": 20_000, **changes}
    )
    checked = la.verify(out, deep=10**9)
    assert checked.ok, checked.problems
    assert checked.compared == manifest.totals["written"]
    totals = manifest.totals
    gone = sum(totals["filtered"].values()) + sum(totals["quarantined"].values())
    assert totals["read"] + totals["repeated"] == totals["written"] + gone
    return manifest


def copies(manifest: la.Manifest) -> Counter[tuple[int, ...]]:
    """How often each row was written, by its ids."""
    return Counter(tuple(row["input_ids"]) for row in read_rows(manifest.folder))


def near(found: float, expected: float, variance: float) -> bool:
    """Within five standard deviations."""
    return abs(found - expected) <= 5 * variance**0.5


# --- sources


def test_rows_are_written_as_often_as_asked(tmp_path: Path) -> None:
    often = write_jsonl(tmp_path / "often.jsonl", rows_of("often", MANY))
    seldom = write_jsonl(tmp_path / "seldom.jsonl", rows_of("seldom", MANY))
    once = write_jsonl(tmp_path / "once.jsonl", rows_of("once", 100))
    manifest = convert(
        [often, seldom, once], tmp_path / "out", mix={str(often): 2.5, str(seldom): 0.3}, mode="none"
    )
    sources = manifest.document["sources"]
    assert near(sources[str(often)]["written"], 2.5 * MANY, MANY * 0.25)
    assert near(sources[str(seldom)]["written"], 0.3 * MANY, MANY * 0.21)
    assert sources["other inputs"] == sources["other inputs"] | {"files": 1, "read": 100, "written": 100}
    assert Counter(copies(manifest).values()).keys() == {1, 2, 3}
    assert sum(source["written"] for source in sources.values()) == manifest.totals["written"]
    for name in ("tokens", "supervised_tokens", "read", "repeated"):
        assert sum(source[name] for source in sources.values()) == manifest.totals[name]
    # Without an order copies stand next to each other.
    ids = [tuple(row["input_ids"]) for row in read_rows(manifest.folder)]
    assert sum(one != two for one, two in pairwise(ids)) == len(set(ids)) - 1


def test_the_choice_on_a_row_is_its_own(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 300))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 300))
    alone = copies(convert(one, tmp_path / "alone", mix={str(one): 1.4}))
    both = copies(convert([two, one], tmp_path / "both", mix={str(one): 1.4}, unit_size=3000))
    assert all(both[row] == count for row, count in alone.items())
    other = copies(convert(one, tmp_path / "seeded", mix={str(one): 1.4}, seed=1))
    assert other != alone and other.keys() == alone.keys()


@pytest.mark.parametrize("shares", [{"a": "30%"}, {"a": "30%", "b": "20%"}, {"a": "30%", "b": 2}])
def test_shares_are_of_all_rows_written(shares: dict[str, Any], tmp_path: Path) -> None:
    files = {name: write_jsonl(tmp_path / f"{name}.jsonl", rows_of(name, n)) for name, n in {"a": 900, "b": 400, "c": 1200}.items()}  # fmt: skip
    manifest = convert(
        list(files.values()),
        tmp_path / "out",
        mix={str(files[name]): share for name, share in shares.items()},
    )
    written = manifest.totals["written"]
    for name, share in shares.items():
        if isinstance(share, str):
            wanted = float(share.rstrip("%")) / 100
            found = manifest.document["sources"][str(files[name])]["written"]
            assert near(found, wanted * written, written * 0.5)
    assert copies(manifest)[tuple(read_rows(manifest.folder)[-1]["input_ids"])] == 1  # c is whole


def test_shares_of_all_inputs_repeat_nothing(tmp_path: Path) -> None:
    one, two = (
        write_jsonl(tmp_path / f"{n}.jsonl", rows_of(n, count)) for n, count in (("one", 1000), ("two", 900))
    )
    manifest = convert([one, two], tmp_path / "out", mix={str(one): "75%", str(two): "25%"})
    sources = manifest.document["sources"]
    assert sources[str(one)]["written"] == 1000
    assert near(sources[str(two)]["written"], 1000 / 3, 250)
    assert manifest.totals["repeated"] == 0


def test_shares_are_of_what_duplicates_leave(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 200) * 5)
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 2000))
    manifest = convert([one, two], tmp_path / "out", mix={str(two): "50%"}, dedup="conversation")
    assert manifest.document["curation"]["mixing"]["rows"][str(two)] == {"safety": 0, "other": 2000}
    assert manifest.document["sources"]["other inputs"]["written"] == 200
    assert near(manifest.document["sources"][str(two)]["written"], 200, 200)


def test_nothing_of_a_source_is_a_mixture_too(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 20))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 20))
    manifest = convert([one, two], tmp_path / "out", mix={str(two): 0})
    assert manifest.totals["filtered"] == {"sampled": 20}


def test_copies_are_scattered_by_a_shuffle(tmp_path: Path) -> None:
    from lookahead_data.backends import local

    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 300))
    changes: dict[str, Any] = {"mix": {str(source): 2.5}, "shuffle": 3, "split": {"validation": 0.2}}
    manifest = convert(source, tmp_path / "out", **changes)
    assert near(manifest.totals["written"], 750, 75)
    for split in manifest.splits:
        frame = pl.concat([pl.read_parquet(path) for path in manifest.shards_of(split)])
        ids = [tuple(row) for row in frame["input_ids"].to_list()]
        assert sum(one == two for one, two in pairwise(ids)) < len(ids) / 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "SMALL", 0)
        again = convert(source, tmp_path / "two", **{**changes, "workers": 2, "unit_size": 20_000})
    assert [sha(path) for path in manifest.shards] == [sha(path) for path in again.shards]
    packed = convert(source, tmp_path / "packed", **changes, pack=128, preview_weight=0.5)
    assert packed.totals["tokens"] == manifest.totals["tokens"]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_patterns_mean_files_folders_and_what_they_match() -> None:
    files = ["data/a.jsonl", "data/b/c.jsonl", "data/b/d.parquet", "e.jsonl"]
    for patterns, places in (
        (["data/a.jsonl"], [0, 1, 1, 1]),
        (["data/b"], [1, 0, 0, 1]),
        (["data/b/"], [1, 0, 0, 1]),
        (["*.parquet", "data"], [1, 1, 0, 2]),
    ):
        assert [source_of(file, patterns) for file in files] == places


def test_a_name_that_means_nothing_or_two_things_is_refused(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 3))
    for mix, said in (
        ({"other.jsonl": 2}, r"other\.jsonl is none of the inputs(?s:.*)rows\.jsonl"),
        ({str(source): 2, str(tmp_path): 3}, "is meant by"),
    ):
        with pytest.raises(la.SettingsError, match=said):
            la.convert(source, tmp_path / "out", tokenizer="builtin", mix=mix)
    with pytest.raises(la.SettingsError, match="none of the inputs"):
        la.convert(source, tmp_path / "out", tokenizer="builtin", safety_set=["other.jsonl"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["much", "2.5", "0%", "101%", -1, float("inf"), True, float("nan")])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(la.SettingsError, match="neither how often nor what share"):
        la.Settings(mix={"a": value})


def test_shares_that_cannot_be_are_refused(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 30))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 30))
    with pytest.raises(la.SettingsError, match="add up to 120%"):
        la.Settings(mix={"a": "60%", "b": "60%"})
    for mix, said in (
        ({str(one): "100%"}, "all there is, and 30 rows"),
        ({str(one): "50%", str(two): "20%"}, "add up to 70 %"),
    ):
        with pytest.raises(la.InputError, match=said):
            la.convert([str(one), str(two)], tmp_path / "out", tokenizer="builtin", mix=mix)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "completion": ""}\n')
    with pytest.raises(la.InputError, match="no row of it is left"):
        la.convert([str(one), str(bad)], tmp_path / "out", tokenizer="builtin", mix={str(bad): "50%"})


counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 500)), min_size=3, max_size=3)


@given(
    counts,
    st.integers(1, 60),
    st.integers(1, 39),
    st.floats(0.01, 0.9),
    st.sampled_from(["sampling", "repeating"]),
)
def test_amounts_give_the_shares(
    rows: list[tuple[int, int]], first: int, second: int, safety: float, by: str
) -> None:
    counted = np.array(rows)
    assume(counted[0].sum() and counted[1].sum() and counted[2].sum() and counted[:, 0].sum())
    settings = la.Settings(mix={"a": f"{first}%", "b": f"{second}%"}, safety_share=safety, safety_by=by)
    found = amounts_of(settings, counted)
    amounts = np.array([found.sources["a"], found.sources["b"], 1.0])
    mixed = counted * amounts[:, None]
    assert mixed[0].sum() / mixed.sum() == pytest.approx(first / 100)
    assert mixed[1].sum() / mixed.sum() == pytest.approx(second / 100)
    classed = mixed.sum(axis=0) * [found.classes["safety"], found.classes["other"]]
    before = mixed[:, 0].sum() / mixed.sum()
    if before < safety:
        assert classed[0] / classed.sum() == pytest.approx(safety)
        assert (found.classes["safety"] == 1) is (by == "sampling")
        assert (found.classes["other"] == 1) is (by == "repeating")
    else:
        assert set(found.classes.values()) == {1.0}


# --- safety


@pytest.mark.parametrize("by", ["sampling", "repeating"])
def test_a_share_of_safety_rows_is_met(by: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", MANY, safety=20))
    manifest = convert(source, tmp_path / "out", safety_share=0.2, safety_by=by)
    safety = manifest.document["classes"]["safety"]
    assert safety["rows_read"] == {"count": 100, "share": 0.05}
    total = 500 if by == "sampling" else 1900 / 0.8
    assert near(manifest.totals["written"], total, 500)
    assert abs(safety["rows_written"]["share"] - 0.2) < 0.03
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
    assert near(manifest.totals["safety_written"], 100, 100)
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


# --- conditions on tokens, and the command line


def test_conditions_count_tokens(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "Straße und Weg. " * at} for at in range(1, 30)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    tokenizer = load_tokenizer("builtin")
    fits = [len(tokenizer.encode_ids([row["completion"]])[0]) < 60 for row in rows]
    where = "len_tokens(completion) < 60 and len_tokens(prompt) = 1"
    manifest = convert(source, tmp_path / "out", where=[where])
    assert 0 < manifest.totals["written"] == sum(fits) < len(rows)
    found = la.curate(source, where=[where], tokenizer="builtin")
    assert found.verdicts.column("row").to_pylist() == [at for at, fit in enumerate(fits) if not fit]
    with pytest.raises(la.SettingsError, match="tokenizer"):
        la.curate(source, where=[where])
    with pytest.raises(la.SettingsError, match="there is no text 'answer'"):
        la.curate(source, where=["len_tokens(answer) < 5"], tokenizer="builtin")


def test_curate_tells_what_convert_samples(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 300, safety=10))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 300))
    changes: dict[str, Any] = {
        "mix": {str(two): "60%"},
        "safety_share": 0.1,
        "where": ["len_chars(prompt) > 6"],
        "dedup": "completion",
        "keep": {"other": 0.7},
    }
    manifest = convert([one, two], tmp_path / "out", **changes)
    found = la.curate([str(one), str(two)], **changes)
    told = {(row["file"], row["row"], row["reason"]) for row in found.verdicts.to_pylist()}
    assert told == {(row["file"], row["row"], row["reason"]) for row in read_quarantine(manifest.folder)}
    assert found.counts["repeated"] == manifest.totals["repeated"]
    assert found.counts["mixing"] == manifest.document["curation"]["mixing"]


def test_the_command_line_mixes(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 100, safety=10))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 100))
    out = tmp_path / "out"
    words = [
        "convert",
        str(one),
        str(two),
        "-o",
        str(out),
        "-t",
        "builtin",
        "--mix",
        f"{one}=1.5",
        "--mix",
        f"{two}=30%",
    ]
    result = CliRunner().invoke(main, [*words, "--safety-share", "0.2", "--safety-by", "repeating"])
    assert result.exit_code == 0, result.output
    assert f"  source     {one}: " in result.output and "  safety     " in result.output
    assert la.Manifest.load(out).settings.mix == {str(one): 1.5, str(two): "30%"}
    again = tmp_path / "again"
    result = CliRunner().invoke(main, ["convert", "--config", str(out / "manifest.json"), "-o", str(again)])
    assert result.exit_code == 0, result.output
    assert copies(la.Manifest.load(again)) == copies(la.Manifest.load(out))
    result = CliRunner().invoke(main, [*words, "--mix", "much"])
    assert result.exit_code == 2 and "INPUT=N" in result.output
