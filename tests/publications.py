"""Jobs that fail at each of their publications in turn, and are then done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import lookahead_data as la
from lookahead_data.sink import publish, runs, shards


def contents(folder: Path) -> dict[str, bytes]:
    """All tables and lines of a folder, by path."""
    files = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".jsonl")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fail_at_each(job: Callable[[Path], object], home: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Do a job, each time failing at another publication, and then again; gives how many publications it has.

    Each time the folder must have no manifest behind the failure, and at the end hold what it holds without one.

    Args:
        job: writes into the folder that it is given.
    """
    job(home / "golden")
    golden, original = contents(home / "golden"), publish.commit
    for failing in range(100):
        published: list[Path] = []

        def commit(temporary: Path, path: Path, published: list[Path] = published, at: int = failing) -> None:
            published.append(path)
            if len(published) == at + 1:
                raise la.OutputError("injected", where=str(path))
            original(temporary, path)

        out = home / f"out-{failing}"
        with monkeypatch.context() as patch:
            for module in (publish, runs, shards):
                patch.setattr(module, "commit", commit)
            try:
                job(out)
            except la.OutputError as error:
                assert error.problem == "injected"
            else:
                return failing
        assert not (out / "manifest.json").exists()
        job(out)
        assert contents(out) == golden
        assert la.verify(out).ok
    raise AssertionError("the job publishes more than a hundred times")
