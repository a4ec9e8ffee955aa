"""How often rows are written: repeats and shares of sources."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import convert_verified as convert
from helpers import read_quarantine, read_rows, write_jsonl
from hypothesis import assume, given
from hypothesis import strategies as st
from mixtures import MANY, copies, rows_of

import lookahead_data as la
from lookahead_data.curation.mixing import amounts_of, source_of, written_of
from lookahead_data.curation.ranks import RankFile, not_after


def test_rows_are_written_as_often_as_asked(tmp_path: Path) -> None:
    often = write_jsonl(tmp_path / "often.jsonl", rows_of("often", MANY))
    seldom = write_jsonl(tmp_path / "seldom.jsonl", rows_of("seldom", MANY))
    once = write_jsonl(tmp_path / "once.jsonl", rows_of("once", 100))
    manifest = convert(
        [often, seldom, once], tmp_path / "out", mix={str(often): 2.5, str(seldom): 0.3}, mode="none"
    )
    sources = manifest.document["sources"]
    assert sources[str(often)]["written"] == 2.5 * MANY
    assert sources[str(seldom)]["written"] == 0.3 * MANY
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
            assert abs(found - wanted * written) <= 1
    assert copies(manifest)[tuple(read_rows(manifest.folder)[-1]["input_ids"])] == 1  # c is whole


def test_shares_of_all_inputs_repeat_nothing(tmp_path: Path) -> None:
    one, two = (
        write_jsonl(tmp_path / f"{n}.jsonl", rows_of(n, count)) for n, count in (("one", 1000), ("two", 900))
    )
    manifest = convert([one, two], tmp_path / "out", mix={str(one): "75%", str(two): "25%"})
    sources = manifest.document["sources"]
    assert sources[str(one)]["written"] == 1000
    assert sources[str(two)]["written"] == 333
    assert manifest.totals["repeated"] == 0


def test_shares_are_of_what_duplicates_leave(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 200) * 5)
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 2000))
    manifest = convert([one, two], tmp_path / "out", mix={str(two): "50%"}, dedup="conversation")
    assert manifest.document["curation"]["mixing"]["rows"][str(two)] == {"safety": 0, "other": 2000}
    assert manifest.document["sources"]["other inputs"]["written"] == 200
    assert manifest.document["sources"][str(two)]["written"] == 200


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
    assert manifest.totals["written"] == 750
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
    assert found.counts["sampling"]["repeated"] == manifest.totals["repeated"]
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


def test_the_command_line_tells_what_would_be_sampled(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    one = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 100, safety=10))
    two = write_jsonl(tmp_path / "two.jsonl", rows_of("two", 50))
    words = ["curate", str(one), str(two), "-o", str(tmp_path / "out"), "--keep", "other=0"]
    result = CliRunner().invoke(
        main, [*words, "--mix", f"{one}=50%", "--mix", f"{two}=50%", "--keep", "other=0.5"]
    )
    assert result.exit_code == 0, result.output
    assert "sampled would be left out" in result.output
    assert f"mixing           {one}: 100 rows times " in result.output
    assert "repeated 0" in result.output


def test_a_safety_set_that_is_no_input_is_refused_everywhere(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "one.jsonl", rows_of("one", 3))
    for ask in (la.preview, la.inspect):
        with pytest.raises(la.SettingsError, match="none of the inputs"):
            ask(str(source), tokenizer="builtin", safety_set=["other.jsonl"])


@given(
    counts,
    st.integers(1, 60),
    st.integers(1, 39),
    st.one_of(st.none(), st.floats(0.01, 0.9)),
    st.sampled_from(["sampling", "repeating"]),
)
def test_whole_rows_meet_the_shares(
    rows: list[tuple[int, int]], first: int, second: int, safety: float | None, by: str
) -> None:
    counted = np.array(rows)
    assume(counted[0].sum() and counted[1].sum() and counted[2].sum() and counted[:, 0].sum())
    by = by if safety is not None else "sampling"
    settings = la.Settings(mix={"a": f"{first}%", "b": f"{second}%"}, safety_share=safety, safety_by=by)
    written = written_of(settings, counted, amounts_of(settings, counted))
    assert (written >= 0).all() and not written[counted == 0].any()
    total = written.sum()
    if safety is None:
        assert abs(written[0].sum() - first / 100 * total) < 2
        assert abs(written[1].sum() - second / 100 * total) < 2
    else:
        assert written[:, 0].sum() >= safety * total - 1e-6


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 99)), max_size=60),
    st.booleans(),
    st.data(),
)
def test_the_smallest_hashes_are_taken(
    rows: list[tuple[int, int, int]], alike: bool, data: st.DataObject
) -> None:
    """Sorting all rows of a group is the oracle, ties of hashes included."""
    import tempfile

    rows = [(group, key % 3 if alike else key, at) for at, (group, key, _) in enumerate(rows)]
    groups, numbers = (np.array([row[at] for row in rows], np.int64) for at in (0, 2))
    keys = np.array([row[1] for row in rows], np.uint64)
    with tempfile.TemporaryDirectory() as folder, RankFile(Path(folder, "ranks"), 4) as ranks:
        half = len(rows) // 2
        for part in (slice(0, half), slice(half, None)):
            ranks.add(groups[part], keys[part], numbers[part])
        assert ranks.counts.tolist() == np.bincount(groups, minlength=4).tolist()
        wanted = [data.draw(st.integers(0, int(count))) for count in ranks.counts]
        lasts = ranks.lasts(np.array(wanted))
    for group in range(4):
        mine = groups == group
        taken = not_after(keys[mine], numbers[mine], lasts[group])
        ordered = sorted(row[1:] for row in rows if row[0] == group)[: wanted[group]]
        assert {int(number) for number in numbers[mine][taken]} == {number for _, number in ordered}


def test_equal_rows_are_counted_to_the_row(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "Why?", "completion": "So."}] * 101)
    for amount, written in ((0.5, 50), (1.5, 152), (0.25, 25)):
        manifest = convert(source, tmp_path / str(amount), mix={str(source): amount}, unit_size=500)
        assert abs(manifest.totals["written"] - amount * 101) <= 0.5
        assert manifest.totals["written"] in (written, written - 1)


def test_quotas_do_not_depend_on_units_or_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookahead_data.backends import local

    source = write_jsonl(tmp_path / "rows.jsonl", rows_of("rows", 700, safety=9))
    changes: dict[str, Any] = {"mix": {str(source): 1.3}, "safety_share": 0.3, "keep": {"other": 0.9}}
    one = convert(source, tmp_path / "one", **changes)
    monkeypatch.setattr(local, "SMALL", 0)
    two = convert(source, tmp_path / "two", **changes, workers=2, unit_size=5000)
    assert copies(one) == copies(two)
    assert one.document["classes"]["safety"]["rows_written"]["share"] >= 0.3
    assert one.totals["written"] == two.totals["written"]
