"""LLaMA-Factory (as of 0.9.5): it takes a `tokenized_path` that `datasets.load_from_disk` reads."""

from __future__ import annotations

from lookahead_data.trainers.axolotl import MULTIPLE, rounded_up
from lookahead_data.trainers.trainer import Contents, Trainer, quoted

_COLUMNS = "is Parquet, and tokenized_path is a folder that datasets.load_from_disk reads"


def _settings(contents: Contents) -> str:
    return f"""model_name_or_path: {quoted(contents.model)}
stage: sft
do_train: true
tokenized_path: {quoted(contents.folder)}
dataset: tokenized  # any name: it must be set, and is not read
cutoff_len: {rounded_up(contents.longest, MULTIPLE)}
packing: false
neat_packing: false
"""


def _pitfalls(contents: Contents) -> list[str]:
    return [
        "tokenized_path must be there on every node: where it is not, LLaMA-Factory tokenizes `dataset` and saves "
        "that under the path.",
        "All that is about preparing data has no say: mask_history, train_on_prompt, max_samples, val_size. "
        f"cutoff_len cuts nothing; the longest row has {contents.longest:,} tokens.",
        "neat_packing is for rows that LLaMA-Factory packed itself.",
    ]


TRAINER = Trainer(
    title="LLaMA-Factory",
    reads=("llama-factory",),
    refuses={
        "sft": _COLUMNS,
        "packed-trl": _COLUMNS,
        "packed-hf": _COLUMNS,
        "packed-megatron": _COLUMNS,
    },
    language="yaml",
    settings=_settings,
    pitfalls=_pitfalls,
)
