"""Corpora of plain text become folders of blocks, in which every token is used once or accounted for."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from crews import run_with_workers
from faults import Fault, golden_of, killed, undisturbed
from helpers import PAIRS, TEXTS, conversation, obvious_blocks, read_quarantine, read_rows, write_jsonl
from jobs import ELSEWHERE, Job, Tuning, forked, problems
from outcomes import finished

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.errors import SettingsError
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.sink.profiles import PROFILES, documents_of
from lookahead_data.sink.publish import sha256_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"{n}: " + TEXTS[n % len(TEXTS)] * (n % 4 + 1) for n in range(90)]
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "rows.jsonl", ({"text": text} for text in texts))


UNITS: dict[str, Any] = {"tokenizer": "builtin", "mode": "none", "unit_size": 2500}
BLOCK = 64
WAYS = [
    {"packing": "concat"},
    {"packing": "concat", "tail": "drop"},
    {"packing": "concat", "tail": "pad"},
    {"packing": "concat", "overlength": "split", "max_length": 40},
    {"overlength": "split"},
    {"overlength": "split", "max_length": 40},
    {"overlength": "split", "tail": "pad"},
    {"overlength": "drop", "tail": "pad"},
]
PACKED = [name for name, profile in PROFILES.items() if profile.packed]


def unit_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each unit of a finished folder."""
    units: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "data").iterdir()):
        units.setdefault(path.name.split("-")[1], []).extend(pq.read_table(path).to_pylist())
    return units


@pytest.mark.parametrize("profile", PACKED)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_a_packed_folder_holds_the_tokens_of_an_unpacked_one(
    way: dict[str, Any], profile: str, corpus: Path, builtin: LoadedTokenizer, tmp_path: Path
) -> None:
    limit = {"max_length": BLOCK} if way.get("overlength") == "drop" else {}
    flat = la.convert(corpus, tmp_path / "flat", **UNITS, **limit)
    manifest = la.convert(corpus, tmp_path / "out", **UNITS, pack=BLOCK, profile=profile, **way)
    totals = manifest.totals
    assert len(manifest.document["units"]) > 2
    units = {name: [documents_of(row) for row in rows] for name, rows in unit_rows(tmp_path / "out").items()}
    flat_units = {
        name: [(row["input_ids"], row["labels"]) for row in rows]
        for name, rows in unit_rows(tmp_path / "flat").items()
    }
    assert units.keys() == flat_units.keys()
    pad_id, pads = builtin.token_id("<|endoftext|>"), 0
    assert pad_id is not None
    for name, rows in units.items():
        if way.get("tail") == "pad":
            assert {sum(len(ids) for ids, _ in row) for row in rows} == {BLOCK}
            pads += sum(len(row[-1][0]) for row in rows if row[-1][0][0] == pad_id)
        if way.get("packing") == "concat":
            expected = obvious_blocks(flat_units[name], BLOCK, way.get("max_length"))
            if way.get("tail") == "drop":
                expected = expected[: len(rows)]
            if way.get("tail") == "pad":
                rows = [row[:-1] if row[-1][0][0] == pad_id else row for row in rows]
            assert rows == expected
    if "packing" not in way:
        found = Counter(token for rows in units.values() for row in rows for ids, _ in row for token in ids)
        there = Counter(token for rows in flat_units.values() for ids, _ in rows for token in ids)
        assert there[pad_id] == 0
        assert found.pop(pad_id, 0) == pads and found == there
    longest = max(len(ids) for rows in units.values() for row in rows for ids, _ in row if ids[0] != pad_id)
    assert longest <= way.get("max_length", BLOCK)
    assert totals["pad_tokens"] == pads
    assert totals["tokens"] + totals["dropped_tokens"] == flat.totals["tokens"]
    labels = [label for rows in units.values() for row in rows for _, labels in row for label in labels]
    assert totals["supervised_tokens"] == sum(label != -100 for label in labels)
    assert totals["read"] == totals["written"] + sum(totals["filtered"].values())
    verification = la.verify(tmp_path / "out", deep=1000)
    assert verification.problems == () and verification.warnings == ()
    assert verification.compared == totals["written"]
    seen, _ = la.inspect(tmp_path / "out", rows=1)
    assert [list(row.input_ids) for row in seen] == [
        ids for ids, _ in documents_of(read_rows(tmp_path / "out")[0])
    ]


