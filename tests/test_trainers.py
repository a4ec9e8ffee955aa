"""`check --for`: which folders fit which trainer, what is said of those that do not, and the settings."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from helpers import PAIRS, write_jsonl

import lookahead_data as la
from lookahead_data import api
from lookahead_data.cli import main
from lookahead_data.errors import OutputError, SettingsError, TokenizerError
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.trainers import NAMES
from lookahead_data.trainers.check import TRAINERS
from lookahead_data.trainers.remedy import in_profile, options
from lookahead_data.trainers.trainer import MODEL, Contents

ROWS = [*PAIRS * 6, {"prompt": "Say it often.", "completion": "As often as you like. " * 60}]
PACK = 600


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every profile, with its name."""
    home = tmp_path_factory.mktemp("trainers")
    source = write_jsonl(home / "rows.jsonl", ROWS)
    for name, profile in PROFILES.items():
        la.convert(
            source, home / name, tokenizer="builtin", profile=name, pack=PACK if profile.packed else None
        )
    return home


@pytest.fixture
def made(home: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the folder of a profile, to damage."""

    def copied(profile: str) -> Path:
        return Path(shutil.copytree(home / profile, tmp_path / profile))

    return copied


def parsed(text: str, language: str) -> Any:
    return ast.parse(text) if language == "python" else yaml.safe_load(text)


def test_every_trainer_knows_every_profile() -> None:
    assert set(NAMES) == set(TRAINERS)
    for trainer in TRAINERS.values():
        assert set(trainer.reads) | set(trainer.refuses) == set(PROFILES)
        assert not set(trainer.reads) & set(trainer.refuses)


def same(left: str, right: str, language: str) -> bool:
    if language == "yaml":
        return bool(yaml.safe_load(left) == yaml.safe_load(right))
    return ast.dump(ast.parse(left)) == ast.dump(ast.parse(right))


@pytest.mark.parametrize("trainer", NAMES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_folder_fits_or_the_command_makes_one_that_does(
    trainer: str, profile: str, home: Path, made: Callable[[str], Path]
) -> None:
    folder = made(profile)
    found = la.check_for(folder, trainer)
    documents = la.Manifest.load(folder).totals
    if profile in TRAINERS[trainer].reads:
        assert found.problems == ()
        assert (found.tokens, found.supervised_tokens) == (
            documents["tokens"],
            documents["supervised_tokens"],
        )
        assert found.settings is not None
        assert parsed(found.settings, found.language)
        assert str(folder) in found.settings
        assert found.pitfalls
        return
    (problem,) = found.problems
    assert found.settings is None
    assert found.pitfalls == ()
    assert profile in problem.what
    assert problem.remedy is not None
    command = shlex.split(problem.remedy.partition(": ")[2])
    assert command[0] == "lookahead-data"
    done = CliRunner().invoke(main, command[1:])
    assert done.exit_code == 0, done.output
    again = Path(command[command.index("-o") + 1])
    assert la.check_for(again, trainer).ok
    assert la.Manifest.load(again).totals["tokens"] == documents["tokens"]
    packed = {name for name in TRAINERS[trainer].reads if PROFILES[name].packed}
    if PROFILES[profile].packed and packed:
        assert la.Manifest.load(again).settings.chosen_profile in packed


@pytest.mark.parametrize("trainer", NAMES)
def test_what_the_command_prints_is_a_file_for_the_trainer(trainer: str, home: Path) -> None:
    for profile in TRAINERS[trainer].reads:
        done = CliRunner().invoke(main, ["check", str(home / profile), "--for", trainer, "-q"])
        assert done.exit_code == 0, done.output
        found = la.check_for(home / profile, trainer)
        # Comments are all that is printed beside the settings.
        assert same(done.output, found.settings or "", found.language)
        assert f"# {home / profile} fits" in done.output.replace("\n# ", " ")
        as_json = CliRunner().invoke(main, ["check", str(home / profile), "--for", trainer, "-q", "--json"])
        assert json.loads(as_json.output) == json.loads(json.dumps(found.to_dict()))


def test_a_refusal_goes_by_the_exit_status(home: Path) -> None:
    for more in ([], ["--json"]):
        done = CliRunner().invoke(main, ["check", str(home / "sft"), "--for", "megatron", "-q", *more])
        assert done.exit_code == 1
        assert "--profile packed-megatron --pack 4096" in done.output
    assert json.loads(done.output)["ok"] is False


def keywords(settings: str, call: str) -> dict[str, Any]:
    """The keyword arguments of a call in the settings, those that are literals."""
    (found,) = [
        node
        for node in ast.walk(ast.parse(settings))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == call
    ]
    return {
        str(k.arg): ast.literal_eval(k.value)
        for k in found.keywords
        if isinstance(k.value, ast.Constant | ast.Dict)
    }


def longest(folder: Path) -> int:
    return max(len(row) for path in (folder / "data").iterdir() for row in pq.read_table(path)["input_ids"])


def test_the_numbers_are_those_of_the_folder(home: Path) -> None:
    most = longest(home / "sft")
    trl = la.check_for(home / "sft", "trl")
    assert (trl.rows, trl.longest) == (len(ROWS), most)
    config = keywords(trl.settings or "", "SFTConfig")
    assert config == {"output_dir": "trained", "max_length": None, "packing": False}
    assert f"{most:,} tokens" in (trl.settings or "")
    packed = la.check_for(home / "packed-trl", "trl")
    assert keywords(packed.settings or "", "SFTConfig")["padding_free"] is True
    axolotl = yaml.safe_load(la.check_for(home / "sft", "axolotl").settings or "")
    assert most <= axolotl["sequence_len"] < most + 64
    assert [set(entry) for entry in axolotl["datasets"]] == [{"path", "ds_type", "split"}]
    factory = yaml.safe_load(la.check_for(home / "llama-factory", "llama-factory").settings or "")
    assert factory["tokenized_path"] == str(home / "llama-factory")
    assert most <= factory["cutoff_len"] < most + 64


def test_how_many_rows_trl_would_cut_is_told(home: Path, tmp_path: Path) -> None:
    la.convert([*ROWS, {"prompt": "p", "completion": "long " * 1100}], tmp_path / "out", tokenizer="builtin")
    assert any("1 of these" in pitfall for pitfall in la.check_for(tmp_path / "out", "trl").pitfalls)
    assert any("none of these" in pitfall for pitfall in la.check_for(home / "sft", "trl").pitfalls)


def test_megatron_is_set_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings run, with stand-ins for what they import and for the recipe's configuration."""
    module = ModuleType("megatron.bridge.data.datasets.packed_sequence")
    module.PackedSequenceSpecs = lambda **given: SimpleNamespace(**given)  # type: ignore[attr-defined]
    parts = module.__name__.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        monkeypatch.setitem(sys.modules, name, module if name == module.__name__ else ModuleType(name))
    cfg = SimpleNamespace(dataset=SimpleNamespace(), model=SimpleNamespace(), train=SimpleNamespace())
    exec(la.check_for(home / "packed-megatron", "megatron").settings or "", {"cfg": cfg})
    specs = cfg.dataset.offline_packing_specs
    assert specs.packed_sequence_size == cfg.dataset.seq_length == cfg.model.seq_length == PACK
    assert specs.packed_train_data_path == str(home / "packed-megatron" / "data" / "*.parquet")


@pytest.mark.parametrize(
    ("tokenizer", "model"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B@main", "Qwen/Qwen3-0.6B"),
        ("builtin", MODEL),
        ("/nowhere/tokenizer.json", MODEL),
        ("./models/mine", MODEL),
        (str(Path(__file__).parent), MODEL),
    ],
)
def test_the_model_is_that_of_the_tokenizer(tokenizer: str, model: str) -> None:
    contents = Contents(Path("/out"), la.Settings(tokenizer=tokenizer), 1, 2, 1, 2, Counter({2: 1}))
    assert contents.model == model
    assert f'model="{model}"' in (TRAINERS["trl"].settings(contents))


def test_any_path_can_stand_in_the_settings(home: Path, tmp_path: Path) -> None:
    name = """it's "new": ünï \\ #1 {x}"""
    for trainer, profile in (
        ("trl", "sft"),
        ("axolotl", "sft"),
        ("torch", "packed-hf"),
        ("llama-factory",) * 2,
    ):
        folder = shutil.copytree(home / profile, tmp_path / trainer / name)
        found = la.check_for(folder, trainer)
        if found.language == "yaml":
            settings = yaml.safe_load(found.settings or "")
            assert str(folder) in (
                settings.get("tokenized_path"),
                settings.get("datasets", [{}])[0].get("path"),
            )
        else:
            texts = [
                node.value
                for node in ast.walk(ast.parse(found.settings or ""))
                if isinstance(node, ast.Constant)
            ]
            assert {str(folder), str(folder / "data")} & {text for text in texts if isinstance(text, str)}


def rewritten(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], object]:
    """Writes the first shard anew."""

    def rewrite(folder: Path) -> None:
        (path,) = (folder / "data").iterdir()
        pq.write_table(change(pq.read_table(path)), path, **options)

    return rewrite


