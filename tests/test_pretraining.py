"""Corpora of plain text become blocks: documents end with EOS, and every token is used once or accounted for."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from crews import run_with_workers
from faults import Fault, golden_of, killed, undisturbed
from helpers import PAIRS, conversation, read_quarantine, read_rows, write_jsonl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jobs import ELSEWHERE, Job, Tuning, forked, problems
from outcomes import finished

import lookahead_data as la
from lookahead_data.batches import Packing, Reject, Sieve
from lookahead_data.cli import main
from lookahead_data.columns import schema
from lookahead_data.errors import OutputError, SettingsError, TokenizerError
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.rowhash import RowsHash, hash_rows
from lookahead_data.sink.counts import Counts
from lookahead_data.sink.profiles import PROFILES, documents_of
from lookahead_data.sink.publish import sha256_of
from lookahead_data.stages import pack
from lookahead_data.stages.pack import BestFit, Concat, Packer
from lookahead_data.stages.render import Render

Document = tuple[list[int], list[int]]

TEXTS = ["One.", "Two and three.", "Ein Käse, „gereift“ 🎉", "for n in range(10):\n    print(n)\n" * 4, "x"]
PAD = 777


# Packing, held against the obvious way


def obvious_blocks(documents: list[Document], capacity: int, limit: int | None) -> list[list[Document]]:
    """Token by token: the blocks, each with the pieces of documents in it."""
    blocks: list[list[Document]] = []
    room = 0
    for ids, labels in documents:
        for at, (token, label) in enumerate(zip(ids, labels, strict=True)):
            if not room:
                blocks.append([])
                room = capacity
            if not at or room == capacity or (limit and at % limit == 0):
                blocks[-1].append(([], []))
            piece = blocks[-1][-1]
            piece[1].append(label if piece[0] else -100)
            piece[0].append(token)
            room -= 1
    return blocks


def batch_of(documents: list[Document], first: int = 0) -> pa.RecordBatch:
    rows = range(first, first + len(documents))
    columns = {
        "row": list(rows),
        "offset": [None] * len(documents),
        "input_ids": [ids for ids, _ in documents],
        "labels": [labels for _, labels in documents],
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema(tuple(columns)))


def run(packer: Packer, documents: list[Document], cuts: list[int]) -> list[dict[str, Any]]:
    """The rows that a packer makes of documents that come in several batches."""
    rows: list[dict[str, Any]] = []
    for start, stop in zip([0, *cuts], [*cuts, len(documents)], strict=True):
        for batch in packer.add(batch_of(documents[start:stop], start)):
            rows += batch.to_pylist()
    for batch in packer.flush():
        rows += batch.to_pylist()
    return rows


def pieces_of(row: dict[str, Any]) -> list[Document]:
    """The documents of a row of `Packer`."""
    ends = list(accumulate(row["document_lengths"]))
    assert ends[-1] == len(row["input_ids"]) == len(row["labels"])
    return [
        (row["input_ids"][end - length : end], row["labels"][end - length : end])
        for end, length in zip(ends, row["document_lengths"], strict=True)
    ]


def padded(blocks: list[list[Document]], capacity: int) -> list[list[Document]]:
    missing = [capacity - sum(len(ids) for ids, _ in block) for block in blocks]
    return [
        [*block, ([PAD] * count, [-100] * count)] if count else block
        for block, count in zip(blocks, missing, strict=True)
    ]


def tally(packer: Packer, blocks: list[list[Document]]) -> None:
    """Hold a packer's account against what it made, padding left out."""
    account = packer.account
    labels = [[label for _, labels in block for label in labels] for block in blocks]
    assert account.rows == len(blocks)
    assert account.tokens == sum(map(len, labels))
    assert account.supervised_tokens == sum(label != -100 for row in labels for label in row)
    assert account.rows_not_learned == sum(set(row) == {-100} for row in labels)
    assert account.balance == 0


