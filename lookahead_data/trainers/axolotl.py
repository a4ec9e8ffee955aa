"""Axolotl (as of 0.21).

It takes a dataset with `input_ids`, `attention_mask` and `labels` for tokenized, and packs by itself.
"""

from __future__ import annotations

from lookahead_data.trainers.trainer import VALIDATION, Contents, Trainer, quoted

MULTIPLE = 64
"""Lengths are rounded up to such, which suits the hardware."""


def _settings(contents: Contents) -> str:
    kind = "" if contents.profile == "llama-factory" else "    ds_type: parquet\n"
    evaluated = ""
    if contents.evaluates:
        evaluated = (
            f"test_datasets:\n  - path: {quoted(contents.folder)}\n{kind}    split: {VALIDATION}\n"
            "eval_strategy: epoch\n"
        )
    return f"""base_model: {quoted(contents.model)}
datasets:
  - path: {quoted(contents.folder)}
{kind}    split: train
{evaluated}sequence_len: {rounded_up(contents.longest, MULTIPLE)}
excess_length_strategy: raise
sample_packing: true
attn_implementation: flash_attention_2
"""


def rounded_up(tokens: int, multiple: int) -> int:
    """The next multiple."""
    return -(-tokens // multiple) * multiple


def _pitfalls(contents: Contents) -> list[str]:
    return [
        "No `type:` under `datasets`: the three columns tell that the rows are tokenized.",
        "Exactly these columns: any other breaks sample packing.",
        f"sequence_len is what a packed row takes, and the longest row has {contents.longest:,} tokens: a larger one "
        "packs better. Longer rows are dropped without excess_length_strategy: raise.",
        "Axolotl keeps a prepared copy (dataset_prepared_path), which it knows by the path and not by what is in "
        "it: remove that after converting to the same folder again.",
        "train_on_inputs, chat_template and roles_to_train have no say: the labels are in the rows.",
    ]


TRAINER = Trainer(
    title="Axolotl",
    reads=("sft", "llama-factory"),
    refuses={
        "packed-trl": "has no attention_mask, and Axolotl packs by itself",
        "packed-hf": "has no attention_mask, and Axolotl packs by itself",
        "packed-megatron": "has no labels, and Axolotl packs by itself",
    },
    language="yaml",
    settings=_settings,
    pitfalls=_pitfalls,
)
