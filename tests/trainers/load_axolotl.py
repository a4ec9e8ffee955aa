"""Load a folder with Axolotl, by the settings that `check` prints.

    python load_axolotl.py JOB RESULT

JOB is a JSON file with the tokenizer's folder and the settings; RESULT becomes another: the rows.
Axolotl's own code validates the settings, loads the data and prepares it for sample packing. It does not
train: that needs FlashAttention, and so a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from stand_ins import stand_in
from transformers import AutoTokenizer

GPU = {"bf16": True, "n_gpu": 1, "compute_capability": "sm_90"}
OURS = {"num_epochs": 1, "micro_batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 1e-5, "dataset_num_proc": 1}  # fmt: skip


def load(settings: dict[str, Any], tokenizer: str, output: str) -> dict[str, Any]:
    os.environ.update(AXOLOTL_DO_NOT_TRACK="1", DO_NOT_TRACK="1")
    stand_in("numba", "posthog", "requests")
    from axolotl.utils.config import validate_config
    from axolotl.utils.data import sft
    from axolotl.utils.dict import DictDefault

    given = {**OURS, **settings, "base_model": tokenizer, "output_dir": output}
    config = validate_config(
        DictDefault(given), capabilities=GPU, env_capabilities={"torch_version": "2.13.0"}
    )
    with patch.object(sft, "save_preprocessed_dataset"):  # a copy that nobody here reads
        rows, _, _ = sft._load_and_prepare_datasets(AutoTokenizer.from_pretrained(tokenizer), config)
    documents = list(zip(rows["input_ids"], rows["labels"], strict=True))
    return {"documents": documents, "columns": rows.column_names, "sample_packing": config.sample_packing}


def main(job: Path, result: Path) -> None:
    given = json.loads(job.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        done = load(yaml.safe_load(given["settings"]), given["tokenizer"], folder)
    result.write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