LEARNED = st.lists(st.integers(0, 99), min_size=1, max_size=25).map(lambda ids: (ids, [-100, *ids[1:]]))
DOCUMENTS = st.lists(LEARNED, max_size=30)
LIMITS = st.none() | st.integers(1, 30)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(2, 12), LIMITS, st.sampled_from(("keep", "drop", "pad")), st.data())
def test_blocks_are_cut_as_token_by_token(
    documents: list[Document], capacity: int, limit: int | None, tail: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4)))
    packer = Concat(capacity, limit=limit, pad_id=PAD if tail == "pad" else None, drop=tail == "drop")
    rows = [pieces_of(row) for row in run(packer, documents, cuts)]
    blocks = obvious_blocks(documents, capacity, limit)
    sizes = [sum(len(ids) for ids, _ in block) for block in blocks]
    assert all(size == capacity for size in sizes[:-1])
    stream = [token for ids, _ in documents for token in ids]
    assert [token for block in blocks for ids, _ in block for token in ids] == stream
    if tail == "drop" and sizes and sizes[-1] < capacity:
        lost = sum(len(ids) for ids, _ in blocks.pop())
        ends = list(accumulate(len(ids) for ids, _ in documents))
        gone = [row for row, end in enumerate(ends) if end - len(documents[row][0]) >= len(stream) - lost]
        left_out = packer.account.left_out
        assert {reject.row: tokens for reject, tokens in left_out.items()} == {
            row: len(documents[row][0]) for row in gone
        }
        assert (packer.account.dropped_rows, packer.account.dropped_tokens) == (1, lost)
    else:
        assert not packer.account.dropped_tokens and not packer.account.left_out
    assert packer.account.documents == len(documents)
    tally(packer, blocks)
    whole = padded(blocks, capacity) if tail == "pad" else blocks
    assert rows == whole
    assert packer.account.pad_tokens == (sum(capacity - size for size in sizes) if tail == "pad" else 0)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(2, 12), LIMITS, st.booleans(), st.data())
@example([([1, 2, 3], [-100, 2, 3])], 2, None, False, None)
def test_best_fit_keeps_every_piece_and_fills_up(
    documents: list[Document], capacity: int, limit: int | None, pad: bool, data: st.DataObject | None
) -> None:
    window = pack.WINDOW
    pack.WINDOW = 2
    try:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=4))) if data else []
        packer = BestFit(capacity, limit=limit, pad_id=PAD if pad else None)
        rows = [pieces_of(row) for row in run(packer, documents, cuts)]
        again = BestFit(capacity, limit=limit, pad_id=PAD if pad else None)
        assert [pieces_of(row) for row in run(again, documents, [])] == rows
    finally:
        pack.WINDOW = window
    if pad:
        assert {sum(len(ids) for ids, _ in row) for row in rows} <= {capacity}
        padding = [row[-1] for row in rows if row[-1][0][0] == PAD]
        assert packer.account.pad_tokens == sum(len(ids) for ids, _ in padding)
        assert all(set(ids) == {PAD} and set(labels) == {-100} for ids, labels in padding)
        rows = [row[:-1] if row[-1][0][0] == PAD else row for row in rows]
    size = min(limit or capacity, capacity)
    pieces = [
        (ids[at : at + size], [-100, *labels[at + 1 : at + size]])
        for ids, labels in documents
        for at in range(0, len(ids), size)
    ]
    assert sorted(piece for row in rows for piece in row) == sorted(pieces)
    tally(packer, rows)


# Whole folders


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
    {"tail": "pad"},
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
    limit = {"max_length": BLOCK} if way == {"tail": "pad"} else {}
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


# How documents are rendered, and how they end


@pytest.mark.parametrize("end", [None, "<|endoftext|>"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1) | st.sampled_from(["a<|im_end|>", "<|im_end|>", " ", "<|im_", "|>"])))
def test_texts_are_rendered_together_as_one_by_one(
    end: str | None, builtin: LoadedTokenizer, texts: list[str]
) -> None:
    render = Render(la.Settings(mode="none", end_token=end), builtin, None)
    assert render._layout((("assistant", False),)) is not None
    columns = {
        "row": range(len(texts)),
        "offset": [None] * len(texts),
        "messages": [[{"role": "assistant", "content": text}] for text in texts],
        "previews": [[]] * len(texts),
    }
    batch = pa.RecordBatch.from_pydict(columns, schema=schema(columns))
    singly = [row["segments"] for row in render._render_rows(batch, np.arange(len(texts)), Sieve(batch))]
    assert render(batch).batch.column("segments").to_pylist() == singly


