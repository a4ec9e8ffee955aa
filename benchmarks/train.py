"""Trains a tiny model on the demo corpus, to see that the loss on supervised tokens falls.

    python benchmarks/train.py [--steps 300] [--pack N] [--workers 0] [--plot loss.svg]

The corpus that ships with the package is converted with its tokenizer, and read through
`lookahead_data.torch`. The model is a Llama with random weights, on the CPU. In the middle of the run
the loader is thrown away and another one goes on from its state, as after a stop. Packages:
`requirements-train.txt`. The last line is JSON; the exit status is 1 if the loss did not fall.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import lookahead_data as la
from lookahead_data.demo import write_corpus
from lookahead_data.model.tokenizer import load_tokenizer
from lookahead_data.torch import Batch, ShardDataset, ShardLoader

ENDS = 20
"""So many steps at each end are averaged."""


def batches(folder: Path, options: argparse.Namespace) -> Iterator[Batch]:
    """The batches of all steps, from one loader to the middle and from another one on."""

    def loader() -> ShardLoader:
        rows = ShardDataset(folder, batch_size=options.batch_size, seed=options.seed)
        return ShardLoader(rows, num_workers=options.workers)

    current, steps = loader(), 0
    while steps < options.steps:
        for batch in current:
            yield batch
            steps += 1
            if steps == options.steps:
                return
            if steps == options.steps // 2:
                state = current.state_dict()
                current = loader()
                current.load_state_dict(state)
                break
        else:
            current.set_epoch(current.epoch + 1)


def train(folder: Path, options: argparse.Namespace) -> tuple[list[float], int, int]:
    """The loss of each step, and how many tokens were read and supervised."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # for so small a model more of them only wait for each other
    config = LlamaConfig(
        vocab_size=load_tokenizer("builtin").id_limit,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate)
    losses: list[float] = []
    tokens = supervised = 0
    for batch in batches(folder, options):
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += int(batch["attention_mask"].sum() if "attention_mask" in batch else batch["labels"].numel())
        supervised += int((batch["labels"] != -100).sum())
        if len(losses) % 50 == 0:
            print(f"step {len(losses)}: loss {losses[-1]:.3f}", file=sys.stderr)
    return losses, tokens, supervised


def plot(losses: list[float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "loss"})
    from matplotlib import pyplot

    smooth = torch.tensor(losses).unfold(0, min(ENDS, len(losses)), 1).mean(1)
    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(losses, color="0.75", linewidth=0.8, label="each step")
    axes.plot(range(len(losses) - len(smooth), len(losses)), smooth, label=f"mean of {ENDS} steps")
    axes.set(xlabel="step", ylabel="loss on supervised tokens", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a tiny model on the demo corpus.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--pack", type=int, help="pack documents into rows of so many tokens")
    parser.add_argument("--plot", type=Path, help="an SVG or PNG file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        manifest = la.convert(
            write_corpus(Path(home)), Path(home, "train"), tokenizer="builtin", pack=options.pack, workers=1
        )
        losses, tokens, supervised = train(manifest.folder, options)
    if options.plot:
        plot(losses, options.plot)
    first, last = (sum(part) / len(part) for part in (losses[:ENDS], losses[-ENDS:]))
    result = {
        "steps": len(losses),
        "tokens": tokens,
        "supervised_tokens": supervised,
        "first_loss": round(first, 3),
        "last_loss": round(last, 3),
    }
    print(json.dumps(result))
    sys.exit(0 if last < first else 1)


if __name__ == "__main__":
    main()
