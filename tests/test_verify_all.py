"""Every file of a finished folder is vouched for, and nothing that it names is run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arranged import ROWS as ARRANGED
from click.testing import CliRunner
from forgery import ROWS, edit, write_manifest
from helpers import write_jsonl

import lookahead_data as la
from lookahead_data.cli import main

JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "split and shuffled": {"split": {"validation": 0.2}, "shuffle": 3},
    "packed with weights": {"pack": 256, "preview_weight": 2.0},
    "curated": {"dedup": "prompt", "near_dedup": 0.8},
    "quarantine": {"max_length": 60},
    "ordered by length": {"order": "length"},
}
TRIALS = 504
"""Mutations of the whole suite, spread evenly over the jobs."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished folder of each kind of job, not to be changed."""
    home = tmp_path_factory.mktemp("jobs")
    write_jsonl(home / "rows.jsonl", [*ROWS, *ARRANGED[:90]])
    made = {}
    for at, (name, settings) in enumerate(JOBS.items()):
        made[name] = home / str(at)
        la.convert(
            home / "rows.jsonl", made[name], tokenizer="builtin", workers=1, unit_size=6000, **settings
        )
        found = la.verify(made[name])
        assert found.ok, (name, found.problems)
    return made


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def mutate(folder: Path, chance: random.Random) -> str:
    """Change one thing of a folder; gives what, in words."""
    path = chance.choice(files_of(folder))
    name = path.relative_to(folder).as_posix()
    data = path.read_bytes()
    how = chance.choice(("flip", "cut", "append", "remove", "swap", "value", "add", "link", "pipe", "layout"))
    if how == "value" and path.suffix == ".json":
        return f"{name}: {change_value(path, chance)}"
    if how == "layout" and path.name == "manifest.json":
        return f"{name}: {lay_out_otherwise(path, chance)}"
    if how == "add":
        stray = path.parent / chance.choice(
            (".hidden", "notes.txt", f"{path.stem}-copy{path.suffix}", "more")
        )
        if stray.name == "more":
            stray.mkdir()
        else:
            stray.write_bytes(data[:100])
        return f"{stray.relative_to(folder)} added"
    if how == "remove":
        path.unlink()
    elif how == "link":
        kept = folder.parent / "kept"
        path.rename(kept)
        path.symlink_to(kept)
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "cut":
        path.write_bytes(data[: chance.randrange(len(data))])
    elif how == "append":
        path.write_bytes(data + chance.choice((b"\n\0", b"x", data)))
    elif how == "swap":
        other = chance.choice([p for p in files_of(folder) if p.read_bytes() != data])
        path.write_bytes(other.read_bytes())
    else:
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
    return f"{name}: {how}"


def lay_out_otherwise(path: Path, chance: random.Random) -> str:
    """Write a JSON document in another way that readers of JSON take for the same, or some of them do."""
    text = path.read_text()
    document = json.loads(text)
    key = chance.choice(sorted(document))
    how = chance.choice(("compact", "sorted", "repeated key", "spaces"))
    path.write_text(
        {
            "compact": json.dumps(document),
            "sorted": json.dumps(document, indent=2, sort_keys=True) + "\n",
            "repeated key": text.replace("{", f"{{\n  {json.dumps(key)}: {json.dumps([])},", 1),
            "spaces": text + " " * chance.randrange(1, 9),
        }[how]
    )
    return how


def change_value(path: Path, chance: random.Random) -> str:
    """Change, add or remove one value somewhere in a JSON document."""
    document = json.loads(path.read_text())
    place: Any = document
    keys: list[Any] = []
    while isinstance(place, dict | list) and place:
        keys.append(chance.choice(sorted(place)) if isinstance(place, dict) else chance.randrange(len(place)))
        inner = place[keys[-1]]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.1:
            break
        place = inner
    old = place[keys[-1]]
    how = chance.choice(("other", "remove"))
    if how == "remove":
        del place[keys[-1]]
    else:
        place[keys[-1]] = old + 1 if type(old) in (int, float) else [old, "changed"]
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return f"{how} {keys}"


def promised(manifest: bytes) -> Any:
    """What a manifest promises: all but how long the job took. None: it is no JSON."""
    try:
        document = json.loads(manifest)
        return {name: value for name, value in document.items() if name != "timing"}
    except (ValueError, AttributeError):
        return None


