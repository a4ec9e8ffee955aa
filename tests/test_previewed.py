"""The tokens that previews show, told for a whole batch at once, are those told row by row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from helpers import TEMPLATES, conversation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookahead_data.columns import schema
from lookahead_data.config import Settings
from lookahead_data.model.engines import Engines
from lookahead_data.model.load import Model
from lookahead_data.model.template import BUILTIN, ChatTemplate, builtin_template
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.pipeline import build_stages
from lookahead_data.stages.encode import Encode
from lookahead_data.stages.render import Render

SOURCES: dict[str, str | None] = {name: builtin_template(name) for name in BUILTIN} | TEMPLATES
SOURCES["no template"] = None

TEXT = st.one_of(
    st.text(st.sampled_from(list("ab \n\té漢👩\u0301<>/|im_")), min_size=1, max_size=12),
    st.sampled_from(
        ["P", " P a", "Plenty of words to be shown", "<|im_end|>", "<think>\nx</think>y", " padded "]
    ),
)
ROWS = st.lists(
    st.tuples(st.lists(TEXT, min_size=2, max_size=6), st.one_of(st.none(), TEXT)).map(
        lambda pair: conversation(*pair[0], system=pair[1])
    ),
    min_size=1,
    max_size=6,
)
CHOICES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["real", "virtual"]),
        "preview_tokens": st.integers(1, 5),
        "phrase": st.sampled_from(["P", " P ", "Plenty of "]),
        "preview_turns": st.sampled_from(["last", "first", "all"]),
    }
)


def both_ways(
    rows: list[list[dict[str, str]]], tokenizer: LoadedTokenizer, source: str | None, **changes: Any
) -> tuple[list[Any], list[Any]]:
    """The ids and flags of each row, by the batch and one by one."""
    template = None
    if source is not None:
        template = ChatTemplate(source, name="t", variables=tokenizer.named)
        template.probe()
    chosen = Settings(tokenizer="builtin", mask_preview=True, **changes)
    _, preview, render, encode, *_ = build_stages(chosen, Model(Engines(tokenizer), template))
    assert isinstance(render, Render)
    assert isinstance(encode, Encode)
    columns = {"row": list(range(len(rows))), "offset": [None] * len(rows), "messages": rows}
    batch = preview(pa.RecordBatch.from_pydict(columns, schema=schema(columns))).batch
    wanted = ["row", "input_ids", "supervised", "previewed"]
    fast = encode(render(batch).batch).batch.select(wanted).to_pylist()
    render._layout = lambda shape: None  # type: ignore[method-assign]
    slow = render(batch).batch
    one_by_one = encode._encode_rows(slow)
    if len(encode._prefix) or len(encode._suffix):
        one_by_one = encode._framed(one_by_one)
    expected = [
        {
            "row": row,
            "input_ids": one_by_one.ids[low:high].tolist(),
            **{name: flags[low:high].tolist() for name, flags in one_by_one.flags.items()},
        }
        for row, low, high in zip(
            slow.column("row").to_pylist(), one_by_one.offsets[:-1], one_by_one.offsets[1:], strict=True
        )
    ]
    return fast, expected


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, changes=CHOICES)
def test_batches_and_rows_tell_the_same_tokens(
    name: str, rows: list[list[dict[str, str]]], changes: dict[str, Any], builtin: LoadedTokenizer
) -> None:
    fast, expected = both_ways(rows, builtin, SOURCES[name], **changes)
    assert fast == expected


def test_some_are_told_by_the_batch(builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary rows never take the slow way, composed or not."""
    rows = [
        conversation("Why?", "Because it is so, said she."),
        conversation("Où?", "À Genève, où l’été dure."),
    ]
    seen: list[int] = []
    slow = Encode._encode_rows
    monkeypatch.setattr(
        Encode, "_encode_rows", lambda self, batch: seen.append(batch.num_rows) or slow(self, batch)
    )
    fast, expected = both_ways(rows, builtin, SOURCES["chatml"])
    assert fast == expected
    assert seen == [2]  # the oracle alone
    assert [sum(row["previewed"]) for row in fast] == [6, 6]
