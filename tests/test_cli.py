"""The command line as people use it: in a process of its own, by exit status, stdout and stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import PAIRS, conversation, read_jsonl, read_rows, write_jsonl

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.cli.options import (
    ARRANGEMENT,
    CURATION,
    MODEL,
    PREVIEW,
    RESULT,
    SAFETY,
    SOURCE,
    TOKENIZER,
)
from lookahead_data.config import SETTING_NAMES


def run(*args: object, status: int = 0) -> str:
    """Run a command in this process; gives stdout and stderr as they come."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", PAIRS)


def test_convert_and_inspect(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run("convert", corpus, "-o", out, "-t", "builtin", "-m", 3, "--connector", " → ")
    assert "4 of 4 rows" in said
    assert "prompt-completion (prompt, completion)" in said
    assert said == said.replace("\x1b", "")
    shown = run("inspect", out, "-n", 1, "--ids")
    assert "[[Two plus three is five, since 2 + 3 = 5.<|im_end|>]]" in shown
    assert "What is 2 + 3?« → Two plus»<|im_end|>" in shown
    assert "input_ids [1, " in shown
    rows = json.loads(run("inspect", out, "--start", 2, "-n", 5, "--json"))
    assert [row["input_ids"] for row in rows] == [row["input_ids"] for row in read_rows(out)[2:]]
    for row in rows:
        assert "".join(piece["text"] for piece in row["runs"] if piece["kind"] == "supervised")


def test_raw_input_is_shown_as_it_would_become(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("nonsense\n")
    options = ["-t", "builtin", "--mode", "virtual", "--phrase", "Well, "]
    raw = run("inspect", corpus, *options, "-n", 9)
    assert "Name a colour.« The answer begins with: Well, »<|im_end|>" in raw
    assert "[[Well, Blue.<|im_end|>]]" in raw
    assert "row 5 would be left out: invalid_json" in raw
    run("convert", corpus, "-o", tmp_path / "out", *options)
    written = json.loads(run("inspect", tmp_path / "out", "-n", 9, "--json"))
    would = json.loads(
        CliRunner().invoke(main, ["inspect", str(corpus), *options, "-n", "9", "--json"]).stdout
    )
    assert [row["input_ids"] for row in would] == [row["input_ids"] for row in written]
    assert [row["runs"] for row in would] == [row["runs"] for row in written]


def test_results_as_json(corpus: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["convert", str(corpus), "-o", str(tmp_path / "o"), "-t", "builtin", "--json"]
    )
    assert json.loads(result.stdout)["written"] == 4
    result = CliRunner().invoke(
        main, ["preview", str(corpus), "-o", str(tmp_path / "p.jsonl"), "-t", "builtin", "--json"]
    )
    assert json.loads(result.stdout)["previews"] == 4


def test_quiet_says_nothing(corpus: Path, tmp_path: Path) -> None:
    assert run("convert", corpus, "-o", tmp_path / "out", "-t", "builtin", "-q") == ""
    assert run("preview", corpus, "-o", tmp_path / "p.jsonl", "-t", "builtin", "-q") == ""


def test_preview(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("nonsense\n")
    said = run(
        "preview",
        corpus,
        "-o",
        tmp_path / "out.txt",
        "--format",
        "jsonl",
        "--mode",
        "virtual",
        "-P",
        "Well. ",
    )
    assert "4 of 5 rows, 4 previews" in said
    assert "1 invalid_json" in said
    assert read_jsonl(tmp_path / "out.txt")[1] == {
        "prompt": "Name a colour. The answer begins with: Well. ",
        "completion": "Well. Blue.",
    }


def test_a_configuration_file_and_options_that_go_before_it(corpus: Path, tmp_path: Path) -> None:
    config = tmp_path / "job.toml"
    config.write_text(
        f'inputs = ["{corpus}"]\noutput = "{tmp_path}/out"\ntokenizer = "builtin"\n'
        'preview-tokens = 3\nmode = "real"\n[template_args]\nx = 1\n'
    )
    run("convert", "--config", config, "-m", 2)
    settings = la.Manifest.load(tmp_path / "out").settings
    assert (settings.preview_tokens, settings.template_args) == (2, {"x": 1})
    run("convert", "--config", tmp_path / "out" / "manifest.json", "-o", tmp_path / "again")
    assert read_rows(tmp_path / "again") == read_rows(tmp_path / "out")
    config.write_text("preview_token = 3\n")
    assert "Did you mean 'preview_tokens'?" in run("convert", corpus, "-o", "x", "--config", config, status=2)
    config.write_text("mode = \n")
    assert "is not valid" in run("convert", corpus, "-o", "x", "--config", config, status=2)


def test_template_arguments(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% if loud is true %}!{% endif %}{% endfor %}"
    )
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    options = ["-t", "builtin", "--mode", "none", "--chat-template", tmp_path / "t.jinja"]
    assert "a![[b]]!" in run("inspect", source, *options, "--template-arg", "loud=true")
    assert "a[[b]]" in run("inspect", source, *options, "--template-arg", "loud=text")
    assert "is no KEY=VALUE" in run("inspect", source, *options, "--template-arg", "loud", status=2)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["convert"], 2, "name the INPUT"),
        (["convert", "{rows}", "-o", "{out}"], 2, "no tokenizer was named"),
        (["convert", "{rows}", "-o", "{out}", "-t", "builtin", "--mode", "best"], 2, "'best' is not one of"),
        (["convert", "{rows}", "-o", "{out}", "-t", "builtin", "--max-line-size", "big"], 2, "is not a size"),
        (["convert", "{rows}", "-o", "{out}", "-t", "nowhere/at/all"], 1, "no such file or folder"),
        (["convert", "gone.jsonl", "-o", "{out}", "-t", "builtin"], 1, "gone.jsonl: there is no such file"),
        (["convert", "{rows}", "-o", "{out}", "-t", "builtin", "--max-length", "3", "--overlength", "error"], 1, "row 1"),
        (["inspect", "{out}"], 1, "no such file"),
    ],
)  # fmt: skip
def test_a_failure_is_told_in_words_and_by_status(
    args: list[str], status: int, words: str, corpus: Path, tmp_path: Path
) -> None:
    places = {"rows": corpus, "out": tmp_path / "out"}
    said = run(*[arg.format(**places) for arg in args], status=status)
    assert words in said
    assert "Traceback" not in said