def test_rows_of_answers_are_filled_up_too(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 20)
    options: dict[str, Any] = {"tokenizer": "builtin", "pack": 300}
    short = la.convert(path, tmp_path / "short", **options).totals
    full = la.convert(path, tmp_path / "full", tail="pad", **options).totals
    rows = read_rows(tmp_path / "full")
    assert {len(row["input_ids"]) for row in rows} == {300}
    assert sum(sum(row["seq_lengths"]) for row in rows) == full["tokens"] + full["pad_tokens"]
    assert full["pad_tokens"] > 0 and full | {"pad_tokens": 0} == short
    assert la.verify(tmp_path / "full", deep=100).problems == ()


def made_with(corpus: Path, out: Path, batch_rows: int) -> dict[str, bytes]:
    Tuning(batch_bytes=batch_rows * 30, batch_rows=batch_rows).apply()
    la.convert(corpus, out, workers=1, engine="tokenizers", pack=BLOCK, packing="concat", **UNITS)
    return {path.name: path.read_bytes() for path in (out / "data").iterdir()}


@pytest.mark.skipif(ELSEWHERE, reason="forks")
def test_blocks_do_not_depend_on_batches(corpus: Path, tmp_path: Path) -> None:
    found = [forked(made_with, corpus, tmp_path / str(rows), rows).value for rows in (1, 7, 1000)]
    assert found[0] and found[0] == found[1] == found[2]


def test_what_is_dropped_is_named(corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**UNITS, "pack": 200, "packing": "concat", "tail": "drop", "strict": True}
    manifest = la.convert(corpus, tmp_path / "out", **options)
    totals = manifest.totals
    left_out = read_quarantine(tmp_path / "out")
    assert left_out and totals["filtered"] == {"tail": len(left_out)}
    assert {(row["outcome"], row["reason"]) for row in left_out} == {("filtered", "tail")}
    assert totals["dropped_rows"] <= len(manifest.document["units"])
    assert 0 < totals["dropped_tokens"] < totals["dropped_rows"] * 200
    assert totals["packing_efficiency"] == 1
    # Each text begins with its number, and the start of one that is not named is there.
    decode = load_tokenizer("builtin").decode
    pieces = [decode(ids) for row in read_rows(tmp_path / "out") for ids, _ in documents_of(row)]
    named = {row["row"] for row in left_out}
    assert {n for n in range(90) if not any(piece.startswith(f"{n}: ") for piece in pieces)} == named


