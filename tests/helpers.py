"""What tests share: corpora, tokenizers, templates, and reading back what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import lookahead_data as la
from lookahead_data.assets.train_tokenizer import texts
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.reading.rows import Rows
from lookahead_data.sink.formats import PARQUET
from lookahead_data.sink.profiles import PROFILES

SHARED = Path(__file__).resolve().parents[2] / "shared"

PAIRS = [
    {"prompt": "What is 2 + 3?", "completion": "Two plus three is five, since 2 + 3 = 5."},
    {"prompt": "Name a colour.", "completion": "Blue."},
    {
        "prompt": "Übersetze „cheese“ ins Deutsche.",
        "completion": "„Käse“ heißt das auf Deutsch, in der Schweiz auch.",
    },
    {"prompt": "Write emoji.", "completion": "👩‍👩‍👧‍👦 is a family of four, and 🎉 is a party."},
]

TEXTS = ["One.", "Two and three.", "Ein Käse, „gereift“ 🎉", "for n in range(10):\n    print(n)\n" * 4, "x"]

READ = [name for name, profile in PROFILES.items() if profile.format == PARQUET]
"""Profiles whose folders are read back."""

Document = tuple[list[int], list[int]]
"""Ids and labels."""


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The training rows of an output folder, as a trainer would see them."""
    return ds.dataset(folder / "data", format="parquet").to_table().to_pylist()


def read_quarantine(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "quarantine").glob("*.jsonl")) if (folder / "quarantine").exists() else []
    return [row for file in files for row in read_jsonl(file)]


def convert(inputs: Any, out: Path, **changes: Any) -> la.Manifest:
    """Convert with the built-in tokenizer."""
    return la.convert(inputs, out, **({"tokenizer": "builtin"} | changes))


def convert_verified(source: Any, out: Path, **changes: Any) -> la.Manifest:
    """Convert with the built-in tokenizer, and hold the folder against its account, every row converted again."""
    paths = [str(path) for path in source] if isinstance(source, list) else str(source)
    manifest = la.convert(
        paths, out, **{"tokenizer": "builtin", "workers": 1, "unit_size": 20_000, **changes}
    )
    checked = la.verify(out, deep=10**9, trust_code=changes.get("safety_function") is not None)
    assert checked.ok, checked.problems
    assert checked.compared == manifest.totals["written"]
    totals = manifest.totals
    gone = sum(totals["filtered"].values()) + sum(totals["quarantined"].values())
    assert totals["read"] + totals["repeated"] == totals["written"] + gone
    return manifest


def texts_of(out: Path, tokenizer: LoadedTokenizer) -> list[str]:
    """What the training rows of an output folder say."""
    return [tokenizer.decode(row["input_ids"]) for row in read_rows(out)]


def digests(out: Path) -> dict[str, str]:
    """The SHA-256 of each Parquet file below a folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.parquet"))
    }


def as_chatml(prompt: str, completion: str, system: str = "") -> str:
    """The text of a row, as the built-in template has it."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{head}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{completion}<|im_end|>\n"


def in_all_profiles(home: Path, count: int, repeats: int, unit_size: int) -> Path:
    """One corpus in all profiles that are read back, each in a folder of its name.

    Args:
        count: of rows, beside `PAIRS`.
        repeats: how many times over the longest answer says it.
    """
    rows = [{"prompt": f"say {n}", "completion": f"it is {n} " * (n % repeats + 1)} for n in range(count)]
    corpus = write_jsonl(home / "rows.jsonl", [*PAIRS, *rows])
    for profile in READ:
        pack = {"pack": 60} if PROFILES[profile].packed else {}
        convert(corpus, home / profile, profile=profile, unit_size=unit_size, **pack)
    return home


def rows_in(batch: Rows) -> list[Document]:
    """Ids and labels of each row of a batch of the reader."""
    cuts = pairwise(batch.bounds.tolist())
    return [(batch.ids[a:b].tolist(), batch.labels[a:b].tolist()) for a, b in cuts]


