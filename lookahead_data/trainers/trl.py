"""TRL's SFTTrainer (as of 1.16).

It takes a dataset with `input_ids` for tokenized, and `labels` as they are. It drops all columns but
these and `seq_lengths`.
"""

from __future__ import annotations

from lookahead_data.trainers.datasets import evaluation, loader, loading, strategy
from lookahead_data.trainers.trainer import Contents, Trainer, quoted

DEFAULT_MAX_LENGTH = 1024
"""TRL's own, at which it cuts rows."""


def _settings(contents: Contents) -> str:
    packed = """        padding_free=True,  # without it the documents of a row see each other
        model_init_kwargs={"attn_implementation": "flash_attention_2"},
"""
    return f"""from datasets import {loader(contents)}
from trl import SFTConfig, SFTTrainer

trainer = SFTTrainer(
    model={quoted(contents.model)},
    args=SFTConfig(
        output_dir="trained",
        max_length=None,  # TRL's default of {DEFAULT_MAX_LENGTH:,} cuts rows; the longest has {contents.longest:,} tokens
        packing=False,
{strategy(contents)}{packed if contents.packed else ""}    ),
    train_dataset={loading(contents)},
{evaluation(contents)})
trainer.train()
"""


def _pitfalls(contents: Contents) -> list[str]:
    cut = contents.longer_than(DEFAULT_MAX_LENGTH)
    if contents.packed:
        return [
            f"max_length=None: with its default of {DEFAULT_MAX_LENGTH:,} TRL refuses padding_free rows.",
            "padding_free=True: only then does it read seq_lengths, by which the documents of a row are kept apart.",
            "packing=False: the rows are packed. packing=True would pack them again and lose the boundaries.",
            "FlashAttention keeps documents apart at no cost. With sdpa and eager transformers does so too (since "
            "4.53), with a mask as large as the batch's tokens squared; other attention functions do not.",
            "A batch of several rows is put one after the other into one, so that a step takes "
            f"per_device_train_batch_size times up to {contents.row_tokens:,} tokens.",
        ]
    return [
        f"max_length=None: its default of {DEFAULT_MAX_LENGTH:,} cuts rows without a word"
        + (f", {cut:,} of these." if cut else ", though none of these is so long."),
        "packing=False: TRL would pack by itself, and its strategies cut or leave out what does not fit. "
        "For packed rows convert with --pack, and check again.",
        "labels are taken as they are; completion_only_loss and assistant_only_loss have no say, and the latter "
        "is refused.",
    ]


TRAINER = Trainer(
    title="TRL's SFTTrainer",
    reads=("sft", "packed-trl", "llama-factory"),
    refuses={
        "packed-hf": "tells its documents by position_ids, a column that TRL drops: they would see each other",
        "packed-megatron": "has no labels, and TRL would learn every token",
    },
    language="python",
    settings=_settings,
    pitfalls=_pitfalls,
)