@pytest.mark.parametrize("trials", [48, pytest.param(TRIALS, marks=pytest.mark.slow)])
def test_no_mutation_passes(trials: int, folders: dict[str, Path], tmp_path: Path) -> None:
    chance = random.Random(17)
    missed: list[str] = []
    vain = 0
    for trial in range(trials):
        name, golden = list(folders.items())[trial % len(folders)]
        digest = hashlib.sha256((golden / "manifest.json").read_bytes()).hexdigest()
        out = Path(shutil.copytree(golden, tmp_path / "out"))
        what = mutate(out, chance)
        if la.verify(out).ok:
            # Only the seconds that the job took may be others; the manifest's digest shows that too.
            there, due = ((home / "manifest.json").read_bytes() for home in (out, golden))
            if there == due or promised(there) != promised(due) or la.verify(out, digest=digest).ok:
                missed.append(f"{name}: {what}")
            vain += 1
        shutil.rmtree(out)
        (tmp_path / "kept").unlink(missing_ok=True)
    print(f"{trials} mutations of {len(folders)} folders, {vain} of which changed nothing that is promised")
    assert not missed, "\n".join(missed)


@pytest.mark.parametrize("name", ["manifest.json", "README.md", "_job/plan.json", "_job/lock", "data/more"])
@pytest.mark.parametrize("how", ["pipe", "link", "link to nothing", "link to the folder"])
def test_nothing_but_regular_files_is_opened(name: str, how: str, folder: Path, tmp_path: Path) -> None:
    path = folder / name
    if how == "link" and path.exists():
        shutil.copy(path, tmp_path / "kept")
    path.unlink(missing_ok=True)
    if how == "pipe":
        os.mkfifo(path)  # opening it would wait for a writer for ever
    else:
        targets = {"link": tmp_path / "kept", "link to nothing": "nowhere", "link to the folder": folder}
        path.symlink_to(targets[how])
    found = la.verify(folder, deep=5)
    (problem,) = found.problems
    assert problem.where == name
    assert ("pipe" if how == "pipe" else "symbolic link") in problem.what
    assert found.rows == 0


def test_a_folder_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "data").rename(tmp_path / "moved")
    (folder / "data").symlink_to(tmp_path / "moved")
    (problem,) = la.verify(folder).problems
    assert (problem.where, problem.what) == ("data", "is a symbolic link, not a file")


