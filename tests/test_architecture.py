"""The shape of the house: imports point down, the public names are complete, starting is quick."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lookahead_data
from lookahead_data import columns, errors

PACKAGE = Path(lookahead_data.__file__).parent

FLOORS: dict[str, int] = {
    "_version": 0, "errors": 0, "columns": 0, "batches": 0, "arrays": 0, "texts": 0, "talk": 0, "listener": 0, "assets": 0,
    "rowhash": 0, "display": 0, "cores": 0, "numerals": 0, "lean": 0, "paths": 0,
    "conditions": 1, "config": 1, "jobfile": 1, "plan": 1, "model": 1,
    "source": 2, "stages": 2, "sink": 2, "curation": 2, "demo": 2,
    "planning": 3, "curating": 3, "pipeline": 3, "ordering": 3, "outlet": 3, "rewrite": 3, "reading": 3,
    "backends": 4, "check": 4, "torch": 4,
    "api": 5, "trainers": 5,
    "cli": 6, "__main__": 7,
}  # fmt: skip
"""Which floor a module or folder is on. An import may only go to a lower floor, or stay in its folder."""

SAME_FLOOR: set[tuple[str, str]] = {
    ("batches", "columns"), ("texts", "arrays"), ("talk", "arrays"), ("talk", "columns"), ("batches", "errors"), ("plan", "config"), ("paths", "errors"), ("model", "config"), ("jobfile", "config"),
    ("numerals", "errors"), ("errors", "display"), ("demo", "sink"), ("stages", "curation"), ("sink", "curation"), ("pipeline", "outlet"), ("ordering", "outlet"),
}  # fmt: skip
"""Arrows along a floor: each only this way round."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "lookahead_data":
            yield from (f"lookahead_data.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize(
    ("room", "path"), list(modules()), ids=lambda value: str(value).removeprefix(str(PACKAGE))
)
def test_imports_point_down(room: str, path: Path) -> None:
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "lookahead_data" or len(parts) == 1:
            continue
        target = parts[1]
        assert target == room or FLOORS[target] < FLOORS[room] or (room, target) in SAME_FLOOR, (
            f"{path.relative_to(PACKAGE)} (floor {FLOORS[room]}) imports {name} (floor {FLOORS[target]})"
        )


def test_stages_are_strangers() -> None:
    stages = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    for stage in stages:
        others = {f"lookahead_data.stages.{other}" for other in stages - {stage}}
        assert not others & set(imported(PACKAGE / "stages" / f"{stage}.py"))


def test_every_room_has_its_floor() -> None:
    assert {room for room, _ in modules()} == set(FLOORS)


def test_public_names_are_complete_and_there() -> None:
    for name in lookahead_data.__all__:
        assert getattr(lookahead_data, name) is not None
    assert set(lookahead_data.__all__) == set(lookahead_data._HOMES) | {"__version__"}
    fatal = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.LookaheadError)
    }
    assert fatal <= set(lookahead_data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lookahead_data.nonsense  # noqa: B018


def test_public_functions_and_classes_are_documented() -> None:
    for name in lookahead_data.__all__:
        value = getattr(lookahead_data, name)
        if callable(value):
            assert inspect.getdoc(value), name


HEAVY = [
    "polars", "pyarrow", "tokenizers", "jinja2", "datasketch", "numpy", "rich", "huggingface_hub", "torch",
]  # fmt: skip


@pytest.mark.parametrize("command", ["import lookahead_data", "import lookahead_data.cli"])
def test_starting_loads_nothing_heavy(command: str) -> None:
    code = f"import sys; {command}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_chain_with_a_gap_is_refused() -> None:
    class Gap:
        name = "gap"
        needs = ("labels",)
        gives = ("input_ids",)

    with pytest.raises(ValueError, match="'gap' needs"):
        columns.check_chain([Gap()], ["row"])
    Gap.needs = ("nonsense",)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="undeclared column 'nonsense'"):
        columns.check_chain([Gap()], ["row"])


def test_every_column_says_who_adds_it_and_what_it_means() -> None:
    for column in columns.COLUMNS.values():
        assert column.added_by
        assert column.meaning


def test_converting_loads_nothing_that_near_duplicates_alone_need() -> None:
    code = "import sys, lookahead_data.api; print([n for n in ('scipy', 'datasketch') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("own", [True, False], ids=["a command", "a program"])
def test_a_command_alone_leaves_pandas_out(own: bool, tmp_path: Path) -> None:
    """A program that runs a command in its own process may need pandas afterwards."""
    pytest.importorskip("pandas")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hi", "completion": "Hello there."}\n')
    arguments = ["convert", str(rows), "-o", str(tmp_path / "out"), "--tokenizer", "builtin", "--quiet"]
    module, run = ("lookahead_data.__main__", "run()") if own else ("lookahead_data.cli", "main()")
    code = f"""
import sys
from {module} import {run[:-2]}
sys.argv[1:] = {arguments}
try:
    {run}
except SystemExit as end:
    assert not end.code, end.code
print("pandas" in sys.modules)
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert told[-1] == str(not own)
