"""What `convert` makes of rows: labels, previews, lengths, templates, and an account of each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import (
    PAIRS,
    THINK,
    as_chatml,
    conversation,
    convert,
    read_quarantine,
    read_rows,
    supervised_runs,
    texts_of,
    write_jsonl,
)

import lookahead_data as la
from lookahead_data.config import CONNECTOR, PHRASE
from lookahead_data.errors import InputError, SettingsError, TemplateError
from lookahead_data.model.tokenizer import LoadedTokenizer


def test_plain_text_is_supervised_from_its_second_token(tmp_path: Path) -> None:
    convert([{"text": "one two three four"}], tmp_path / "out", mode="none")
    (row,) = read_rows(tmp_path / "out")
    assert row["labels"] == [-100, *row["input_ids"][1:]]


def test_plain_text_has_no_preview(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no prompt to put a preview in"):
        convert([{"text": "one two three four"}], tmp_path / "out")


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
    assert several["previews"] == 2
    last = convert(
        [{"messages": conversation("a", "b", "c", "d")}], tmp_path / "last", preview_turns="last"
    ).totals
    assert last["notes"] == {"answer_without_preview": 1}


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
    with pytest.raises(InputError, match=r"row 2 has .* tokens, and the maximum is 30"):
        convert(rows, tmp_path / "error", mode="none", max_length=30, overlength="error")
    assert not list((tmp_path / "error").rglob("*.parquet"))


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
    assert texts_of(tmp_path / "out", builtin) == ["03 Feb 2026|a|b"]
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
    assert texts_of(tmp_path / "out", builtin) == ["warm|a|b"]


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
    (text,) = texts_of(tmp_path / "out", builtin)
    assert text == as_chatml("I" + CONNECTOR + PHRASE, PHRASE + "O" * 40)


def test_a_row_with_several_short_answers_is_dropped_once(tmp_path: Path) -> None:
    rows = [{"messages": conversation("a", "b", "c", "d")}]
    manifest = convert(rows, tmp_path / "out", preview_turns="all", short_answer="drop")
    assert manifest.totals["quarantined"] == {"short_answer": 1}


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


def test_reasoning_and_what_templates_do_to_answers_are_noted(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(THINK)
    answer = {"role": "assistant", "content": "one two three four five six seven", "reasoning_content": "Hm."}
    rows: list[dict[str, Any]] = [
        {"messages": [*conversation("I"), answer]},
        {"messages": conversation("I", "<think>Hm.</think>one two three four five six seven")},
    ]
    notes = convert(rows, tmp_path / "out", chat_template=str(tmp_path / "t.jinja")).totals["notes"]
    assert notes == {"reasoning_left_out": 2, "empty_reasoning_learned": 2}