def value(column: str, row: int, place: int | None, new: Any) -> Callable[[Path], object]:
    """Sets a token of a row; or the whole row, if no place is named."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        if place is None:
            rows[row][column] = [new] * len(rows[row][column])
        else:
            rows[row][column][place] = new
        return pa.Table.from_pylist(rows, table.schema)

    return rewritten(change)


def cast(column: str, kind: pa.DataType) -> Callable[[Path], object]:
    def change(table: pa.Table) -> pa.Table:
        values = [[max(token, 0) for token in row] for row in table[column].to_pylist()]
        return table.set_column(table.schema.get_field_index(column), column, pa.array(values, kind))

    return rewritten(change)


Damage = tuple[str, str, Callable[[Path], object], str]
DAMAGES: dict[str, Damage] = {
    "a column more": ("axolotl", "sft", rewritten(lambda t: t.append_column("id", pa.array(range(t.num_rows)))), "has the column id, which Axolotl does not read"),
    "a column less": ("trl", "sft", rewritten(lambda t: t.drop_columns("labels")), "has no column labels"),
    "labels without a sign": ("hf", "sft", cast("labels", pa.list_(pa.uint32())), "and -100 needs a sign"),
    "ids of 64 bits": ("megatron", "packed-megatron", cast("input_ids", pa.list_(pa.int64())), "input_ids is list<element: int64>"),
    "nothing to learn": ("trl", "sft", value("labels", 3, None, -100), "row 4: none of its"),
    "labels that are shifted": ("hf", "sft", value("labels", 2, 5, 1), "row 3: token 5 has the label 1"),
    "an id beyond the vocabulary": ("torch", "sft", value("input_ids", 1, 2, 10**6), "not in the vocabulary"),
    "a mask of 0": ("axolotl", "sft", value("attention_mask", 0, 1, 0), "has the attention mask 0"),
    "positions out of order": ("hf", "packed-hf", value("position_ids", 0, 3, 9), "where its documents begin"),
    "lengths that are not": ("trl", "packed-trl", value("seq_lengths", 0, 0, 9), "where its documents begin"),
    "a mask of 2": ("megatron", "packed-megatron", value("loss_mask", 0, 3, 2), "neither 0 nor 1"),
    "large row groups": ("megatron", "packed-megatron", rewritten(lambda t: pa.concat_tables([t] * 200)), "has row groups of"),
    "no rows": ("trl", "sft", rewritten(lambda t: t.slice(0, 0)), "holds no row"),
    "a shard missing": ("trl", "sft", lambda f: next((f / "data").iterdir()).unlink(), "cannot be read"),
    "a shard that is none": ("trl", "sft", lambda f: next((f / "data").iterdir()).write_bytes(b"no"), "train-00000-00000.parquet"),
    "a stray": ("axolotl", "sft", lambda f: (f / "data" / "more.parquet").touch(), "would be read as one"),
    "no manifest": ("trl", "sft", lambda f: (f / "manifest.json").unlink(), "the job is not finished"),
    "a manifest that is none": ("trl", "sft", lambda f: (f / "manifest.json").write_text("{}"), "manifest.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_told(name: str, made: Callable[[str], Path]) -> None:
    trainer, profile, damage, words = DAMAGES[name]
    folder = made(profile)
    assert la.check_for(folder, trainer).ok
    damage(folder)
    found = la.check_for(folder, trainer)
    assert any(words in str(problem) for problem in found.problems), found.problems
    assert found.settings is None
    done = CliRunner().invoke(main, ["check", str(folder), "--for", trainer, "-q"])
    assert done.exit_code == 1
    assert words in done.output


def test_what_cannot_be_asked(home: Path, tmp_path: Path, llama_like: Path) -> None:
    with pytest.raises(OutputError, match="no such folder"):
        la.check_for(tmp_path / "nowhere", "trl")
    with pytest.raises(SettingsError, match="'keras' is no trainer"):
        la.check_for(home / "sft", "keras")
    with pytest.raises(OutputError, match="not the one that these rows were made with"):
        la.check_for(home / "sft", "trl", tokenizer=str(llama_like))
    with pytest.raises(TokenizerError):
        la.check_for(home / "sft", "trl", tokenizer=str(tmp_path))


def test_rows_from_memory_have_no_command(tmp_path: Path) -> None:
    la.convert(PAIRS, tmp_path / "out", tokenizer="builtin")
    (problem,) = la.check_for(tmp_path / "out", "megatron").problems
    assert "handed over in memory, again with profile='packed-megatron' and pack=4096" in (
        problem.remedy or ""
    )


SETTINGS: dict[str, dict[str, Any]] = {
    "all of a kind": {"mode": "virtual", "phrase": "Let's go: ", "connector": "\n→ ", "template_args": {"a": [1, "b c"], "d": False}, "template_date": "2026-01-31", "mask_preview": True, "end_token": "<|im_end|>"},
    "sizes": {"unit_size": 12345, "shard_size": 99, "max_line_size": 5000, "max_length": 70, "overlength": "truncate"},
    "packed": {"pack": 300, "profile": "packed-hf", "overlength": "split"},
    "curation": {"where": ("turns > 1", "len_tokens(prompt) < 9"), "keep": {"other": 0.5}, "refusals": ("No.", "Nein"), "exempt_safety": False, "seed": 3, "dedup": "prompt", "dedup_ignores": ("case",), "near_dedup": 0.7, "decontaminate": ("a b.jsonl",)},
    "arrangement": {"mix": {"a=b.jsonl": 2.5, "c": "30%"}, "safety_share": 0.1, "safety_by": "repeating", "safety_set": ("c",), "preview_safety": True, "split": {"validation": 0.01, "test": 0.02}, "shuffle": 0, "order": "length"},
    "classes": {"safety_field": "is safe", "preview_safety": False},
    "fields": {"shape": "prompt-completion", "input_field": "the prompt", "output_field": "--answer", "system_field": "s"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_options_give_the_settings_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[la.Settings] = []

    def stand_in(inputs: object, folder: object, settings: la.Settings, **_: object) -> None:
        seen.append(settings)
        raise OutputError("enough")

    monkeypatch.setattr(api, "convert", stand_in)
    wanted = la.Settings(tokenizer="builtin", **SETTINGS[name])
    CliRunner().invoke(main, ["convert", "rows.jsonl", "-o", "out", *options(wanted)])
    assert seen == [wanted]


CHANGES: list[tuple[dict[str, Any], str, int, dict[str, Any]]] = [
    ({}, "packed-trl", 700, {"pack": 4096}),
    ({}, "packed-hf", 4097, {"pack": 8192}),
    ({"max_length": 5000}, "packed-hf", 700, {"pack": 8192, "max_length": 5000}),
    ({"pack": 512}, "packed-hf", 700, {"pack": 512}),
    ({"split": {"validation": 0.1}}, "llama-factory", 700, {"split": {}}),
    ({"pack": 512}, "sft", 500, {"pack": None, "max_length": 512}),
    ({"pack": 512, "max_length": 100}, "llama-factory", 100, {"pack": None, "max_length": 100}),
    (
        {"pack": 512, "overlength": "split"},
        "sft",
        700,
        {"pack": None, "max_length": None, "overlength": "drop"},
    ),
]


@pytest.mark.parametrize(("given", "profile", "most", "expected"), CHANGES)
def test_settings_change_their_profile(
    given: dict[str, Any], profile: str, most: int, expected: dict[str, Any]
) -> None:
    found = in_profile(la.Settings(**given), profile, most)
    assert found == la.Settings(**{**given, **expected, "profile": profile})


class Stub:
    """Stands for anything of a trainer's modules; keeps how the last of each name was called."""

    calls: dict[str, dict[str, Any]]

    def __init__(self, name: str, calls: dict[str, dict[str, Any]]) -> None:
        self.__dict__.update(name=name, calls=calls)

    def __call__(self, *args: Any, **given: Any) -> Stub:
        self.calls[self.name] = {"args": args, **given}
        return Stub(self.name, self.calls)

    def __getattr__(self, name: str) -> Any:
        return Stub(f"{self.name}.{name}", self.calls)

    def __setattr__(self, name: str, value: Any) -> None:
        pass


