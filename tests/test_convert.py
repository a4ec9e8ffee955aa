"""Whole conversions: shapes and formats, accounts, going on, and giving the settings back."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from helpers import PAIRS, THINK, conversation, read_quarantine, read_rows, supervised_runs, write_jsonl

import lookahead_data as la
from lookahead_data import api
from lookahead_data.backends import local
from lookahead_data.config import CONNECTOR, PHRASE
from lookahead_data.errors import InputError, OutputError, SettingsError, TemplateError
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.sink import shards as shards_module


def convert(inputs: Any, out: Path, **changes: Any) -> la.Manifest:
    return la.convert(inputs, out, **({"tokenizer": "builtin"} | changes))


def texts(out: Path, tokenizer: LoadedTokenizer) -> list[str]:
    return [tokenizer.decode(row["input_ids"]) for row in read_rows(out)]


def digests(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.parquet"))
    }


def as_chatml(prompt: str, completion: str, system: str = "") -> str:
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{head}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{completion}<|im_end|>\n"


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "prompt and completion": ({"prompt": "I", "completion": "O"}, as_chatml("I", "O")),
    "input and output": ({"input": "I", "output": "O"}, as_chatml("I", "O")),
    "question and answer": ({"question": "I", "answer": "O", "id": 7}, as_chatml("I", "O")),
    "a system field": ({"system": "S", "prompt": "I", "response": "O"}, as_chatml("I", "O", "S")),
    "Alpaca": ({"instruction": "I", "input": "x", "output": "O"}, as_chatml("I\nx", "O")),
    "Alpaca without input": ({"instruction": "I", "input": "", "output": "O"}, as_chatml("I", "O")),
    "messages": ({"messages": conversation("I", "O", system="S")}, as_chatml("I", "O", "S")),
    "ShareGPT": (
        {"system": "S", "conversations": [{"from": "human", "value": "I"}, {"from": "gpt", "value": "O"}]},
        as_chatml("I", "O", "S"),
    ),
    "conversations with roles": ({"conversations": conversation("I", "O")}, as_chatml("I", "O")),
    "lists of messages": (
        {"prompt": conversation("I"), "completion": [{"role": "assistant", "content": "O"}]},
        as_chatml("I", "O"),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_recognized(name: str, tmp_path: Path, builtin: LoadedTokenizer) -> None:
    row, expected = SHAPES[name]
    manifest = convert([row] * 3, tmp_path / "out", mode="none")
    assert texts(tmp_path / "out", builtin) == [expected] * 3
    assert manifest.document["inputs"][0]["shape"]["kind"]


def test_a_shape_can_be_set(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    row = {"instruction": "I", "output": "O", "text": "Some text.", "sys": "S", "a": "Another one.", "b": "B"}
    convert([row], tmp_path / "fields", mode="none", input_field="a", output_field="b", system_field="sys")
    assert texts(tmp_path / "fields", builtin) == [as_chatml("Another one.", "B", "S")]
    convert([row], tmp_path / "text", mode="none", shape="text")
    assert texts(tmp_path / "text", builtin) == ["Some text.<|im_end|>"]
    convert([row], tmp_path / "named", mode="none", shape="text", input_field="a")
    assert texts(tmp_path / "named", builtin) == ["Another one.<|im_end|>"]


def test_plain_text_is_supervised_from_its_second_token(tmp_path: Path) -> None:
    convert([{"text": "one two three four"}], tmp_path / "out", mode="none")
    (row,) = read_rows(tmp_path / "out")
    assert row["labels"] == [-100, *row["input_ids"][1:]]


def test_plain_text_has_no_preview(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no prompt to put a preview in"):
        convert([{"text": "one two three four"}], tmp_path / "out")


def write_in(format: str, folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / f"rows.{format}"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if format == "json":
        path.write_text(json.dumps(rows, indent=2))
    elif format == "jsonl":
        path.write_bytes(lines)
    elif format == "jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif format == "jsonl.zst":
        path.write_bytes(zstandard.compress(lines))
    elif format in ("csv", "tsv"):
        pl.DataFrame(rows).write_csv(path, separator="\t" if format == "tsv" else ",")
    elif format == "parquet":
        pl.DataFrame(rows).write_parquet(path, row_group_size=1)
    elif format == "feather":
        pl.DataFrame(rows).write_ipc(path, compression="lz4")
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize(
    "format", ["json", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "tsv", "parquet", "feather", "arrow"]
)
def test_every_format_gives_the_same_rows(format: str, tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": 'a "quoted", one\nin two lines', "completion": "tab\there, and more of it"}]
    convert(rows, tmp_path / "expected")
    convert(write_in(format, tmp_path, rows), tmp_path / "out")
    assert read_rows(tmp_path / "out") == read_rows(tmp_path / "expected")


def test_data_in_memory_gives_the_same_rows(tmp_path: Path) -> None:
    convert(write_jsonl(tmp_path / "rows.jsonl", PAIRS), tmp_path / "expected")
    frame = pl.DataFrame(PAIRS)
    for at, data in enumerate(
        [PAIRS, frame, frame.lazy(), frame.to_arrow(), pa.RecordBatch.from_pylist(PAIRS)]
    ):
        manifest = convert(data, tmp_path / str(at))
        assert read_rows(tmp_path / str(at)) == read_rows(tmp_path / "expected")
        assert manifest.document["inputs"][0]["path"] == "<memory>"
    with pytest.raises(InputError, match="cannot be written as JSON"):
        convert([{"prompt": object()}], tmp_path / "bad")


def test_files_folders_and_patterns_in_order(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    for name in ("b", "a", "c"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"prompt": name, "completion": "x"}])
    convert([tmp_path / "c.jsonl", f"{tmp_path}/[ab].jsonl"], tmp_path / "out", mode="none")
    assert [text[len("<|im_start|>user\n")] for text in texts(tmp_path / "out", builtin)] == ["c", "a", "b"]


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"p{n}", "completion": f"word{n} " * (n % 40 + 1)} for n in range(400)
    ]
    rows[7] = {"prompt": "x"}
    rows[300] = {"prompt": "x", "completion": ""}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    manifest = convert(path, tmp_path / "out", max_length=60, unit_size=5000)
    totals = manifest.totals
    assert totals["read"] == 400
    assert totals["quarantined"] == {"empty_answer": 1, "missing_field": 1}
    assert totals["filtered"]["overlength"] == 400 - 2 - totals["written"] > 0
    written = read_rows(tmp_path / "out")
    assert totals["written"] == len(written) == sum(shard["rows"] for shard in manifest.document["shards"])
    assert totals["tokens"] == sum(len(row["input_ids"]) for row in written)
    assert totals["supervised_tokens"] == sum(label != -100 for row in written for label in row["labels"])
    lengths = sorted(len(row["input_ids"]) for row in written)
    assert totals["length_quantiles"]["p0"] == lengths[0]
    assert totals["length_quantiles"]["p100"] == lengths[-1] <= 60
    assert totals["length_quantiles"]["p50"] == lengths[(len(lengths) + 1) // 2 - 1]
    units = manifest.document["units"]
    assert len(units) > 5
    for name in ("read", "written", "tokens", "supervised_tokens", "previewed_tokens"):
        assert sum(unit[name] for unit in units) == totals[name]
    rejects = read_quarantine(tmp_path / "out")
    assert {r["row"] for r in rejects if r["outcome"] == "quarantined"} == {7, 300}
    assert len(rejects) == 400 - totals["written"]
    lines = path.read_bytes().split(b"\n")
    for reject in rejects:
        assert path.read_bytes()[reject["offset"] :].startswith(lines[reject["row"]])


def test_previews_are_counted(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    totals = convert(PAIRS, tmp_path / "real").totals
    lengths = [len(builtin.encode_ids([row["completion"]])[0]) for row in PAIRS]
    assert totals["previews"] == totals["previewed_rows"] == len(PAIRS)
    assert totals["previewed_tokens"] == sum(min(6, length) for length in lengths)
    assert totals["whole_answers"] == sum(length <= 6 for length in lengths) > 0
    virtual = convert(PAIRS, tmp_path / "virtual", mode="virtual").totals
    assert virtual["previewed_tokens"] == len(builtin.encode_ids([PHRASE])[0]) * len(PAIRS)
    assert virtual["whole_answers"] == 0
    dropped = convert(PAIRS, tmp_path / "drop", short_answer="drop").totals
    assert dropped["quarantined"] == {"short_answer": totals["whole_answers"]}
    several = convert([{"messages": conversation("a", "b", "c", "d")}], tmp_path / "several").totals
    assert several["notes"] == {"answer_without_preview": 1}


@pytest.mark.parametrize("mode", ["real", "virtual"])
def test_previewed_tokens_can_be_taken_out_of_the_loss(
    mode: str, tmp_path: Path, builtin: LoadedTokenizer
) -> None:
    convert(PAIRS, tmp_path / "plain", mode=mode)
    convert(PAIRS, tmp_path / "masked", mode=mode, mask_preview=True)
    for plain, masked, pair in zip(
        read_rows(tmp_path / "plain"), read_rows(tmp_path / "masked"), PAIRS, strict=True
    ):
        assert plain["input_ids"] == masked["input_ids"]
        (start, end), *_ = supervised_runs(plain["input_ids"], plain["labels"])
        hidden = [at for at in range(start, end) if masked["labels"][at] == -100]
        if mode == "real":
            expected = min(6, len(builtin.encode_ids([pair["completion"]])[0]))
        else:
            # Only tokens that lie wholly inside the phrase: its last space goes with the answer.
            answer = builtin.encode([PHRASE + pair["completion"]])[0]
            expected = sum(stop <= len(PHRASE) for _, stop in answer.offsets)
        assert hidden == list(range(start, start + expected))


def test_max_length(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    rows = [
        {"prompt": "short", "completion": "yes"},
        {"prompt": "short", "completion": "long " * 50},
        {"prompt": "long " * 50, "completion": "yes"},
    ]
    full = convert(rows, tmp_path / "full", mode="none")
    assert full.totals["written"] == 3
    drop = convert(rows, tmp_path / "drop", mode="none", max_length=30)
    assert drop.totals["filtered"] == {"overlength": 2}
    cut = convert(rows, tmp_path / "cut", mode="none", max_length=30, overlength="truncate")
    # What remains must hold a supervised token: of the long prompt nothing is left to learn.
    assert (cut.totals["written"], cut.totals["quarantined"]) == (2, {"nothing_supervised": 1})
    assert cut.totals["notes"] == {"truncated": 2}
    assert [row["input_ids"] for row in read_rows(tmp_path / "cut")] == [
        row["input_ids"][:30] for row in read_rows(tmp_path / "full")[:2]
    ]
    with pytest.raises(InputError, match=r"row 1 has .* tokens, and the maximum is 30"):
        convert(rows, tmp_path / "error", mode="none", max_length=30, overlength="error")
    assert not list((tmp_path / "error").rglob("*.parquet"))


def test_units_do_not_change_what_is_written(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}" * (n % 7), "completion": "c " * (n % 11 + 1)} for n in range(120)]
    lines = write_jsonl(tmp_path / "rows.jsonl", rows).read_bytes()
    (tmp_path / "rows.jsonl").write_bytes(lines.replace(b"\n", b"\r\n\n", 20))
    convert(tmp_path / "rows.jsonl", tmp_path / "one")
    expected = read_rows(tmp_path / "one")
    for size in (1, 97, 1000, 3000):
        manifest = convert(tmp_path / "rows.jsonl", tmp_path / str(size), unit_size=size)
        assert read_rows(tmp_path / str(size)) == expected
        stops = [unit["stop"] for unit in manifest.document["units"]]
        assert stops == sorted(stops)
        assert stops[-1] == (tmp_path / "rows.jsonl").stat().st_size


def test_batches_do_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookahead_data.source import conversations

    monkeypatch.setattr(shards_module, "GROUP_ROWS", 50)
    monkeypatch.setattr(shards_module, "GROUP_TOKENS", 3000)
    rows = [{"prompt": f"p{n}", "completion": "c " * (n % 170 + 1)} for n in range(600)]
    found = []
    for batch in (1, 17, 1000):
        monkeypatch.setattr(conversations, "BATCH_ROWS", batch)
        convert(rows, tmp_path / str(batch), shard_size=4000)
        found.append(digests(tmp_path / str(batch)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 2
    groups = pq.ParquetFile(tmp_path / "17" / next(iter(found[0]))).metadata
    assert groups.num_row_groups > 1
    assert groups.row_group(0).num_rows <= 50


def test_a_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(3000)]
    )
    convert(path, tmp_path / "expected", unit_size=20_000)

    class Stop(la.Listener):
        batches = 0

        def advanced(self, rows: int, tokens: int, size: int) -> None:
            self.batches += 1
            if self.batches == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(path, tmp_path / "out", unit_size=20_000, listener=Stop())
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "data").glob("*.parquet")}
    assert 0 < len(done) < 5
    (tmp_path / "out" / "data" / ".tmp-train-00009-00000.parquet").write_text("left behind")
    convert(path, tmp_path / "out", unit_size=20_000)
    assert digests(tmp_path / "out") == digests(tmp_path / "expected")
    assert {
        p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "data").glob("*")
    }.items() >= done.items()
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    again = convert(path, tmp_path / "out", unit_size=20_000)
    assert again.totals == la.Manifest.load(tmp_path / "expected").totals


def test_a_unit_whose_shard_was_changed_is_done_again(tmp_path: Path) -> None:
    convert(PAIRS, tmp_path / "out")
    expected = digests(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (shard,) = (tmp_path / "out" / "data").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1])
    convert(PAIRS, tmp_path / "out")
    assert digests(tmp_path / "out") == expected


def test_another_jobs_folder_is_refused_by_what_differs(tmp_path: Path) -> None:
    convert(PAIRS, tmp_path / "out")
    with pytest.raises(OutputError, match=r"settings\.preview_tokens is 6 there, and 7 now"):
        convert(PAIRS, tmp_path / "out", preview_tokens=7)
    with pytest.raises(OutputError, match=r"inputs\[0\]\.size"):
        convert(PAIRS[:2], tmp_path / "out")
    convert(PAIRS[:2], tmp_path / "out", overwrite=True)
    assert len(read_rows(tmp_path / "out")) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not ours"):
            convert(PAIRS, tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        convert(PAIRS, tmp_path / "file")


def test_a_manifest_can_be_given_back(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS)
    first = convert(path, tmp_path / "first", mode="virtual", phrase="Well. ", template_args={"x": 1})
    job = la.load_config(tmp_path / "first" / "manifest.json")
    assert job.inputs == (str(path),)
    again = la.convert(job.inputs, tmp_path / "again", la.Settings.from_dict(job.settings))
    assert again.document["fingerprint"] == first.document["fingerprint"]
    assert again.settings == first.settings
    assert digests(tmp_path / "again") == digests(tmp_path / "first")


def test_what_the_output_depends_on_is_in_the_fingerprint(tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}")
    prints = set()
    for at, changes in enumerate(
        [{}, {"preview_tokens": 7}, {"mode": "virtual"}, {"chat_template": str(template)}, {"unit_size": 5}]
    ):
        prints.add(convert(PAIRS, tmp_path / str(at), **changes).document["fingerprint"])
    template.write_text("{% for m in messages %}{{ m.content + '<|im_end|>\n' }}{% endfor %}")
    prints.add(convert(PAIRS, tmp_path / "t", chat_template=str(template)).document["fingerprint"])
    prints.add(convert(PAIRS[:3], tmp_path / "i").document["fingerprint"])
    assert len(prints) == 7


def test_the_day_that_a_template_is_told_is_pinned(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }}{% for m in messages %}|{{ m.content }}{% endfor %}")
    manifest = convert(
        [{"prompt": "a", "completion": "b"}],
        tmp_path / "out",
        mode="none",
        chat_template=str(template),
        template_date="2026-02-03",
    )
    assert texts(tmp_path / "out", builtin) == ["03 Feb 2026|a|b"]
    assert manifest.settings.template_date == "2026-02-03"
    today = convert(
        [{"prompt": "a", "completion": "b"}], tmp_path / "now", mode="none", chat_template=str(template)
    )
    assert today.settings.template_date is not None


def test_arguments_reach_the_template(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ tone | default('plain') }}{% for m in messages %}|{{ m.content }}{% endfor %}")
    row = [{"prompt": "a", "completion": "b"}]
    convert(row, tmp_path / "out", mode="none", chat_template=str(template), template_args={"tone": "warm"})
    assert texts(tmp_path / "out", builtin) == ["warm|a|b"]


def test_reasoning_goes_to_templates_that_know_it(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
        "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    answer = {"role": "assistant", "content": "O", "thinking": "Hm."}
    row = {"messages": [*conversation("I"), answer]}
    convert([row], tmp_path / "out", mode="none", chat_template=str(template))
    (written,) = read_rows(tmp_path / "out")
    ((start, end),) = supervised_runs(written["input_ids"], written["labels"])
    assert builtin.decode(written["input_ids"][start:end]) == "<think>Hm.</think>O<|im_end|>"
    ignored = convert([row], tmp_path / "chatml", mode="none", chat_template="chatml")
    assert ignored.totals["notes"] == {"reasoning_left_out": 1}


def test_a_tokenizer_without_template(llama_like: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    class Ear(la.Listener):
        def warned(self, message: str) -> None:
            heard.append(message)

    convert(PAIRS, tmp_path / "pairs", tokenizer=str(llama_like), listener=Ear())
    assert any("no chat template" in message for message in heard)
    assert any("--end-token" in message for message in heard)
    with pytest.raises(TemplateError, match="a conversation needs one"):
        convert([{"messages": conversation("a", "b")}], tmp_path / "chat", tokenizer=str(llama_like))
    with pytest.raises(TemplateError, match="neither a built-in"):
        convert(PAIRS, tmp_path / "typo", chat_template="chatlm")
    with pytest.raises(SettingsError, match="not a token of this tokenizer"):
        convert(PAIRS, tmp_path / "end", end_token="<nope>")


def test_the_connector_stands_verbatim(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    convert([{"prompt": "I", "completion": "O" * 40}], tmp_path / "out", mode="virtual")
    (text,) = texts(tmp_path / "out", builtin)
    assert text == as_chatml("I" + CONNECTOR + PHRASE, PHRASE + "O" * 40)


def test_an_empty_corpus_leaves_a_folder_that_loads(tmp_path: Path) -> None:
    manifest = convert(write_jsonl(tmp_path / "rows.jsonl", []), tmp_path / "out")
    assert manifest.totals["read"] == 0
    assert read_rows(tmp_path / "out") == []
    assert pq.read_schema(manifest.shards[0]).names == ["input_ids", "attention_mask", "labels"]


def test_shards_are_as_promised(tmp_path: Path) -> None:
    manifest = convert(PAIRS, tmp_path / "out")
    (shard,) = manifest.document["shards"]
    path = tmp_path / "out" / shard["path"]
    assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert shard["size"] == path.stat().st_size
    schema = pq.read_schema(path)
    assert [str(field.type.value_type) for field in schema] == ["int32", "int8", "int32"]
    assert api.Manifest.load(tmp_path / "out").document == manifest.document


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_do_not_change_the_bytes(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SMALL", 0)
    rows = [{"prompt": f"p{n}", "completion": f"c {n} " * (n % 7 + 1)} for n in range(1500)]
    rows[700] = {"prompt": "x"}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    heard: list[int] = []

    class Ear(la.Listener):
        def advanced(self, rows: int, tokens: int, size: int) -> None:
            heard.append(rows)

    manifest = convert(path, tmp_path / "out", unit_size=20_000, workers=workers, listener=Ear())
    expected = convert(path, tmp_path / "alone", unit_size=20_000, workers=1)
    assert digests(tmp_path / "out") == digests(tmp_path / "alone")
    assert sum(heard) == 1500
    timing = {"timing": None}
    assert {**manifest.document, **timing} == {**expected.document, **timing}


def test_a_unit_that_fails_in_a_worker_ends_the_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SMALL", 0)
    rows = [{"prompt": f"p{n}", "completion": "c " * (60 if n == 900 else 5)} for n in range(1500)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    options: dict[str, Any] = {"unit_size": 10_000, "max_length": 50, "overlength": "error"}
    with pytest.raises(InputError, match="row 900 has"):
        convert(path, tmp_path / "out", workers=2, **options)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_two_jobs_never_write_into_one_folder(tmp_path: Path) -> None:
    class Rival(la.Listener):
        refused = 0

        def advanced(self, rows: int, tokens: int, size: int) -> None:
            for mode in ("real", "virtual"):
                with pytest.raises(OutputError, match=r"process .* is writing"):
                    convert(PAIRS, tmp_path / "out", mode=mode, overwrite=True)
                self.refused += 1

    rival = Rival()
    convert(PAIRS, tmp_path / "out", listener=rival)
    assert rival.refused == 2
    assert len(read_rows(tmp_path / "out")) == len(PAIRS)


def test_a_job_that_published_nothing_makes_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Raise --max-length"):
        convert(PAIRS, tmp_path / "out", max_length=3, overlength="error")
    assert convert(PAIRS, tmp_path / "out", max_length=300, overlength="error").totals["written"] == len(
        PAIRS
    )


def test_overwriting_removes_nothing_of_others(tmp_path: Path) -> None:
    convert(PAIRS, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("precious")
    convert(PAIRS, tmp_path / "out", mode="virtual", overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "precious"
    (tmp_path / "out" / "data" / "mine.parquet").write_text("precious")
    with pytest.raises(OutputError, match=r"mine\.parquet stands among the shards"):
        convert(PAIRS, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "data" / "mine.parquet").read_text() == "precious"


def test_a_system_field_is_never_passed_over(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    rows = [{"sys": None, "prompt": "I", "completion": "O"}] * 30 + [
        {"sys": "S", "prompt": "I", "completion": "O"}
    ]
    convert(rows, tmp_path / "named", mode="none", system_field="sys")
    assert texts(tmp_path / "named", builtin)[-1] == as_chatml("I", "O", "S")
    rows = [{"system": row["sys"], "prompt": "I", "completion": "O"} for row in rows]
    convert(rows, tmp_path / "found", mode="none")
    convert(rows, tmp_path / "fields", mode="none", input_field="prompt", output_field="completion")
    for out in ("found", "fields"):
        assert texts(tmp_path / out, builtin)[-1] == as_chatml("I", "O", "S")


def test_messages_in_a_field_of_another_name(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    convert([{"chat": conversation("I", "O")}], tmp_path / "out", mode="none", input_field="chat")
    assert texts(tmp_path / "out", builtin) == [as_chatml("I", "O")]


def test_a_row_with_several_short_answers_is_dropped_once(tmp_path: Path) -> None:
    rows = [{"messages": conversation("a", "b", "c", "d")}]
    manifest = convert(rows, tmp_path / "out", preview_turns="all", short_answer="drop")
    assert manifest.totals["quarantined"] == {"short_answer": 1}


def test_columns_that_are_not_needed_do_no_harm(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "when": pa.array([1, 10**18 + 1], pa.timestamp("ns")),
            "completion": pa.array(["one two three four five six seven"] * 2, pa.string_view()),
        }
    )
    assert convert(table, tmp_path / "out").totals["written"] == 2
    both = pa.concat_tables([table, table.slice(1)])
    assert convert(both, tmp_path / "chunks").totals["written"] == 3
    changed = la.preview(table, mode="virtual", phrase="P", connector="→").rows
    assert changed.column("prompt").to_pylist() == ["a→P", "b→P"]
    assert changed.select(["when"]).equals(table.select(["when"]))
    frame = pl.DataFrame(
        {"prompt": ["a", "b"], "completion": ["x", "y"]}, schema_overrides={"prompt": pl.Enum(["a", "b"])}
    )
    assert la.preview(frame, mode="virtual", phrase="P", connector="→").rows["prompt"].to_list() == [
        "a→P",
        "b→P",
    ]


def test_paths_name_models_too(tmp_path: Path, llama_like: Path) -> None:
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m.content }}</s>{% endfor %}")
    manifest = convert(PAIRS, tmp_path / "out", tokenizer=llama_like, chat_template=tmp_path / "t.jinja")
    assert manifest.settings.chat_template == str(tmp_path / "t.jinja")


def test_no_row_at_all_is_said_aloud(tmp_path: Path) -> None:
    heard: list[str] = []

    class Ear(la.Listener):
        def warned(self, message: str) -> None:
            heard.append(message)

    convert(PAIRS, tmp_path / "out", max_length=2, listener=Ear())
    assert any("no row was written" in message for message in heard)


def test_an_unfinished_folder_is_not_taken_for_a_corpus(tmp_path: Path) -> None:
    convert(PAIRS, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(OutputError, match="not finished"):
        la.inspect(tmp_path / "out", tokenizer="builtin")


def test_reasoning_and_what_templates_do_to_answers_are_noted(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(THINK)
    answer = {"role": "assistant", "content": "one two three four five six seven", "reasoning_content": "Hm."}
    rows: list[dict[str, Any]] = [
        {"messages": [*conversation("I"), answer]},
        {"messages": conversation("I", "<think>Hm.</think>one two three four five six seven")},
    ]
    notes = convert(rows, tmp_path / "out", chat_template=str(tmp_path / "t.jinja")).totals["notes"]
    assert notes == {"reasoning_before_answer": 1, "reasoning_left_out": 1, "template_rewrites_answer": 1}


def test_a_script_needs_no_guard_to_use_workers(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", PAIRS * 300)
    script = tmp_path / "script.py"
    script.write_text(
        "import lookahead_data as la\n"
        "from lookahead_data.backends import local\n"
        "local.SMALL = 0\n"
        f"print('begin', la.convert({str(path)!r}, {str(tmp_path / 'out')!r}, tokenizer='builtin', "
        "unit_size=30_000, workers=2).totals['written'], __file__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["begin", "1200", str(script)], done.stderr
