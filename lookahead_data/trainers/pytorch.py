"""A training loop of one's own, in plain PyTorch."""

from __future__ import annotations

from lookahead_data.config import TRAIN
from lookahead_data.trainers.trainer import VALIDATION, Contents, Trainer, quoted

_POSITIONS = {
    "packed-hf": 'torch.tensor([row["position_ids"]])',
    "packed-trl": 'torch.cat([torch.arange(tokens) for tokens in row["seq_lengths"]])[None]',
}
"""From a packed row to its position ids, shape (1, tokens)."""


def _settings(contents: Contents) -> str:
    if contents.packed:
        batch_size = 1
        collate = f"""def collate(rows):
    (row,) = rows
    return {{
        "input_ids": torch.tensor([row["input_ids"]]),
        "labels": torch.tensor([row["labels"]]),
        "position_ids": {_POSITIONS[contents.profile]},
    }}
"""
    else:
        batch_size = 8
        collate = """def collate(rows):
    def padded(name, value):
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in rows], True, value)

    return {
        "input_ids": padded("input_ids", 0),  # any id will do: it is masked, and its label is -100
        "attention_mask": padded("attention_mask", 0),
        "labels": padded("labels", -100),
    }
"""
    validation = ""
    if contents.evaluates:
        pattern = quoted(contents.pattern(VALIDATION))
        validation = f"""validation_loader = torch.utils.data.DataLoader(
    Rows({pattern}), batch_size={batch_size}, collate_fn=collate
)
"""
    return f"""from pathlib import Path

import pyarrow.parquet as pq
import torch


class Rows(torch.utils.data.IterableDataset):
    def __init__(self, pattern):
        self.pattern = pattern

    def __iter__(self):
        for shard in sorted(Path({quoted(contents.data)}).glob(self.pattern)):
            for batch in pq.ParquetFile(shard).iter_batches():
                yield from batch.to_pylist()


{collate}

loader = torch.utils.data.DataLoader(
    Rows({quoted(contents.pattern(TRAIN))}), batch_size={batch_size}, collate_fn=collate
)
{validation}"""


def _pitfalls(contents: Contents) -> list[str]:
    shifting = (
        "labels are aligned with input_ids: models of transformers shift them by themselves; for a loss of your "
        "own compare logits[:, :-1] with labels[:, 1:], and ignore -100."
    )
    order = (
        "The rows come in the order of the corpus, to one process. To have them shuffled, divided among ranks and "
        "workers, and taken up again at any step, use lookahead_data.torch: "
        f"ShardLoader(ShardDataset({quoted(str(contents.folder))}, batch_size=8), num_workers=2)."
    )
    if contents.packed:
        return [
            shifting,
            order,
            "No attention_mask for a packed row: position_ids that begin at 0 again tell its documents, to models of "
            "transformers without a cache (use_cache=False); to your own model you must tell them.",
        ]
    return [shifting, order]


TRAINER = Trainer(
    title="plain PyTorch",
    reads=("sft", "packed-hf", "packed-trl"),
    refuses={
        "packed-megatron": "has a loss_mask that is shifted, as only Megatron reads it",
        "llama-factory": "is made for datasets.load_from_disk",
    },
    language="python",
    settings=_settings,
    pitfalls=_pitfalls,
)
