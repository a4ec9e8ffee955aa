"""Previews put into lines by the block are those that are put into rows one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_alike import ALIKE
from test_blocks import LINE, SHAPES

from lookahead_data.config import Settings
from lookahead_data.model.engines import TokenizersEngine
from lookahead_data.model.heads import HeadFinder
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.rewrite.lines import LineRewriter
from lookahead_data.rewrite.report import PreviewReport
from lookahead_data.rewrite.rows import Rewriter
from lookahead_data.source import alike
from lookahead_data.source.blocks import Block
from lookahead_data.source.conversations import Shape
from lookahead_data.source.discover import describe
from lookahead_data.source.readers import jsonl
from lookahead_data.source.records import Split

TEXT = st.text(st.sampled_from('ab "\\\\/\\n\\t\\x07é漢👩{[:,'), min_size=1, max_size=40)
ROW = st.fixed_dictionaries(
    {"prompt": TEXT, "completion": TEXT, "instruction": TEXT, "output": TEXT},
    optional={"input": st.one_of(st.none(), TEXT, st.just("")), "id": st.integers(), "tags": st.lists(TEXT)},
)
GOOD = st.builds(
    lambda row, ascii_only, space: json.dumps(
        row, ensure_ascii=ascii_only, separators=(",", ":") if space else None
    ).encode(),
    ROW,
    st.booleans(),
    st.booleans(),
)


def both_ways(
    lines: list[bytes], shape: Shape, chosen: Settings, tokenizer: LoadedTokenizer, folder: Path
) -> tuple[Any, Any]:
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    file = describe(str(path))
    heads = HeadFinder(chosen, tokenizer, TokenizersEngine(tokenizer))
    block = Block(path.read_bytes(), 0, 0)
    data, quick = LineRewriter(chosen, shape, heads).rewrite(block, file)
    slow = PreviewReport()
    records = jsonl.read(file, Split(0, file.size, 0, file.size), max_line_size=chosen.max_line_size)
    rows = Rewriter(chosen, shape, heads).rewrite(list(records), file, slow)

    def told(report: PreviewReport) -> Any:
        return report.to_dict(), sorted((r.row, r.reason, r.message, r.excerpt) for _, r in report.rejects)

    found = [json.loads(line) for line in data.split(b"\n")[:-1]]
    return (found, told(quick)), ([row for _, row in rows], told(slow))


@pytest.mark.parametrize("shape", SHAPES[:4], ids=lambda shape: shape.kind)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.one_of(GOOD, LINE), max_size=8)
    | st.lists(ALIKE, max_size=3).map(lambda groups: [line for lines in groups for line in lines]),
    fewest=st.sampled_from([1, 8]),
    mode=st.sampled_from(["real", "virtual"]),
    short_answer=st.sampled_from(["keep", "skip", "drop"]),
    turns=st.sampled_from(["last", "first", "all"]),
    words=st.sampled_from([" The answer begins with: ", '"\\\n', "→"]),
)
def test_lines_are_rewritten_as_their_rows_are(
    shape: Shape,
    lines: list[bytes],
    mode: str,
    short_answer: str,
    words: str,
    fewest: int,
    turns: str,
    builtin: LoadedTokenizer,
    tmp_path: Path,
) -> None:
    chosen = Settings(
        mode=mode,
        short_answer=short_answer,
        connector=words,
        phrase=words,
        preview_tokens=3,
        preview_turns=turns,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "FEWEST", fewest)
        found, expected = both_ways(lines, shape, chosen, builtin, tmp_path)
    assert found == expected


def test_all_other_bytes_stay(builtin: LoadedTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    line = b'{ "n": 1.50, "completion" :"It is \\u0034.",\t"prompt":"2 + \\u0032?" , "x": [1e2]}'
    path.write_bytes(line + b"\r\n" + line)
    heads = HeadFinder(Settings(preview_tokens=1), builtin, TokenizersEngine(builtin))
    rewriter = LineRewriter(Settings(preview_tokens=1), SHAPES[0], heads)
    data, report = rewriter.rewrite(Block(path.read_bytes(), 0, 0), describe(str(path)))
    changed = line.replace(b"2?", b"2? The answer begins with: It") + b"\n"
    assert data == changed * 2
    assert (report.read, report.previews, report.previewed_tokens) == (2, 2, 2)


def test_a_conversation_whose_last_answer_refuses_gets_no_preview_by_the_block(
    builtin: LoadedTokenizer, tmp_path: Path
) -> None:
    talks = [conversation("a", "Sure.", "b", last) for last in ("I cannot help with that.", "Gladly.")]
    lines = [json.dumps({"messages": talk}).encode() for talk in talks * 20]
    for turns in ("first", "last", "all"):
        chosen = Settings(preview_tokens=1, preview_turns=turns)
        found, expected = both_ways(lines, SHAPES[2], chosen, builtin, tmp_path)
        assert found == expected