def documents(out: Path) -> list[list[int]]:
    return [row["input_ids"] for row in read_rows(out)]


def test_documents_end_with_eos_once(any_tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    rows = [{"text": text} for text in TEXTS]
    la.convert(rows, tmp_path / "out", tokenizer=any_tokenizer.name, mode="none")
    for text, row in zip(TEXTS, read_rows(tmp_path / "out"), strict=True):
        (inner,) = any_tokenizer.encode_ids([text])
        # The post-processor puts EOS there by itself, or it does not.
        assert row["input_ids"] == [*any_tokenizer.prefix_ids, *inner, any_tokenizer.eos_id]
        assert row["labels"] == [-100, *row["input_ids"][1:]]


def test_an_end_is_named_left_out_or_there_already(builtin: LoadedTokenizer, tmp_path: Path) -> None:
    end, other = builtin.token_id("<|im_end|>"), builtin.token_id("<|endoftext|>")
    rows = [{"text": "One."}, {"text": "Two.<|im_end|>"}, {"text": "<|im_end|>"}]
    bare = [builtin.encode_ids([row["text"]])[0] for row in rows]

    def made(name: str, **options: Any) -> list[list[int]]:
        la.convert(rows, tmp_path / name, tokenizer="builtin", mode="none", **options)
        return documents(tmp_path / name)

    # What a text merely spells is no end.
    assert made("default") == [[*ids, end] for ids in bare]
    assert made("named", end_token="<|endoftext|>") == [[*ids, other] for ids in bare]
    assert made("none", end_token="") == bare
    two = builtin.encode_ids(["Two."])[0]
    # The third is nothing but its end, of which nothing is learned.
    assert made("allowed", special_tokens="allow") == [[*bare[0], end], [*two, end]]
    # A plain word of the vocabulary may end documents too, and is never merged with them.
    plain = builtin.token_id("a")
    assert made("plain", end_token="a") == [[*ids, plain] for ids in bare]


def bare_tokenizer(builtin: LoadedTokenizer, folder: Path, **files: Any) -> Path:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(builtin.to_json())
    for name, document in files.items():
        (folder / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


def test_eos_is_learned_from_what_the_model_has(builtin: LoadedTokenizer, tmp_path: Path) -> None:
    text = builtin.token_id("<|endoftext|>")
    generation = {"eos_token_id": [text, builtin.eos_id]}
    folder = bare_tokenizer(builtin, tmp_path / "generation", generation_config=generation)
    found = load_tokenizer(str(folder))
    assert found.eos_id == text and found.named == {}
    # What the tokenizer itself says goes first, and what it does not need is not in its digest.
    both = bare_tokenizer(
        builtin,
        tmp_path / "both",
        generation_config=generation,
        tokenizer_config={"eos_token": "<|im_end|>"},
    )
    before = load_tokenizer(str(both))
    assert before.eos_id == builtin.eos_id
    (both / "generation_config.json").write_text("no JSON")
    assert load_tokenizer(str(both)).sha256 == before.sha256 != found.sha256
    for at, wrong in enumerate([{"eos_token_id": 10**9}, {"eos_token_id": []}, {"eos_token_id": "</s>"}, {}]):
        folder = bare_tokenizer(builtin, tmp_path / f"wrong{at}", generation_config=wrong)
        assert load_tokenizer(str(folder)).eos_id is None
    with pytest.raises(TokenizerError, match="not valid JSON"):
        load_tokenizer(str(bare_tokenizer(builtin, tmp_path / "broken", generation_config="{")))


def test_without_an_end_the_job_is_refused(builtin: LoadedTokenizer, wordpiece: Path, tmp_path: Path) -> None:
    folder = bare_tokenizer(builtin, tmp_path / "bare")
    rows = [{"text": "One two three."}]
    for convert in (la.inspect, lambda *args, **options: la.convert(*args, tmp_path / "no", **options)):
        with pytest.raises(SettingsError, match="names no EOS token") as raised:
            convert(rows, tokenizer=str(folder), mode="none")
        assert "--end-token" in str(raised.value.remedy)
    assert not (tmp_path / "no").exists() or not list((tmp_path / "no").glob("data/*"))
    la.convert(rows, tmp_path / "none", tokenizer=str(folder), mode="none", end_token="")
    la.convert(rows, tmp_path / "named", tokenizer=str(folder), mode="none", end_token="<|im_end|>")
    assert documents(tmp_path / "named") == [[*documents(tmp_path / "none")[0], builtin.eos_id]]
    # Prompts and answers end as they did.
    la.convert(PAIRS, tmp_path / "pairs", tokenizer=str(folder), chat_template="chatml")
    # BERT's post-processor ends a text with its own token.
    la.convert(rows, tmp_path / "wordpiece", tokenizer=str(wordpiece), mode="none")
    assert documents(tmp_path / "wordpiece")[0][-1] == load_tokenizer(str(wordpiece)).token_id("[SEP]")
    with pytest.raises(SettingsError, match="neither a pad token nor EOS"):
        la.convert(rows, tmp_path / "pad", tokenizer=str(wordpiece), mode="none", pack=8, tail="pad")


def test_an_end_that_ends_turns_is_told(llama_like: Path, tmp_path: Path) -> None:
    def warnings(**options: Any) -> str:
        manifest = la.convert(
            [{"text": "One two."}], tmp_path / "out", mode="none", overwrite=True, **options
        )
        return " ".join(manifest.document["warnings"])

    assert "template ends turns" in warnings(tokenizer="builtin")
    assert warnings(tokenizer="builtin", end_token="<|endoftext|>") == ""
    assert warnings(tokenizer=str(llama_like)) == ""


def test_rows_are_filled_up_with_eos_where_there_is_no_pad_token(llama_like: Path, tmp_path: Path) -> None:
    la.convert(
        [{"text": "One."}], tmp_path / "out", tokenizer=str(llama_like), mode="none", pack=40, tail="pad"
    )
    (row,) = read_rows(tmp_path / "out")
    (ids, _), (padding, labels) = documents_of(row)
    eos = load_tokenizer(str(llama_like)).eos_id
    assert ids[-1] == eos and padding == [eos] * (40 - len(ids)) and set(labels) == {-100}


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
    dropped = la.convert(rows, tmp_path / "drop", max_length=50, **options).totals
    assert (dropped["written"], dropped["filtered"]) == (1, {"overlength": 1})
    cut = la.convert(rows, tmp_path / "cut", max_length=50, overlength="truncate", **options).totals
    assert (cut["written"], cut["notes"]["truncated"]) == (2, 1)


# Accounts that do not agree


def account(**changes: int) -> Packing:
    return Packing(**({"capacity": 10, "documents": 3, "tokens": 12, "rows": 2} | changes))


def counts() -> Counts:
    rows = hash_rows([0, 1, 2], 0)
    return Counts(read=3, written=3, tokens=12, lengths=Counter({4: 3}), rows_hash=RowsHash(rows, rows, 0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"documents": 2}, "packed 2 of 3 documents"),
        ({"tokens": 11}, "packed 11 of 12 tokens"),
        ({"dropped_tokens": 1}, "packed 13 of 12 tokens"),
        ({"balance": 5}, "not the same ones"),
    ],
)
def test_what_packing_loses_or_doubles_ends_the_job(changes: dict[str, int], words: str) -> None:
    with pytest.raises(OutputError, match=words):
        counts().take_packing(account(**changes), 0)


def test_what_a_tail_leaves_out_moves_in_the_account() -> None:
    taken = counts()
    packed = account(tokens=8, rows=1, dropped_tokens=4, dropped_rows=1)
    packed.left_out = {Reject(2, None, "tail", "", outcome="filtered"): 4}
    taken.take_packing(packed, 0)
    taken.check("here")
    assert (taken.read, taken.written, taken.filtered) == (3, 2, {"tail": 1})
    assert (taken.tokens, taken.dropped_tokens, taken.lengths) == (8, 4, {4: 2})
    assert Counts.from_document(taken.document()) == taken


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
        {"tail": "pad", "max_length": 64},
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