def test_the_command_line_tells_of_packing(corpus: Path, tmp_path: Path) -> None:
    command = ["convert", str(corpus), "-o", str(tmp_path / "out"), "-t", "builtin", "--mode", "none"]
    command += ["--pack", "64", "--packing", "concat", "--tail", "drop"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "rows of 64 tokens (concat), 100.00 % full" in done.output
    assert "of 1 rows dropped" in done.output
    again = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (again["settings"]["packing"], again["settings"]["tail"]) == ("concat", "drop")


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packing": "concat"}, "nothing is packed"),
        ({"tail": "pad"}, "nothing is packed"),
        ({"tail": "drop", "pack": 10}, "nearly all"),
        ({"packing": "concat", "pack": 10}, "without their prompts"),
        ({"packing": "concat", "pack": 10, "mode": "none", "shape": "alpaca"}, "without their prompts"),
        ({"packing": "wrapped", "pack": 10}, "not a value of packing"),
    ],
)
def test_settings_that_contradict_each_other(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        la.Settings(**options)


@pytest.mark.parametrize("rows", [PAIRS, [{"messages": conversation("I", "O")}]])
def test_answers_are_not_cut(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="without their prompts") as raised:
        la.convert(rows, tmp_path / "out", tokenizer="builtin", mode="none", pack=50, packing="concat")
    assert "best-fit" in str(raised.value.remedy)


def test_long_documents_of_blocks_have_a_limit_only_if_it_is_set(tmp_path: Path) -> None:
    rows = [{"text": "word " * 100}, {"text": "One two three."}]
    options: dict[str, Any] = {"tokenizer": "builtin", "mode": "none", "pack": 16, "packing": "concat"}
    assert la.convert(rows, tmp_path / "all", **options).totals["written"] == 2
    dropped = la.convert(rows, tmp_path / "drop", max_length=50, overlength="drop", **options).totals
    assert (dropped["written"], dropped["filtered"]) == (1, {"overlength": 1})
    cut = la.convert(rows, tmp_path / "cut", max_length=50, overlength="truncate", **options).totals
    assert (cut["written"], cut["notes"]["truncated"]) == (2, 1)


def test_a_row_of_which_nothing_is_learned_is_counted(tmp_path: Path) -> None:
    """A document of one token more than a row: what is left of it has nothing to learn."""
    rows = [{"text": "One two three four."}]
    whole = len(la.inspect(rows, tokenizer="builtin", mode="none")[0][0].input_ids)
    options: dict[str, Any] = {"tokenizer": "builtin", "mode": "none", "pack": whole - 1}
    for name, way in (("split", {"overlength": "split"}), ("concat", {"packing": "concat"})):
        manifest = la.convert(write_jsonl(tmp_path / "r.jsonl", rows), tmp_path / name, **options, **way)
        assert manifest.totals["notes"]["row_not_learned"] == 1
        assert manifest.totals["supervised_tokens"] == whole - 2
        assert la.verify(tmp_path / name, deep=5).problems == ()


FLAWS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a row too short": (
        {"tail": "pad"},
        lambda rows: rows[0].update(
            input_ids=rows[0]["input_ids"][:-1],
            labels=rows[0]["labels"][:-1],
            seq_lengths=[*rows[0]["seq_lengths"][:-1], rows[0]["seq_lengths"][-1] - 1],
        ),
        "every row is to hold 64",
    ),
    "a document taken for padding": (
        {"tail": "pad", "max_length": 64, "overlength": "drop"},
        lambda rows: rows[0].update(
            labels=[-100] * rows[0]["seq_lengths"][0] + rows[0]["labels"][rows[0]["seq_lengths"][0] :]
        ),
        "tokens of padding, and its receipt says",
    ),
    "a row of which nothing is learned any more": (
        {"packing": "concat"},
        lambda rows: rows[0].update(labels=[-100] * len(rows[0]["labels"])),
        "rows of which nothing is learned",
    ),
}


@pytest.mark.parametrize("name", FLAWS)
def test_flaws_of_blocks_are_found(name: str, corpus: Path, tmp_path: Path) -> None:
    options, change, words = FLAWS[name]
    out = tmp_path / "out"
    la.convert(corpus, out, tokenizer="builtin", mode="none", pack=BLOCK, **options)
    (shard,) = (out / "data").iterdir()
    rows = read_rows(out)
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, PROFILES["packed-trl"].schema), shard)
    size, digest = shard.stat().st_size, sha256_of(shard)
    for path in [out / "manifest.json", *out.glob("_job/receipts/*")]:
        document = json.loads(path.read_text())
        document["shards"][0].update(size=size, sha256=digest)
        path.write_text(json.dumps(document))
    problems = la.verify(out).problems
    assert any(words in problem.what for problem in problems), problems


# Stopped


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("job")
    path = write_jsonl(folder / "rows.jsonl", ({"text": f"{n} and more of it. " * 9} for n in range(40)))
    settings = {
        "tokenizer": "builtin", "engine": "tokenizers", "mode": "none", "unit_size": path.stat().st_size // 2 + 1,
        "shard_size": 1, "pack": 50, "packing": "concat", "tail": "drop",
    }  # fmt: skip
    yield Job(str(path), 40, settings, Tuning(group_rows=9))
    shutil.rmtree(folder)


def with_workers(job: Job, golden: Path, out: Path) -> list[str]:
    run_with_workers(job, out)
    return finished(out, golden, job.rows)


@pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")
def test_blocks_do_not_depend_on_workers(job: Job, tmp_path: Path) -> None:
    assert problems(forked(with_workers, job, golden_of(job), tmp_path / "out")) == []


@pytest.mark.skipif(ELSEWHERE, reason="looks at /proc")
def test_a_packing_job_that_is_killed_goes_on_to_the_same_bytes(job: Job, tmp_path: Path) -> None:
    golden = golden_of(job)
    steps = forked(undisturbed, job, tmp_path / "counted").value
    published = [at for at, (kind, name) in enumerate(steps, 1) if kind == "rename" and "parquet" in name]
    assert len(published) > 4
    for at in (published[1], published[-1]):
        case = killed(job, tmp_path / str(at), golden, Fault(at, "kill"))
        assert case.fired and case.problems == []
