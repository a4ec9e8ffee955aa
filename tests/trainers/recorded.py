"""What the scripts of this folder share: settings that are run as printed, and batches as the model gets them."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM


def save_model(tokenizer: str, folder: Path) -> None:
    """A small model of random weights, with its tokenizer, as `from_pretrained` loads it."""
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3Config(
        vocab_size=len(loaded),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=4096,
        initializer_range=0.2,  # so that what a token sees matters to the loss
        pad_token_id=loaded.pad_token_id,
        bos_token_id=None,
        eos_token_id=loaded.eos_token_id,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    loaded.save_pretrained(folder)


class Recorder:
    """Records the batches that a model is given, and the sum of its loss over all supervised tokens.

    Attributes:
        documents: ids and labels of each, in the order of their coming.
        loss: the sum, in nats.
        tokens: how many there were.
        columns: the arguments that the model was called with.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.documents: list[tuple[list[int], list[int]]] = []
        self.loss = 0.0
        self.tokens = 0
        self.columns: set[str] = set()
        model.register_forward_hook(self._record, with_kwargs=True)

    def _record(self, model: Any, args: Any, given: dict[str, Any], output: Any) -> None:
        assert not args
        self.columns |= {name for name, value in given.items() if value is not None}
        labels = given["labels"]
        for row in range(len(labels)):
            self._take(given, row)
        if getattr(output, "log_probs", None) is not None:  # TRL's own head
            self.loss -= output.log_probs.sum().item()
        else:
            logits = output.logits[:, :-1].flatten(0, 1)
            self.loss += torch.nn.functional.cross_entropy(
                logits, labels[:, 1:].flatten(), reduction="sum"
            ).item()
        self.tokens += int((labels[:, 1:] != -100).sum())

    def _take(self, given: dict[str, Any], row: int) -> None:
        ids, labels = given["input_ids"][row].tolist(), given["labels"][row].tolist()
        mask, positions = given.get("attention_mask"), given.get("position_ids")
        if mask is not None:
            kept = int(mask[row].sum())
            assert mask[row, :kept].all(), "padding stands before tokens"
            assert set(labels[kept:]) <= {-100}, "padding is learned"
            ids, labels = ids[:kept], labels[:kept]
        starts = (
            [at for at, place in enumerate(positions[row].tolist()) if place == 0]
            if positions is not None
            else [0]
        )
        ends = [*starts[1:], len(ids)]
        self.documents += [(ids[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True)]


def run_settings(text: str, changes: dict[str, str], defaults: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Run Python settings as they are printed, and give the names that they define.

    Args:
        changes: texts to replace, each of which must be there.
        defaults: further arguments of classes, by `module.Class`; what the settings say goes before them.
    """
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    space: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for name, more in defaults.items():
            module, _, kind = name.rpartition(".")
            real = getattr(importlib.import_module(module), kind)
            stack.enter_context(patch(name, functools.partial(_with, real, more)))
        exec(compile(text, "settings", "exec"), space)
    return space


def _with(real: Callable[..., Any], more: dict[str, Any], *args: Any, **given: Any) -> Any:
    return real(*args, **{**more, **given})
