"""Real-world inputs about tokenizers, templates and special tokens, each with what its user expects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import read_rows

import lookahead_data as la
from lookahead_data.cli import main
from lookahead_data.errors import TemplateError
from lookahead_data.model.tokenizer import load_tokenizer


@pytest.fixture
def wild(shared: Path) -> Path:
    if not (shared / "wild").is_dir():
        pytest.skip("../shared/wild is not there")
    return shared / "wild"


def config_of(shared: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (shared / "tokenizers" / "qwen3" / "tokenizer_config.json").read_text()
    )
    return loaded


def qwen_like(shared: Path, folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    shutil.copy(shared / "tokenizers" / "qwen3" / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def converted(
    wild: Path, case: str, tokenizer: Path, out: Path, **changes: Any
) -> tuple[la.Manifest, list[str]]:
    done = la.convert(wild / case / "in.jsonl", out, tokenizer=str(tokenizer), workers=1, **changes)
    return done, [load_tokenizer(str(tokenizer)).decode(row["input_ids"]) for row in read_rows(out)]


def test_text_that_was_rendered_before(wild: Path, shared: Path, tmp_path: Path) -> None:
    folder = shared / "tokenizers" / "qwen3"
    case = "41-prerendered-text-qwen"
    done, _ = converted(wild, case, folder, tmp_path / "text", mode="none")
    assert done.totals["notes"]["special_tokens_as_text"] == done.totals["read"]
    done, _ = converted(wild, case, folder, tmp_path / "allow", mode="none", special_tokens="allow")
    assert "special_tokens_as_text" not in done.totals["notes"]
    mark = load_tokenizer(str(folder)).token_id("<|im_start|>")
    assert all(mark in row["input_ids"] for row in read_rows(tmp_path / "allow"))
    shown = CliRunner().invoke(
        main,
        [
            "convert",
            str(wild / case / "in.jsonl"),
            "-o",
            str(tmp_path / "o"),
            "-t",
            str(folder),
            "--mode",
            "none",
        ],
    )
    assert "--special-tokens allow" in shown.output


def test_answers_that_hold_the_end_token_as_text(wild: Path, shared: Path, tmp_path: Path) -> None:
    done, _ = converted(wild, "43-answer-holds-eos-text", shared / "tokenizers" / "qwen3", tmp_path / "out")
    assert done.totals["notes"]["answer_ends_with_special_token"] == 2


def test_several_named_templates(wild: Path, shared: Path, tmp_path: Path) -> None:
    config = config_of(shared)
    own = config["chat_template"]
    config["chat_template"] = [{"name": "default", "template": own}, {"name": "rag", "template": "{{ 1 }}"}]
    case = "44-named-templates-list"
    _, named = converted(wild, case, qwen_like(shared, tmp_path / "t", config), tmp_path / "named")
    _, plain = converted(wild, case, shared / "tokenizers" / "qwen3", tmp_path / "plain")
    assert named == plain


def test_the_template_of_a_processor(wild: Path, shared: Path, tmp_path: Path) -> None:
    config = config_of(shared)
    folder = qwen_like(shared, tmp_path / "t", {**config, "chat_template": None})
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": config["chat_template"]}))
    case = "46-chat_template-json-file"
    _, read = converted(wild, case, folder, tmp_path / "read")
    _, plain = converted(wild, case, shared / "tokenizers" / "qwen3", tmp_path / "plain")
    assert read == plain


def test_a_base_model_without_a_template(wild: Path, shared: Path, tmp_path: Path) -> None:
    folder = qwen_like(shared, tmp_path / "t", {**config_of(shared), "chat_template": None})
    with pytest.raises(TemplateError, match="--chat-template"):
        converted(wild, "48-base-without-template", folder, tmp_path / "out")


def test_a_token_that_only_the_configuration_has(wild: Path, shared: Path, tmp_path: Path) -> None:
    config = config_of(shared)
    config["added_tokens_decoder"]["151669"] = {
        "content": "<|mytag|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
        "special": True,
    }  # fmt: skip
    folder = qwen_like(shared, tmp_path / "t", config)
    converted(wild, "50-added-token-only-in-config", folder, tmp_path / "out", special_tokens="allow")
    assert read_rows(tmp_path / "out")[0]["input_ids"].count(151669) == 1
