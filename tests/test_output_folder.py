"""The output folder: the same bytes whatever did the work, going on, and what is never overwritten or mixed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, convert, digests, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data import api
from lookahead_data.backends import local
from lookahead_data.errors import InputError, OutputError
from lookahead_data.sink import shards as shards_module


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
    with pytest.raises(InputError, match="row 901 has"):
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


def test_an_unfinished_folder_is_not_taken_for_a_corpus(tmp_path: Path) -> None:
    convert(PAIRS, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(OutputError, match="not finished"):
        la.inspect(tmp_path / "out", tokenizer="builtin")


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
