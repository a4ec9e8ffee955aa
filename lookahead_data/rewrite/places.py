"""Texts changed in their places inside of a row, through lists, objects, maps of Arrow and JSON in texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lookahead_data.source.parts import Path


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
    if isinstance(value, list) and isinstance(key, str):  # a map of Arrow
        return [(name, edited(item, rest, edit)) if name == key else (name, item) for name, item in value]
    if isinstance(value, list):
        return [edited(item, rest, edit) if at == key else item for at, item in enumerate(value)]
    return {name: edited(item, rest, edit) if name == key else item for name, item in value.items()}
