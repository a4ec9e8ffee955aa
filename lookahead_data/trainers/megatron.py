"""Megatron-Bridge: packed Parquet, by `GPTSFTPackedParquetDataset`."""

from __future__ import annotations

from pathlib import Path

from lookahead_data.config import TRAIN
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.trainers.trainer import VALIDATION, Contents, Trainer, quoted

_OTHER = "has neither loss_mask nor seq_start_id"


def _settings(contents: Contents) -> str:
    size = contents.row_tokens
    evaluates = contents.evaluates
    validation = ""
    if evaluates:
        path = Path(contents.data) / contents.pattern(VALIDATION)
        validation = f"    packed_val_data_path={quoted(path)},\n"
    return f"""from megatron.bridge.data.datasets.packed_sequence import PackedSequenceSpecs

# cfg is the ConfigContainer of your recipe.
cfg.dataset.dataset_root = {quoted(contents.folder)}
cfg.dataset.enable_offline_packing = True
cfg.dataset.offline_packing_specs = PackedSequenceSpecs(
    packed_sequence_size={size},
    packed_train_data_path={quoted(Path(contents.data) / contents.pattern(TRAIN))},
{validation})
cfg.dataset.seq_length = {size}
cfg.model.seq_length = {size}
cfg.train.micro_batch_size = 1
cfg.dataset.do_validation = {evaluates}
cfg.dataset.do_test = False
"""


def _pitfalls(contents: Contents) -> list[str]:
    return [
        "Older versions have no enable_offline_packing and offline_packing_specs: there it is "
        "cfg.dataset.packed_sequence_specs = PackedSequenceSpecs(...).",
        "micro_batch_size 1: a row is a batch.",
        f"packed_sequence_size, dataset.seq_length and model.seq_length are all {contents.row_tokens:,}.",
        "With context parallelism each document must be padded to a multiple of twice context_parallel_size, and these are not.",
        "loss_mask is shifted by one already; labels are made of input_ids.",
        "Validation is on the split `validation`, which --split validation=0.01 makes.",
    ]


TRAINER = Trainer(
    title="Megatron-Bridge",
    reads=("packed-megatron",),
    refuses={"sft": _OTHER, "packed-trl": _OTHER, "packed-hf": _OTHER, "llama-factory": _OTHER},
    language="python",
    settings=_settings,
    pitfalls=_pitfalls,
    largest_group=PROFILES["packed-megatron"].group_rows,
)
