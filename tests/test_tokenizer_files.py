"""Where tokenizers and their templates come from: paths, the Hub, named templates, the configuration."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from helpers import PAIRS, read_rows

import lookahead_data as la
from lookahead_data.errors import SettingsError, TemplateError, TokenizerError
from lookahead_data.model.files import is_path
from lookahead_data.model.tokenizer import LoadedTokenizer, load_tokenizer

MODELS = [
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "Qwen/Qwen3.5-35B-A3B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistralai/Mixtral-8x7B-v0.1",
    "google/gemma-3-1b-it",
    "google/gemma-2-2b",
    "microsoft/Phi-3.5-mini-instruct",
    "microsoft/phi-4",
    "deepseek-ai/DeepSeek-V3.1",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "openai/gpt-oss-20b",
    "openai-community/gpt2",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "zai-org/GLM-4.5-Air",
    "gpt2",
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
]


@pytest.fixture
def hub(tmp_path: Path, builtin: LoadedTokenizer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What the Hub was asked for: names and revisions. It has every model but `no/model`."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "tokenizer.json").write_bytes(builtin.to_json())
    asked: list[tuple[Any, Any]] = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "tokenizer.json" in allow_patterns
        asked.append((name, revision))
        if name == "no/model-1.5":
            raise OSError("404 not found\nsecond line")
        return str(snapshot)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download)
    )
    return asked


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "refs/pr/12", "0a1b2c3"])
def test_names_of_models_are_asked_of_the_hub(revision: str | None, hub: list[tuple[Any, Any]]) -> None:
    for name in MODELS:
        load_tokenizer(f"{name}@{revision}" if revision else name)
    assert hub == [(name, revision) for name in MODELS]


@pytest.mark.parametrize(
    "name",
    ["./Qwen3-0.6B", "/models/Qwen3-0.6B", "~/model", "../x/y", "models/tokenizer.json", "tokenizer.json",
     "a/b/c", "a\\b", "", "x/model.gguf", "x y/z", "sentencepiece.model", "a/t.jinja"],
)  # fmt: skip
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name: str, hub: list[tuple[Any, Any]]) -> None:
    assert is_path(name)
    with pytest.raises(TokenizerError):
        load_tokenizer(name)
    assert hub == []


def test_a_folder_called_like_a_model_goes_before_the_hub(
    hub: list[tuple[Any, Any]], builtin: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model-1.5").mkdir(parents=True)
    (tmp_path / "org" / "model-1.5" / "tokenizer.json").write_bytes(builtin.to_json())
    monkeypatch.chdir(tmp_path)
    load_tokenizer("org/model-1.5")
    assert hub == []


def test_a_name_that_neither_has_says_what_was_tried(hub: list[tuple[Any, Any]]) -> None:
    with pytest.raises(
        TokenizerError, match="no such file or folder, and the Hub did not give it: 404"
    ) as caught:
        load_tokenizer("no/model-1.5")
    assert "second line" not in str(caught.value)
    assert hub == [("no/model-1.5", None)]


def folder_with(path: Path, builtin: LoadedTokenizer, **config: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "tokenizer.json").write_bytes(builtin.to_json())
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", **config}))
    return path


def one(name: str) -> str:
    return "{% for m in messages %}" + name + "{{ m.content }}<|im_end|>{% endfor %}"


def convert(folder: Path, out: Path, **changes: Any) -> str:
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    la.convert(rows, out, tokenizer=str(folder), mode="none", workers=1, **changes)
    return load_tokenizer(str(folder)).decode(read_rows(out)[0]["input_ids"])


def test_templates_by_name(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    several = [{"name": name, "template": one(name[0].upper())} for name in ("default", "rag", "tool_use")]
    folder = folder_with(tmp_path / "t", builtin, chat_template=several)
    assert convert(folder, tmp_path / "1") == "Dq<|im_end|>Da<|im_end|>"
    assert convert(folder, tmp_path / "2", template_name="rag") == "Rq<|im_end|>Ra<|im_end|>"
    with pytest.raises(SettingsError, match="no chat template 'rga'") as caught:
        convert(folder, tmp_path / "3", template_name="rga")
    assert "default, rag, tool_use" in str(caught.value)
    with pytest.raises(SettingsError, match="--chat-template is chatml"):
        convert(folder, tmp_path / "3", template_name="rag", chat_template="chatml")
    folder = folder_with(tmp_path / "t", builtin, chat_template=several[1:])
    with pytest.raises(TemplateError, match="none called 'default': rag, tool_use") as without:
        convert(folder, tmp_path / "4")
    assert "--template-name" in str(without.value)
    assert convert(folder, tmp_path / "5", template_name="tool_use").startswith("Tq")
    assert convert(folder, tmp_path / "6", chat_template="chatml").startswith("<|im_start|>")


def test_templates_in_files_of_their_own(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    folder = folder_with(tmp_path / "t", builtin)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": one("P")}))
    digests = [load_tokenizer(str(folder)).sha256]
    assert convert(folder, tmp_path / "1").startswith("Pq")
    folder_with(folder, builtin, chat_template=one("C"))
    assert convert(folder, tmp_path / "2").startswith("Cq")
    (folder / "chat_template.jinja").write_text(one("J"))
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text(one("R"))
    assert convert(folder, tmp_path / "3").startswith("Jq")
    assert convert(folder, tmp_path / "4", template_name="rag").startswith("Rq")
    digests.append(load_tokenizer(str(folder)).sha256)
    (folder / "additional_chat_templates" / "rag.jinja").write_text(one("r"))
    digests.append(load_tokenizer(str(folder)).sha256)
    assert len(set(digests)) == 3
    (folder / "chat_template.json").write_text("[")
    with pytest.raises(TokenizerError, match=r"chat_template\.json is not valid JSON"):
        load_tokenizer(str(folder))


def test_a_base_model_says_that_it_has_no_template(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    with pytest.raises(TemplateError, match="no chat template, and a conversation needs one") as caught:
        convert(folder_with(tmp_path / "t", builtin), tmp_path / "out")
    assert "--chat-template" in str(caught.value)


def token(content: str, **flags: bool) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True, **flags}  # fmt: skip


def test_tokens_that_only_the_configuration_has_are_added(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    size = builtin.vocab_size
    decoder = {str(size): token("<|mytag|>"), str(size + 1): token("<tag>", special=False)}
    folder = folder_with(tmp_path / "t", builtin, added_tokens_decoder=decoder, pad_token="<pad>")
    loaded = load_tokenizer(str(folder))
    ids = loaded.encode_ids(["a<|mytag|><tag><pad>"], special=True)[0]
    assert ids[1:] == [size, size + 1, size + 2]
    assert "<|mytag|>" in loaded.guarded and "<tag>" not in loaded.guarded
    assert any("'<|mytag|>' (4096)" in warning for warning in loaded.warnings)
    assert LoadedTokenizer.to_json(loaded) != builtin.to_json()
    # What reads the file alone, such as another engine, has them too.
    (tmp_path / "again.json").write_bytes(loaded.to_json())
    again = load_tokenizer(str(tmp_path / "again.json"))
    assert again.encode_ids(["a<|mytag|><tag><pad>"], special=True)[0] == ids


def test_an_id_that_the_configuration_gets_wrong_is_told(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    decoder = {"9999": token("<|mytag|>")}
    loaded = load_tokenizer(str(folder_with(tmp_path / "t", builtin, added_tokens_decoder=decoder)))
    assert any("has the id 9999; here, as in transformers, it has 4096" in text for text in loaded.warnings)


def test_tokens_are_added_as_transformers_adds_them(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    size = builtin.vocab_size
    decoder = {str(size): token("<|mytag|>"), str(size + 1): token("<tag>", special=False)}
    folder = folder_with(
        tmp_path / "t", builtin, added_tokens_decoder=decoder, pad_token="<pad>",
        additional_special_tokens=["<more>"], tokenizer_class="PreTrainedTokenizerFast",
    )  # fmt: skip
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    text = "a<|mytag|> <tag><pad>b<more>"
    assert load_tokenizer(str(folder)).encode_ids([text], special=True)[0] == theirs.encode(text)


def test_deeply_nested_files_are_an_error(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    for name in ("tokenizer_config.json", "special_tokens_map.json", "chat_template.json", "tokenizer.json"):
        folder = folder_with(tmp_path / name, builtin)
        (folder / name).write_text(f'{{"a": {deep}}}')
        with pytest.raises(TokenizerError, match=r"nested too deeply|cannot be loaded"):
            load_tokenizer(str(folder))


def test_the_command_takes_a_template_by_name(tmp_path: Path, builtin: LoadedTokenizer) -> None:
    from click.testing import CliRunner

    from lookahead_data.cli import main

    several = [{"name": name, "template": one(name[0].upper())} for name in ("rag", "tool_use")]
    folder = folder_with(tmp_path / "t", builtin, chat_template=several)
    corpus = tmp_path / "in.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    arguments = [
        "convert",
        str(corpus),
        "-o",
        str(tmp_path / "out"),
        "-t",
        str(folder),
        "--template-name",
        "rag",
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert la.verify(tmp_path / "out", deep=10).ok
    shutil.rmtree(tmp_path / "out")
    done = CliRunner().invoke(main, arguments[:-2])
    assert done.exit_code == 1 and "rag, tool_use" in done.output
