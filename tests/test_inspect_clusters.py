"""What curation found can be looked at: rows side by side, with their texts as long as these are at hand."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from helpers import write_jsonl

import lookahead_data as la
from lookahead_data.check import clusters as module
from lookahead_data.cli import main

ROWS = [
    {"prompt": f"Question {at} of the many: why?", "completion": f"Since {at} is so."} for at in range(40)
]
LONG = "it was a dark and stormy night and the rain fell in torrents on the old roofs of the town "
for at, ending in ((3, "one"), (17, "two"), (31, "two three")):
    ROWS[at] = {"prompt": LONG, "completion": f"Then came {ending}."}
ROWS[25] = ROWS[5]
ROWS[26] = ROWS[5]
ITEM = "Rain fell in TORRENTS on the old roofs"
FOUND: dict[str, Any] = {"near_dedup": 0.6, "dedup": "conversation"}


def said(row: int) -> str:
    return "\n".join(ROWS[row].values())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    return write_jsonl(
        tmp_path / "eval.jsonl",
        [{"question": "never asked at all", "answer": "x"}, {"question": ITEM, "answer": "y"}],
    )


def made(command: str, source: Any, folder: Path, **more: Any) -> Path:
    if command == "curate":
        la.curate(source, folder, **more)
    else:
        la.convert(source, folder, tokenizer="builtin", workers=1, **more)
    return folder


def rows_of(found: la.Clusters) -> list[list[int]]:
    return [[row.row for row in (cluster.first, *cluster.members)] for cluster in found.clusters]


@pytest.mark.parametrize("command", ["curate", "convert"])
def test_each_report_is_shown_with_its_texts(
    command: str, corpus: Path, evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART", 300)  # several parts, of which few are read
    folder = made(command, corpus, tmp_path / "out", **FOUND)
    near = la.inspect_clusters(folder)
    assert rows_of(near) == [[3, 17, 31]]
    (cluster,) = near.clusters
    for member in (cluster.first, *cluster.members):
        assert (member.file, member.text) == (str(corpus), said(member.row))
    assert cluster.first.similarity is None
    assert all(0.6 < (member.similarity or 0) < 1 for member in cluster.members)
    same = la.inspect_clusters(folder, "duplicates")
    assert rows_of(same) == [[5, 25, 26]]
    assert {member.text for member in same.clusters[0].members} == {said(5)}
    folder = made(command, corpus, tmp_path / "clean", decontaminate=[evaluation])
    clean = la.inspect_clusters(folder, "contamination")
    assert rows_of(clean) == [[1, 3, 17, 31]]
    (cluster,) = clean.clusters
    assert (cluster.first.file, cluster.first.text) == (str(evaluation), ITEM)
    assert {(row.text, row.words, row.whole, row.overlap) for row in cluster.members} == {
        (said(at), 8, True, ITEM.lower()) for at in (3, 17, 31)
    }
    assert near.problems == same.problems == clean.problems == ()


@pytest.mark.parametrize("kind", ["parquet", "csv.gz", "json", "messages.jsonl"])
def test_texts_come_from_any_format_and_shape(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pl.DataFrame(ROWS).write_parquet(source, row_group_size=7)
    elif kind == "csv.gz":
        source.write_bytes(gzip.compress(pl.DataFrame(ROWS).write_csv().encode()))
    elif kind == "json":
        source.write_text(json.dumps(ROWS))
    else:
        names = {"prompt": "user", "completion": "assistant"}
        rows = [{"messages": [{"role": names[n], "content": c} for n, c in row.items()]} for row in ROWS]
        write_jsonl(source, rows)
    folder = made("curate", source, tmp_path / "out", **FOUND)
    for report in ("near_duplicates", "duplicates"):
        found = la.inspect_clusters(folder, report)  # type: ignore[arg-type]
        assert found.problems == ()
        for cluster in found.clusters:
            assert all(row.text == said(row.row) for row in (cluster.first, *cluster.members))


def test_a_report_says_what_it_was_made_of(corpus: Path, evaluation: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", near_dedup=0.6, decontaminate=[evaluation])
    summary = json.loads((folder / "summary.json").read_text())
    for name, path in (("inputs", corpus), ("evaluation", evaluation)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (told,) = summary[name]
        assert (told["path"], told["size"], told["sha256"]) == (str(path), path.stat().st_size, digest)
    assert la.Settings.from_dict(summary["settings"]).near_dedup == 0.6
    assert summary["inputs"][0]["shape"]["kind"] == "prompt-completion"
    assert summary["near_duplicates"]["rows"] == 2  # what is contaminated goes first


def test_only_what_was_compared_is_shown(corpus: Path, tmp_path: Path) -> None:
    folder = made(
        "curate", corpus, tmp_path / "out", dedup="completion", near_dedup=0.6, near_dedup_on="prompt"
    )
    assert la.inspect_clusters(folder, "duplicates").clusters[0].first.text == ROWS[5]["completion"]
    found = la.inspect_clusters(folder)
    assert rows_of(found) == [[3, 17, 31]]
    assert found.clusters[0].members[0].text == LONG


def test_evaluation_items_by_a_field_of_their_own(corpus: Path, tmp_path: Path) -> None:
    evaluation = write_jsonl(tmp_path / "eval.jsonl", [{"id": 1, "what": ITEM}])
    folder = made("curate", corpus, tmp_path / "out", decontaminate=[evaluation], evaluation_field="what")
    assert la.inspect_clusters(folder, "contamination").clusters[0].first.text == ITEM


def test_some_clusters_and_some_of_their_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"{at % 5}", "completion": "x"} for at in range(40)]
    folder = made("curate", write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out", dedup="prompt")
    found = la.inspect_clusters(folder, "duplicates", clusters=2, start=1, members=3)
    assert rows_of(found) == [[1, 6, 11, 16], [2, 7, 12, 17]]
    assert [cluster.more for cluster in found.clusters] == [4, 4]
    assert found.total == 5
    assert la.inspect_clusters(folder, "duplicates", start=5).clusters == ()
    assert rows_of(la.inspect_clusters(folder, "duplicates", clusters=9, start=4)) == [list(range(4, 40, 5))]


def test_an_input_that_is_gone_or_changed_is_told(corpus: Path, evaluation: Path, tmp_path: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", [ROWS[3]])
    folder = made(
        "curate",
        [corpus, other],
        tmp_path / "out",
        near_dedup=0.6,
        decontaminate=[evaluation],
        contamination="report",
    )
    corpus.write_bytes(corpus.read_bytes() + b"\n")
    found = la.inspect_clusters(folder, clusters=1)
    (cluster,) = found.clusters
    assert found.problems == (f"{corpus}: was changed since; its rows are shown without their texts",)
    assert [member.text for member in (cluster.first, *cluster.members)] == [None, None, None, said(3)]
    corpus.unlink()
    evaluation.unlink()
    found = la.inspect_clusters(folder, "contamination")
    assert [problem.split(":")[0] for problem in found.problems] == [str(corpus), str(evaluation)]
    assert all("cannot be read: No such file" in problem for problem in found.problems)
    folder = made("curate", ROWS, tmp_path / "memory", near_dedup=0.6)
    found = la.inspect_clusters(folder)
    assert rows_of(found) == [[3, 17, 31], [5, 25, 26]]
    assert found.problems == (
        "<memory>: its rows were handed over in memory; its rows are shown without their texts",
    )


def test_a_folder_without_such_a_report_is_refused(corpus: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", dedup="prompt")
    with pytest.raises(la.OutputError, match="no report on near duplicates") as refused:
        la.inspect_clusters(folder)
    assert "--near-dedup" in str(refused.value.remedy)
    with pytest.raises(la.OutputError, match="no report"):
        la.inspect_clusters(tmp_path / "nowhere")
    with pytest.raises(la.SettingsError, match="'nonsense' is no report"):
        la.inspect_clusters(folder, "nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("duplicates.parquet", b"nonsense", "cannot be read|is not valid"),
        ("summary.json", b"{", "is not valid"),
        ("summary.json", b"{}", "'settings' is missing"),
    ],
)
def test_a_damaged_report_is_told(name: str, content: bytes, told: str, corpus: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", dedup="prompt")
    (folder / name).write_bytes(content)
    with pytest.raises(la.OutputError, match=told) as refused:
        la.inspect_clusters(folder, "duplicates")
    assert refused.value.where == str(folder / name)


def test_a_table_of_something_else_is_told(corpus: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", dedup="prompt")
    shutil.copy(folder / "verdicts.parquet", folder / "duplicates.parquet")
    with pytest.raises(la.OutputError, match="'first_file' is missing"):
        la.inspect_clusters(folder, "duplicates")


# --------------------------------------------------------------------------------- command line


def inspect(*arguments: object, **env: str) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)], env={"COLUMNS": "140", **env})


def test_the_command_line_marks_what_differs(corpus: Path, evaluation: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", **FOUND)
    done = inspect(folder, "--clusters")
    assert done.exit_code == 0, done.output
    assert "cluster 0 of 1: 2 rows beside the first" in done.stdout
    flat = " ".join(done.stdout.split())
    assert flat.count("Then came «one».") == 2
    assert "Then came «two»." in flat
    assert "Then came «two three»." in flat
    assert flat.count("row 4 of") == 2
    assert "\x1b" not in done.stdout
    coloured = inspect(folder, "--clusters", FORCE_COLOR="1")
    assert "«" not in coloured.stdout
    assert "\x1b[1;33mone" in coloured.stdout
    assert "no row from 7 on: there are 1" in inspect(folder, "--duplicates", "--start", 7).stdout
    folder = made("curate", corpus, tmp_path / "clean", decontaminate=[evaluation])
    flat = " ".join(inspect(folder, "--contamination").stdout.split())
    assert f"«{ITEM}»" in flat
    assert "8 words, the whole item" in flat


def test_the_command_line_gives_json_and_tells_problems(corpus: Path, tmp_path: Path) -> None:
    folder = made("curate", corpus, tmp_path / "out", **FOUND)
    done = inspect(folder, "--duplicates", "--json", "-n", 1)
    assert json.loads(done.stdout) == [
        {
            "first": {"file": str(corpus), "row": 5, "text": said(5)},
            "members": [{"file": str(corpus), "row": row, "text": said(5)} for row in (25, 26)],
            "more": 0,
        }
    ]
    corpus.unlink()
    done = inspect(folder, "--clusters")
    assert done.exit_code == 0
    assert "similarity 0." in done.stdout
    assert "stormy" not in done.stdout
    assert "its rows are shown without their texts" in done.stderr
    assert json.loads(inspect(folder, "--clusters", "--json").stdout)[0]["first"]["text"] is None
    assert inspect(folder, folder, "--clusters").exit_code == 2
    assert inspect("--clusters").exit_code == 2


def test_a_text_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    rows = [{"prompt": "Clear \x1b[2J the screen", "completion": "x"}] * 2
    folder = made("curate", write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out", dedup="prompt")
    done = inspect(folder, "--duplicates")
    assert "\x1b" not in done.stdout
    assert r"Clear \x1b[2J the screen" in done.stdout
