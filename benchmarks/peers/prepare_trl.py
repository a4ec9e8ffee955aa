"""How long TRL's `SFTTrainer` takes to prepare a corpus, to compare `lookahead-data convert` with.

    python benchmarks/peers/prepare_trl.py ROWS.jsonl --tokenizer FOLDER [--processes N]

Rows are prompts and completions, or conversations in `messages`. They become what TRL wants, so that it applies
the chat template and masks: for prompts and completions the loss is on the completion, for `messages`
on what the assistant says. For the latter TRL must know the tokenizer's chat template, or the template must
have `{% generation %}` blocks; `--chat-template FILE` gives another. Nothing is cut to a length and nothing packed. The model is tiny and random.

Timed is the preparation alone: templates, tokens, masks and labels, written as Arrow files. Not timed: reading
the JSON, loading the tokenizer, the model and the rest of the trainer. The rows lie in a new folder, and
`datasets` keeps what it has prepared beside them, so nothing comes from an earlier run. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
from preview_authors import load_tokenizer, read_rows
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig, SFTTrainer


class TimedTrainer(SFTTrainer):
    """A trainer that keeps the time of its preparation."""

    seconds = 0.0

    def _prepare_dataset(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        prepared = super()._prepare_dataset(*arguments, **options)
        self.seconds += time.perf_counter() - started
        return prepared


def as_conversation(row: dict[str, Any], prompt_field: str, completion_field: str) -> dict[str, Any]:
    """A row as TRL takes it: `messages` alone, or prompt and completion as lists of messages."""
    if "messages" in row:
        return {"messages": row["messages"]}
    return {
        "prompt": [{"role": "user", "content": row[prompt_field]}],
        "completion": [{"role": "assistant", "content": row[completion_field]}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time TRL's preparation of a corpus.")
    parser.add_argument("file", type=Path, help="JSON Lines with prompts and completions, or with messages")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with tokenizer.json")
    parser.add_argument("--chat-template", type=Path, help="a Jinja file instead of the tokenizer's own")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=int, help="only the first rows")
    parser.add_argument("--prompt-field", default="prompt")
    parser.add_argument("--completion-field", default="completion")
    options = parser.parse_args()
    # Each row is encoded by itself; threads of the tokenizer would only be in the way of the processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    datasets.disable_progress_bars()
    tokenizer = load_tokenizer(options.tokenizer)
    if options.chat_template:
        tokenizer.chat_template = options.chat_template.read_text(encoding="utf-8")
    rows = [
        as_conversation(row, options.prompt_field, options.completion_field)
        for row in read_rows(options.file, options.limit)
    ]
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )
    with tempfile.TemporaryDirectory() as home:
        datasets.Dataset.from_list(rows).save_to_disk(f"{home}/rows")
        trainer = TimedTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=datasets.load_from_disk(f"{home}/rows"),
            args=SFTConfig(
                output_dir=f"{home}/out",
                # `None` works in this process; a number starts so many others.
                dataset_num_proc=options.processes if options.processes > 1 else None,
                max_length=None,
                packing=False,
                completion_only_loss=None,  # that is: where there are completions
                assistant_only_loss="messages" in rows[0],
                bf16=False,
                use_cpu=True,
                report_to="none",
            ),
        )
        prepared = trainer.train_dataset.with_format("arrow")
        tokens = supervised = 0
        for batch in prepared.select_columns(["labels"]).iter(1000):
            labels = batch.column("labels").combine_chunks().flatten().to_numpy()
            tokens += len(labels)
            supervised += int((labels != -100).sum())
    result = {
        "peer": "trl",
        "version": version("trl"),
        "transformers": version("transformers"),
        "processes": options.processes,
        "rows": len(prepared),
        "tokens": tokens,
        "supervised_tokens": supervised,
        "seconds": round(trainer.seconds, 2),
        "rows_per_second": round(len(prepared) / trainer.seconds),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