def conversation(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """User and assistant in turns, maybe after a system message."""
    head = [{"role": "system", "content": system}] if system is not None else []
    return head + [
        {"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(contents)
    ]


def obvious_blocks(documents: list[Document], capacity: int, limit: int | None) -> list[list[Document]]:
    """Token by token: the blocks, each with the pieces of documents in it."""
    blocks: list[list[Document]] = []
    room = 0
    for ids, labels in documents:
        for at, (token, label) in enumerate(zip(ids, labels, strict=True)):
            if not room:
                blocks.append([])
                room = capacity
            if not at or room == capacity or (limit and at % limit == 0):
                blocks[-1].append(([], []))
            piece = blocks[-1][-1]
            piece[1].append(label if piece[0] else -100)
            piece[0].append(token)
            room -= 1
    return blocks


def supervised_runs(ids: Sequence[int], labels: Sequence[int]) -> list[tuple[int, int]]:
    """Where the labels are not −100, as ranges of token places."""
    runs: list[tuple[int, int]] = []
    for at, label in enumerate(labels):
        if label == -100:
            continue
        assert label == ids[at]
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


INST = """{%- for message in messages -%}
{%- if message.role == 'user' -%}{{ (bos_token or '') + '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' -%}{{ ' ' + message.content + ' ' + eos_token }}
{%- else -%}{{ raise_exception('Only user and assistant roles are supported!') }}{%- endif -%}
{%- endfor -%}"""
"""Llama 2's way: the answer follows its prompt with a space, and there is no generation prompt."""

THINK = """{%- for message in messages %}
{%- set text = message.content %}
{%- if message.role == 'assistant' and '</think>' in text %}{% set text = text.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{%- if message.role == 'assistant' and loop.last %}
{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + text + '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + text + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""Qwen 3's way: an empty think block in the last answer alone, and earlier reasoning dropped."""

PREFILLED = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
"""DeepSeek's way: the generation prompt opens a think block that the message may or may not have."""

GENERATION = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{- message.content + '<|im_end|>\\n' }}{% endgeneration %}
{%- else %}{{- message.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""A training template that marks what the model is to produce."""

PARTS = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""A multimodal template, which prints nothing for plain text."""

TEMPLATES = {"inst": INST, "think": THINK, "prefilled": PREFILLED, "generation": GENERATION, "parts": PARTS}

_MARKS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<start_of_turn>")
_MARKS_LLAMA3 = ("<|start_header_id|>", "<|end_header_id|>")


def save_tokenizer(tokenizer: Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _special(*first: str) -> list[AddedToken]:
    return [AddedToken(text, special=True, normalized=False) for text in (*first, *_MARKS, *_MARKS_LLAMA3)]


def make_llama_like(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = _special("<unk>", "<s>", "</s>")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    # Training sees words alone, without line ends, so that these stay bytes, as with Llama.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=special, show_progress=False, limit_alphabet=90
    )
    tokenizer.train_from_iterator((line for text in texts() for line in text.split("\n")), trainer)
    document = json.loads(tokenizer.to_str())
    vocab = document["model"]["vocab"]
    for byte in bytes_:
        vocab.setdefault(byte, len(vocab))
    document["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return save_tokenizer(tokenizer, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def make_metaspace_first(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = _special("<unk>", "<s>", "</s>")
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=special, show_progress=False, limit_alphabet=90
    )
    tokenizer.train_from_iterator((line for text in texts() for line in text.split("\n")), trainer)
    document = json.loads(tokenizer.to_str())
    vocab = document["model"]["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair=None,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return save_tokenizer(tokenizer, folder, bos_token="<s>", eos_token="</s>")


def make_wordpiece(folder: Path) -> Path:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=2000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=ids
    )
    return save_tokenizer(tokenizer, folder)
