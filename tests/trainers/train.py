"""Train on folders with TRL, the Hugging Face Trainer and plain PyTorch, by the settings that `check` prints.

    python train.py JOBS RESULTS

JOBS is a JSON file: the tokenizer's folder, and by name the jobs, each with the trainer, its settings and
texts to replace in them. RESULTS becomes another: what the models got.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from recorded import Recorder, run_settings, save_model
from transformers import AutoModelForCausalLM, Trainer

ARGUMENTS: dict[str, Any] = {
    "report_to": "none",
    "use_cpu": True,
    "save_strategy": "no",
    "disable_tqdm": True,
    # An epoch in single precision, in which the weights stay as they are: losses can be compared.
    "bf16": False,
    "learning_rate": 0.0,
    "weight_decay": 0.0,
    "num_train_epochs": 1,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 2,
}


@dataclass
class Result:
    """What a model got in an epoch (see `Recorder`), and what became of the training.

    Attributes:
        steps: how many the trainer did.
    """

    documents: list[tuple[list[int], list[int]]]
    loss: float
    tokens: int
    columns: list[str]
    steps: int


def run(trainer: str, settings: str, changes: dict[str, str], model: Path) -> Result:
    torch.manual_seed(0)
    named = {"YOUR/MODEL": str(model), **changes} if "YOUR/MODEL" in settings else changes
    if trainer == "torch":
        space = run_settings(settings, named, {})
        loaded = AutoModelForCausalLM.from_pretrained(model)
        recorder = Recorder(loaded)
        batches = list(space["loader"])
        for batch in batches:
            loaded(**batch, use_cache=False).loss.backward()
        steps = len(batches)
    else:
        kind = {"trl": "trl.SFTConfig", "hf": "transformers.TrainingArguments"}[trainer]
        steps, recorder = _trained(settings, named, kind)
    return Result(recorder.documents, recorder.loss, recorder.tokens, sorted(recorder.columns), steps)


def _trained(settings: str, changes: dict[str, str], kind: str) -> tuple[int, Recorder]:
    """Run settings, which train by themselves; gives the steps that were done, and what the model got."""
    done: list[tuple[int, Recorder]] = []
    train = Trainer.train

    def recorded(self: Trainer, *args: Any, **given: Any) -> Any:
        recorder = Recorder(self.model)
        output = train(self, *args, **given)
        done.append((output.global_step, recorder))
        return output

    with patch.object(Trainer, "train", recorded):
        run_settings(settings, changes, {kind: ARGUMENTS})
    ((steps, recorder),) = done
    return steps, recorder


def main(jobs: Path, results: Path) -> None:
    given = json.loads(jobs.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        save_model(given["tokenizer"], model)
        done = {name: asdict(run(**job, model=model)) for name, job in given["jobs"].items()}
    results.write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
