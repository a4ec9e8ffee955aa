"""Real trainers take the folders as `check` says, and what their models get is what stands in the shards.

They run in an environment of their own, with what `trainers/*.txt` list: in that of the Python which
LOOKAHEAD_TRAINERS_PYTHON names, else in one that is made once and kept in pytest's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import PAIRS, write_jsonl

import lookahead_data as la
from lookahead_data import assets
from lookahead_data.sink.formats import open_shard
from lookahead_data.sink.profiles import PROFILES, documents_of

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "trainers"
REQUIREMENTS = (SCRIPTS / "requirements.txt", SCRIPTS / "no_deps.txt")
TOKENIZER = Path(assets.__file__).parent / "tokenizer"
PACK = 1536

Document = tuple[list[int], list[int]]


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> str:
    """The Python of an environment with real trainers."""
    if given := os.environ.get("LOOKAHEAD_TRAINERS_PYTHON"):
        return given
    listed = b"".join(path.read_bytes() for path in REQUIREMENTS)
    wanted = hashlib.sha256(listed + sys.version.encode()).hexdigest()[:12]
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir(f"trainers-{wanted}")
    found = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        venv.create(home, clear=True, with_pip=True)
        pip = [str(found), "-m", "pip", "install", "--quiet", "--retries", "1"]
        for path, more in zip(REQUIREMENTS, ([], ["--no-deps"]), strict=True):
            done = subprocess.run([*pip, *more, "-r", path], capture_output=True, text=True, check=False)
            if "(from versions: none)" in done.stderr:
                pytest.skip(
                    "needs a package index, or LOOKAHEAD_TRAINERS_PYTHON, for the trainers' environment"
                )
            assert done.returncode == 0, done.stderr
        ready.touch()
    return str(found)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every profile, with its name; one row is longer than TRL's default of 1,024 tokens."""
    home = tmp_path_factory.mktemp("real_trainers")
    long = {"prompt": "Say it often.", "completion": "As often as you like. " * 200}
    source = write_jsonl(home / "rows.jsonl", [*PAIRS * 20, long])
    for name, profile in PROFILES.items():
        pack = PACK if profile.packed else None
        la.convert(source, home / name, tokenizer="builtin", profile=name, pack=pack)
    return home


def documents(folder: Path) -> list[Document]:
    """All documents in the shards of a folder, sorted."""
    found: list[Document] = []
    for shard in la.Manifest.load(folder).shards:
        with open_shard(shard) as reader:
            for at in range(len(reader.group_rows)):
                for row in reader.group(at).to_pylist():
                    found += documents_of(row)
    return sorted(found)


@dataclass(frozen=True)
class Job:
    """A training: by the settings for a folder, with texts of them replaced."""

    trainer: str
    profile: str
    changes: tuple[tuple[str, str], ...] = ()

    def document(self, home: Path) -> dict[str, Any]:
        settings = la.check_for(home / self.profile, self.trainer).settings
        return {"trainer": self.trainer, "settings": settings, "changes": dict(self.changes)}


SDPA = (('"flash_attention_2"', '"sdpa"'),)
EAGER = (('"flash_attention_2"', '"eager"'),)
RIGHT = {
    "trl, unpacked": Job("trl", "sft"),
    "trl, loaded from disk": Job("trl", "llama-factory"),
    "trl, packed, sdpa": Job("trl", "packed-trl", SDPA),
    "trl, packed, eager": Job("trl", "packed-trl", EAGER),
    "hf, unpacked": Job("hf", "sft"),
    "hf, loaded from disk": Job("hf", "llama-factory"),
    "hf, packed, sdpa": Job("hf", "packed-hf", SDPA),
    "hf, packed, eager": Job("hf", "packed-hf", EAGER),
    "torch, unpacked": Job("torch", "sft"),
    "torch, packed for hf": Job("torch", "packed-hf"),
    "torch, packed for trl": Job("torch", "packed-trl"),
}
SEQ2SEQ = "DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)"
WRONG = {
    "cut": Job("trl", "sft", (("max_length=None", "max_length=1024"),)),
    "not padding_free": Job("trl", "packed-trl", (*SDPA, ("padding_free=True", "padding_free=False"))),
    "overwritten": Job("hf", "sft", ((SEQ2SEQ, "__import__('transformers').DataCollatorForLanguageModeling(tokenizer, mlm=False)"), ('"trained"', '"trained", per_device_train_batch_size=1'))),
    "flattened": Job("hf", "packed-hf", (*SDPA, ("=default_data_collator", "=__import__('transformers').DataCollatorWithFlattening()"))),
}  # fmt: skip
"""What the pitfalls warn of, done."""


