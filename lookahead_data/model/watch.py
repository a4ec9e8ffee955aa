"""A time limit in threads other than the main one, where no signal arrives."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

EVERY = 0.1
"""Seconds between two looks at the clock, while anything is watched."""


@dataclass(eq=False)
class _Watched:
    thread: int
    until: float
    error: type[Exception]


_lock = threading.Lock()
_watched: list[_Watched] = []
_watchers: list[threading.Thread] = []


@contextmanager
def watched(seconds: float, error: type[Exception]) -> Iterator[None]:
    """Raise `error` in this thread if the block takes longer.

    The interpreter raises it between two steps of Python, so not before a call into native code returns.
    """
    mine = _Watched(threading.get_ident(), time.monotonic() + seconds, error)
    with _lock:
        _watched.append(mine)
        if not any(watcher.is_alive() for watcher in _watchers):
            _watchers[:] = [threading.Thread(target=_watch, name="template-watch", daemon=True)]
            _watchers[0].start()
    try:
        yield
    finally:
        with _lock:
            if mine in _watched:
                _watched.remove(mine)
            else:  # it was raised, or is about to be; from here on it must not be
                _raise_in(mine.thread, None)


def _watch() -> None:
    while True:
        time.sleep(EVERY)
        with _lock:
            if not _watched:
                _watchers.clear()
                return
            now = time.monotonic()
            for late in [one for one in _watched if one.until < now]:
                _watched.remove(late)
                _raise_in(late.thread, late.error)


def _raise_in(thread: int, error: type[Exception] | None) -> None:
    value = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value)
