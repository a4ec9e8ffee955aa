"""Workers are forked from a process that has loaded everything, or started afresh where that is not safe."""

from __future__ import annotations

import os
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import lookahead_data as la
from lookahead_data import lean
from lookahead_data.backends import nursery
from lookahead_data.backends.nursery import Nursery
from lookahead_data.config import Settings
from lookahead_data.model.engines import Engines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that a crew starts its nursery in; else NumPy would start threads there."""
    for name, value in lean.WORKER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


BUILTIN = Settings(tokenizer="builtin")


def tell(connection: Connection, settings: Settings, engines: Engines | None) -> None:
    """A worker that tells who it is, then waits to be told how to end."""
    nursery.end_with_parent()
    connection.send((os.getpid(), os.getppid(), engines is not None))
    os._exit(connection.recv())


def tell_without_forks(connection: Connection, settings: Settings, engines: Engines | None) -> None:
    tell(connection, settings, engines)


def start_thread_and_tend(*args: object) -> None:
    """A nursery in which a thread runs that it does not know."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    _TEND(*args)  # type: ignore[arg-type]


_TEND = nursery._tend


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_are_forked_with_what_was_loaded() -> None:
    home = Nursery(BUILTIN, tell)
    try:
        started = [home.start() for _ in range(3)]
        told = [connection.recv() for _, connection in started]
        assert len({pid for pid, _, _ in told}) == 3
        assert {parent for _, parent, _ in told} == {home._process.pid}
        assert all(loaded for _, _, loaded in told)
        number, connection = started[1]
        connection.send(7)
        assert home.exit_code(number) == 7
        home.kill(started[2][0])
        with pytest.raises(EOFError):
            started[2][1].recv()
        assert home.exit_code(started[2][0]) == -9
        assert is_running(told[0][0])
    finally:
        home.close()
    assert not is_running(told[0][0])


def test_a_nursery_with_a_thread_starts_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "_tend", start_thread_and_tend)
    home = Nursery(BUILTIN, tell_without_forks)
    try:
        _, connection = home.start()
        _, parent, loaded = connection.recv()
        assert (parent, loaded) == (home._process.pid, False)
    finally:
        home.close()


def test_a_thread_forbids_to_fork() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert not nursery.can_fork()
    finally:
        stop.set()
        thread.join()


def test_a_tokenizer_that_cannot_be_loaded_is_left_to_the_worker() -> None:
    home = Nursery(Settings(tokenizer="./nowhere"), tell)
    try:
        _, connection = home.start()
        assert connection.recv()[2] is False
    finally:
        home.close()


def test_closing_does_not_wait_for_loading() -> None:
    home = Nursery(BUILTIN, tell)
    _, connection = home.start()
    home.close()
    with pytest.raises((EOFError, OSError)):
        connection.recv()


def test_a_nursery_that_is_killed_takes_its_workers_along_and_is_noticed() -> None:
    home = Nursery(BUILTIN, tell)
    try:
        number, connection = home.start()
        pid = connection.recv()[0]
        home._process.kill()
        with pytest.raises((EOFError, OSError)):
            connection.recv()
        late = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < late:
            time.sleep(0.01)
        assert not is_running(pid)
        assert home.exit_code(number) is None
        with pytest.raises(OSError):
            home.start()
    finally:
        home.close()


def test_a_job_in_a_process_with_threads_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {at}?", "completion": f"It is {at}."} for at in range(40)]

    def shards(out: Path, workers: int) -> dict[str, bytes]:
        from lookahead_data.backends import local

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "SMALL", 0)
            la.convert(rows, out, tokenizer="builtin", workers=workers, unit_size=500)
        return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert shards(tmp_path / "two", 2) == shards(tmp_path / "one", 1)
    finally:
        stop.set()
        thread.join()