@pytest.fixture(scope="session")
def results(python: str, home: Path) -> dict[str, dict[str, Any]]:
    """What the models got in each job."""
    return run(
        python, "train", {"jobs": {name: job.document(home) for name, job in (RIGHT | WRONG).items()}}, home
    )


def run(python: str, script: str, job: dict[str, Any], home: Path) -> dict[str, Any]:
    """What a script makes of a job."""
    given, made = home / f"{script}.json", home / f"{script}-result.json"
    given.write_text(json.dumps({"tokenizer": str(TOKENIZER), **job}))
    command = [python, str(SCRIPTS / f"{script}.py"), str(given), str(made)]
    done = subprocess.run(
        command, cwd=home, env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(made.read_text())
    return found


def test_pytorch_reads_what_stands_in_the_shards(python: str, tmp_path: Path) -> None:
    """All of `test_torch.py`, where there is a PyTorch."""
    tests = Path(__file__).parent
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(tests / "test_torch.py"),
    ]
    given = environment(tmp_path) | {"PYTHONPATH": str(tests.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def environment(home: Path) -> dict[str, str]:
    """For trainers that ask no network and leave their caches in a folder of the test."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV")
    given = {name: value for name, value in os.environ.items() if name not in left_out}
    return given | {
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }


def got(result: dict[str, Any]) -> list[Document]:
    return sorted((ids, labels) for ids, labels in result["documents"])


@pytest.mark.parametrize("name", RIGHT)
def test_models_get_what_stands_in_the_shards(
    name: str, home: Path, results: dict[str, dict[str, Any]]
) -> None:
    """Each document once, whole, with its labels: nothing is tokenized again, cut, or learned that is not to be."""
    assert got(results[name]) == documents(home / RIGHT[name].profile)
    assert results[name]["steps"] >= 2
    packed = PROFILES[RIGHT[name].profile].packed
    assert ("position_ids" in results[name]["columns"]) is packed
    assert ("attention_mask" in results[name]["columns"]) is not packed


@pytest.mark.parametrize("name", RIGHT)
def test_the_loss_of_packed_rows_is_that_of_the_same_rows_unpacked(
    name: str, results: dict[str, dict[str, Any]]
) -> None:
    expected = results["hf, unpacked"]
    assert results[name]["tokens"] == expected["tokens"] > 1000
    assert results[name]["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_trl_cuts_rows_at_its_default(home: Path, results: dict[str, dict[str, Any]]) -> None:
    cut = [(ids[:1024], labels[:1024]) for ids, labels in documents(home / "sft")]
    assert got(results["cut"]) == sorted(cut) != documents(home / "sft")


def test_a_language_modeling_collator_learns_the_prompts(
    home: Path, results: dict[str, dict[str, Any]]
) -> None:
    assert got(results["overwritten"]) == sorted((ids, ids) for ids, _ in documents(home / "sft"))


@pytest.mark.parametrize("name", ["not padding_free", "flattened"])
def test_documents_see_each_other_where_their_borders_are_lost(
    name: str, home: Path, results: dict[str, dict[str, Any]]
) -> None:
    assert len(got(results[name])) < len(documents(home / "sft"))
    assert results[name]["tokens"] == results["hf, unpacked"]["tokens"]
    assert results[name]["loss"] != pytest.approx(results["hf, unpacked"]["loss"], rel=1e-3)


def test_llama_factory(python: str, home: Path, results: dict[str, dict[str, Any]]) -> None:
    """Its own parser takes the settings, and its own loader and collator the folder."""
    folder = home / "llama-factory"
    found = run(
        python, "train_llama_factory", {"settings": la.check_for(folder, "llama-factory").settings}, home
    )
    assert got(found) == documents(folder)
    assert found["steps"] >= 2
    assert found["loss"] == pytest.approx(results["hf, unpacked"]["loss"], rel=1e-5)


@pytest.mark.parametrize("profile", ["sft", "llama-factory"])
def test_axolotl(profile: str, python: str, home: Path) -> None:
    """Its own schema takes the settings, and its preparation leaves every row as it is, and adds what packing needs."""
    folder = home / profile
    found = run(python, "load_axolotl", {"settings": la.check_for(folder, "axolotl").settings}, home)
    assert got(found) == documents(folder)
    assert set(found["columns"]) == {"input_ids", "attention_mask", "labels", "position_ids", "length"}
    assert found["sample_packing"] is True