@pytest.mark.parametrize(
    ("timing", "good"),
    [
        ({"seconds": 7}, True),
        ({"seconds": 0.25}, True),
        ({"seconds": -1}, False),
        ({"seconds": True}, False),
        ({"seconds": float("nan")}, False),
        ({"seconds": 1, "note": "anything"}, False),
        ([["seconds", 1]], False),
        (None, False),
    ],
)
def test_the_timing_is_a_number_of_seconds(timing: Any, good: bool, folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text()) | {"timing": timing}
    (folder / "manifest.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    found = la.verify(folder)
    assert found.ok == good
    assert all("its timing is" in problem.what for problem in found.problems[:1])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: json.dumps(json.loads(text)),
        lambda text: text.replace("{", '{\n  "shards": [],', 1),
        lambda text: text + "\n",
        lambda text: text.replace("{", '{\n  "\\ud800": 1,', 1),
    ],
    ids=["compact", "repeated key", "line added", "half a character"],
)
def test_a_manifest_laid_out_otherwise_is_found(change: Callable[[str], str], folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(change(path.read_text()))
    assert not la.verify(folder).ok


@pytest.mark.parametrize("depth", [200, 900, 980, 100_000])
@pytest.mark.parametrize("name", ["manifest.json", "_job/plan.json", "_job/receipts", "quarantine"])
def test_documents_nested_too_deeply_are_reported(name: str, depth: int, folder: Path) -> None:
    path = folder / name
    if path.is_dir():
        path = next(path.iterdir())
    nested = "[" * depth + "]" * depth
    for text in (nested, path.read_text().replace("{", f'{{"deep": {nested},', 1)):
        path.write_text(text)
        assert not la.verify(folder).ok


def test_a_folder_in_place_of_the_lock_is_found(folder: Path) -> None:
    (folder / "_job/lock").unlink()
    assert la.verify(folder).ok  # copies need none
    (folder / "_job/lock").mkdir()
    (problem,) = la.verify(folder).problems
    assert problem.where == "_job/lock"


def test_the_digest_of_the_manifest_stands_for_the_folder(folder: Path) -> None:
    digest = la.verify(folder).digest
    assert digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert la.verify(folder, digest=digest.upper()).ok
    # A forger who makes every account fit is found by the digest alone.
    lines = next((folder / "quarantine").glob("*.jsonl"))
    lines.write_text(lines.read_text().replace('"message": "', '"message": "forged: ', 1))
    new = hashlib.sha256(lines.read_bytes()).hexdigest()
    edit(folder / f"_job/receipts/{lines.stem}.json", lambda receipt: receipt.update(quarantine=new))
    write_manifest(folder)
    assert la.verify(folder).ok
    (problem,) = la.verify(folder, digest=digest).problems
    assert problem.where == "manifest.json"
    assert digest in problem.what
    with pytest.raises(la.SettingsError, match="64 hexadecimal digits"):
        la.verify(folder, digest="abc")


def test_the_digest_is_printed_and_can_be_given(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS[:5])
    out = tmp_path / "out"
    made = CliRunner().invoke(main, ["convert", str(rows), "-o", str(out), "-t", "builtin"])
    digest = hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    assert digest in made.stdout
    right = CliRunner().invoke(main, ["verify", str(out), "--digest", digest])
    assert (right.exit_code, digest in right.stdout) == (0, True)
    assert CliRunner().invoke(main, ["verify", str(out), "--digest", "0" * 64]).exit_code == 1


def test_a_folder_of_the_older_format_can_be_loaded(folder: Path) -> None:
    edit(
        folder / "manifest.json",
        lambda old: (old.update(format=1), old.pop("files"), old.pop("content_sha256")),
    )
    assert la.Manifest.load(folder).totals["written"] == 87
    (problem,) = la.verify(folder).problems
    assert "older format 1" in problem.what


@pytest.mark.parametrize("deep", [0, 10])
def test_verify_imports_nothing_that_a_folder_names(
    deep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = with_function(tmp_path, monkeypatch)
    make()
    (tmp_path / "ran").unlink()
    found = la.verify(tmp_path / "out", deep=deep)
    assert found.ok
    assert not (tmp_path / "ran").exists()
    if deep:
        assert "--trust-code" in found.warnings[-1]
        assert la.verify(tmp_path / "out", deep=deep, trust_code=True).compared == 5
        # Even where it is trusted, what was changed is found before anything is imported.
        (tmp_path / "ran").unlink()
        (tmp_path / "out/notes.txt").touch()
        assert not la.verify(tmp_path / "out", deep=deep, trust_code=True).ok
        assert not (tmp_path / "ran").exists()


def test_a_manifest_as_configuration_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_function(tmp_path, monkeypatch)()
    (tmp_path / "ran").unlink()
    arguments = ["convert", "--config", str(tmp_path / "out/manifest.json"), "-o", str(tmp_path / "two")]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code != 0
    assert "--safety-function left_by_someone:short" in refused.stderr
    assert not (tmp_path / "ran").exists()
    repeated = CliRunner().invoke(main, [*arguments, "--safety-function", "left_by_someone:short"])
    assert repeated.exit_code == 0, repeated.stderr
    assert (tmp_path / "ran").exists()


def with_function(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """A job with a function whose module notes that it ran, each time that it runs."""
    import sys

    (home / "left_by_someone.py").write_text(
        f"import pathlib\npathlib.Path({str(home / 'ran')!r}).touch()\n"
        "def short(messages):\n    return len(messages[-1]['content']) < 17\n"
    )
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rows = write_jsonl(home / "rows.jsonl", ROWS[:5])

    def forget() -> None:
        sys.modules.pop("left_by_someone", None)

    def make() -> None:
        name = "left_by_someone:short"
        la.convert(rows, home / "out", tokenizer="builtin", workers=1, safety_function=name)
        forget()

    original = la.verify

    def verify(*args: Any, **kwargs: Any) -> Any:
        forget()  # as in a process of its own
        return original(*args, **kwargs)

    monkeypatch.setattr(la, "verify", verify)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return make


def test_an_empty_split_is_not_named_on_the_card(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    heard: list[str] = []

    class Ear(la.Listener):
        def warned(self, message: str) -> None:
            heard.append(message)

    rows = write_jsonl(tmp_path / "rows.jsonl", ROWS[:5])
    split = {"validation": 0.0001}
    manifest = la.convert(rows, tmp_path / "out", tokenizer="builtin", split=split, listener=Ear())
    assert manifest.document["splits"]["validation"]["rows"] == 0
    assert any("the split validation has no rows" in message for message in heard)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].num_rows == 5
    assert la.verify(tmp_path / "out").ok