def test_demo(tmp_path: Path) -> None:
    said = run("demo", tmp_path / "demo")
    assert "300 of 300 rows" in said
    assert "Try next:" in said
    assert len(read_rows(tmp_path / "demo" / "train")) == 300
    assert "complete already" in run("demo", tmp_path / "demo")


def test_every_setting_has_an_option() -> None:
    named: set[str] = set()
    for option in (*SOURCE, *SAFETY, *CURATION, *ARRANGEMENT, *TOKENIZER, *PREVIEW, *MODEL, *RESULT):
        named |= {parameter.name for parameter in option(lambda: None).__click_params__}
    assert named == set(SETTING_NAMES)


def test_help_of_every_command_names_its_defaults() -> None:
    for command in main.commands:
        assert "Options:" in run(command, "--help")
    text = " ".join(run("convert", "--help").split())
    for default in (
        "[default: real]",
        "[default: 6]",
        "[default: char]",
        "[default: supervised]",
        "[default: keep]",
    ):
        assert default in text


def in_a_process(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lookahead_data", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload,no-any-return]


def test_results_go_to_stdout_and_notices_to_stderr(corpus: Path, tmp_path: Path) -> None:
    done = in_a_process("convert", corpus, "-o", tmp_path / "out", "-t", "builtin", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["read"] == 4
    assert "corpus:" in done.stderr


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "completion": f"c{n} " * 20} for n in range(20_000)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    options = ["-t", "builtin", "--unit-size", "100kB", "-q"]
    command = [sys.executable, "-m", "lookahead_data", "convert", source, "-o", tmp_path / "out", *options]
    process = subprocess.Popen([str(part) for part in command])
    receipts = tmp_path / "out" / "_job" / "receipts"
    while process.poll() is None and not (receipts.is_dir() and len(os.listdir(receipts)) >= 2):
        pass
    process.kill()
    process.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert in_a_process("inspect", tmp_path / "out", "-t", "builtin").returncode == 1
    done = in_a_process(*command[3:-1])
    assert "the others are done" in done.stderr
    assert "20,000 of 20,000 rows" in done.stdout
    assert len(read_rows(tmp_path / "out")) == 20_000


def test_sharegpt_of_many_turns_from_a_pipe_of_commands(tmp_path: Path) -> None:
    rows = [{"messages": conversation("a", "the first answer of all", "c", "the second answer of all")}]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    run("preview", source, "-o", tmp_path / "p.jsonl", "-t", "builtin", "--preview-turns", "all", "-m", 2)
    run("convert", tmp_path / "p.jsonl", "-o", tmp_path / "two", "-t", "builtin", "--mode", "none")
    run("convert", source, "-o", tmp_path / "one", "-t", "builtin", "--preview-turns", "all", "-m", 2)
    assert read_rows(tmp_path / "one") == read_rows(tmp_path / "two")
