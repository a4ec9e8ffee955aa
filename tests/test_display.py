"""What is shown: no terminal escapes, no credentials, rows counted from one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import write_jsonl

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.display import mask_credentials, printable, printable_json
from lookahead_data.errors import InputError, TemplateError
from lookahead_data.model.template import find_template

EVIL = "red \x1b[31m, title \x1b]0;x\x07, C1 \x9b2J, over\rwritten, reversed \u202eabc, gone \x7f"


def test_control_characters_become_escapes_and_other_text_stays() -> None:
    assert printable("\x1b[2J\x9b\x07\r\u202e") == r"\x1b[2J\x9b\x07\x0d\u202e"
    assert printable("two\nlines,\ttab, Käse 🎉 \u2028") == "two\nlines,\ttab, Käse 🎉 \u2028"
    assert printable(os.fsdecode(b"caf\xe9.jsonl")) == r"caf\xe9.jsonl"


def test_json_stays_the_same_json() -> None:
    text = json.dumps({"a": EVIL}, ensure_ascii=False)
    assert json.loads(printable_json(text)) == {"a": EVIL}
    assert printable_json(text) == printable(printable_json(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@host/x.jsonl", "https://***@host/x.jsonl"),
        ("see s3://KEY:S/ecret@b/x?", "see s3://KEY:S/ecret@b/x?"),
        ("https://h/x?a=1&X-Amz-Signature=abc&b=2", "https://h/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://h/x?access_token=abc#f", "https://h/x?access_token=***#f"),
        ("https://h/x?sig=a%2Fb 'y'", "https://h/x?sig=*** 'y'"),
        ("token hf_abcdefghijklmnopqrstuv", "token hf_***"),
        ("mail me@example.org, a file hf_notes.txt", "mail me@example.org, a file hf_notes.txt"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    assert mask_credentials(text) == shown


def test_no_error_holds_credentials() -> None:
    error = InputError("cannot read https://a:b@h", where="https://a:b@h/x", remedy="Try https://a:b@h/y.")
    told = str(error) + repr(error.args) + str(error.problem)
    assert "a:b" not in told
    assert told.count("***@h") == 5


def test_inspect_shows_escapes_of_the_corpus_as_text(tmp_path: Path) -> None:
    rows = write_jsonl(
        tmp_path / "rows.jsonl",
        [{"prompt": EVIL, "completion": f"Fine. {EVIL}"}, {"prompt": "x", "completion": ""}],
    )
    shown = CliRunner().invoke(main, ["inspect", str(rows), "-t", "builtin"])
    assert shown.exit_code == 0, shown.output
    assert r"\x1b[31m" in shown.output
    assert shown.output == printable(shown.output)
    assert "row 1:" in shown.output
    assert "row 2 would be left out: empty_answer" in shown.output
    as_json = CliRunner().invoke(main, ["inspect", str(rows), "-t", "builtin", "--json", "-n", "1"])
    assert as_json.stdout == printable(as_json.stdout)
    assert "Fine. red \x1b[31m" in "".join(run["text"] for run in json.loads(as_json.stdout)[0]["runs"])


def test_a_name_with_escapes_or_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    """Brackets in a message are no markup: of `[red]` nothing would be seen."""
    empty = tmp_path / "[red]\x1b[2J.jsonl"
    empty.write_text("")
    good = write_jsonl(tmp_path / "good.jsonl", [{"prompt": "a", "completion": "b c d"}])
    arguments = ["convert", str(good), str(empty), "-o", str(tmp_path / "out"), "-t", "builtin"]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert r"[red]\x1b[2J.jsonl holds no rows" in told.output
    assert "\x1b" not in told.output


def test_messages_count_rows_from_one_and_columns_from_zero(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}] * 2
    verdicts = la.curate(rows, dedup="conversation").verdicts.to_pylist()
    assert [(verdict["row"], verdict["message"]) for verdict in verdicts] == [
        (2, "repeats row 1 of <memory>"),
        (3, "repeats row 2 of <memory>"),
    ]


def test_a_template_is_a_regular_file(tmp_path: Path) -> None:
    fifo, linked = tmp_path / "fifo.jinja", tmp_path / "zero.jinja"
    os.mkfifo(fifo)
    linked.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        for path in (fifo, linked, tmp_path / "s", tmp_path):
            with pytest.raises(TemplateError, match="not a regular file"):
                find_template(str(path), None, "t")
