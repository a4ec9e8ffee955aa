"""Documents of plain text: how they are rendered, and that each ends with EOS, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import PAIRS, TEXTS, read_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.batches import Sieve
from lookahead_data.columns import schema
from lookahead_data.errors import SettingsError, TokenizerError
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer
from lookahead_data.sink.profiles import documents_of
from lookahead_data.stages.render import Render


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
    (folder / "tokenizer.json").write_bytes(builtin.to_json())
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
