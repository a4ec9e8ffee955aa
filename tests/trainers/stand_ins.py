"""Stand-ins for modules that a trainer imports and that a test has no need of."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any


class Anything:
    """Takes any arguments; as a decorator it leaves a function as it is."""

    def __new__(cls, *args: Any, **given: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else super().__new__(cls)

    def __init__(self, *args: Any, **given: Any) -> None:
        pass

    def __call__(self, *args: Any, **given: Any) -> Any:
        return Anything(*args, **given)


class StandIn(ModuleType):
    """A module that has every name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


def stand_in(*names: str) -> None:
    """Have stand-ins imported by these names."""
    for name in names:
        sys.modules[name] = StandIn(name)
