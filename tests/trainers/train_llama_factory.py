"""Train on a folder with LLaMA-Factory, by the settings that `check` prints.

    python train_llama_factory.py JOB RESULT

JOB is a JSON file with the tokenizer's folder and the settings; RESULT becomes another: what the model got.
LLaMA-Factory's own code parses the settings, loads the data, collates and trains. It asks for older versions
of other packages than are here, so a few names that it imports and does not use in this are stand-ins.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trl
import yaml
from recorded import Recorder, save_model
from stand_ins import stand_in
from train import ARGUMENTS, Result

OURS = {"finetuning_type": "full", "disable_gradient_checkpointing": True, "overwrite_output_dir": True}


def run(settings: dict[str, Any], model: Path, output: Path) -> Result:
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    stand_in("torchaudio", "omegaconf")
    trl.AutoModelForCausalLMWithValueHead = object
    from llamafactory.hparams import get_train_args
    from llamafactory.train.sft import workflow

    recorders: list[Recorder] = []

    def load_model(*args: Any) -> Any:
        loaded = workflow_load_model(*args)
        recorders.append(Recorder(loaded))
        return loaded

    workflow_load_model = workflow.load_model
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "gradient_checkpointing"}
    given = {**arguments, **OURS, **settings, "model_name_or_path": str(model), "output_dir": str(output)}
    with patch.object(workflow, "load_model", load_model):
        workflow.run_sft(*get_train_args(given), [])
    (recorder,) = recorders
    steps = json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
    return Result(recorder.documents, recorder.loss, recorder.tokens, sorted(recorder.columns), steps)


def main(job: Path, result: Path) -> None:
    given = json.loads(job.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        save_model(given["tokenizer"], model)
        done = run(yaml.safe_load(given["settings"]), model, Path(folder, "trained"))
    result.write_text(json.dumps(asdict(done)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