def run_with_stubs(settings: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Run Python settings as they are printed, with stand-ins for the modules; gives all calls by name."""
    calls: dict[str, dict[str, Any]] = {}
    for name in ("datasets", "trl", "transformers"):
        module = ModuleType(name)
        module.__getattr__ = lambda item: Stub(item, calls)  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, name, module)
    exec(compile(settings, "settings", "exec"), {})
    return calls


@pytest.mark.parametrize("split", [{}, {"validation": 0.4}])
@pytest.mark.parametrize(
    ("trainer", "profile", "config", "kind"),
    [
        ("trl", "sft", "SFTConfig", "SFTTrainer"),
        ("trl", "packed-trl", "SFTConfig", "SFTTrainer"),
        ("hf", "sft", "TrainingArguments", "Trainer"),
        ("hf", "packed-hf", "TrainingArguments", "Trainer"),
    ],
)
def test_settings_train_and_evaluate_as_printed(
    trainer: str,
    profile: str,
    config: str,
    kind: str,
    split: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack = PACK if PROFILES[profile].packed else None
    rows = [{"prompt": f"Question {at}?", "completion": "Yes, it is."} for at in range(20)]
    la.convert(rows, tmp_path / "out", tokenizer="builtin", profile=profile, pack=pack, split=split)
    done = CliRunner().invoke(main, ["check", str(tmp_path / "out"), "--for", trainer, "-q"])
    calls = run_with_stubs(done.output, monkeypatch)
    assert f"{kind}.train" in calls
    assert ("eval_dataset" in calls[kind]) is bool(split)
    assert calls[config].get("eval_strategy") == ("epoch" if split else None)
    if profile == "packed-hf":
        assert calls[config].get("per_device_eval_batch_size") == (1 if split else None)
