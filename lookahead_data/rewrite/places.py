"""Texts changed in their places inside of a row, through lists, objects and JSON in texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lookahead_data.source.names import as_object
from lookahead_data.source.parts import Path
from lookahead_data.source.turns import ROLE_KEYS


def edited(value: Any, path: Path, edit: Callable[[str], str]) -> Any:
    """A value with the text at the end of a path edited; what is not on the way is shared with the old value.

    Args:
        value: a row, or a part of one. A text before the end of the path is JSON, and becomes JSON again.
    """
    if not path:
        return edit(value)
    key, rest = path[0], path[1:]
    if isinstance(value, str):
        return json.dumps(edited(json.loads(value), path, edit), ensure_ascii=False)
    if isinstance(value, list):
        return [edited(item, rest, edit) if at == key else item for at, item in enumerate(value)]
    if isinstance(key, int):  # messages as an object of lists, or one message that stands for a list of it
        lists = any(isinstance(value.get(name), list) for name in ROLE_KEYS)
        return edited(value, (rest[0], key, *rest[1:]) if lists else rest, edit)
    return {name: edited(item, rest, edit) if name == key else item for name, item in value.items()}


def as_objects(value: Any) -> Any:
    """A value with the maps of Arrow in it as objects, which JSON has and Arrow takes for maps."""
    value = as_object(value)
    if isinstance(value, dict):
        return {name: as_objects(item) for name, item in value.items()}
    return [as_objects(item) for item in value] if isinstance(value, list) else value
