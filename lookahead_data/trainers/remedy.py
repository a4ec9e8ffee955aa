"""The command that makes of the same inputs a folder that a trainer reads."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lookahead_data.config import MEMORY, Settings
from lookahead_data.sink.profiles import PROFILES

PACK = 4096
"""Tokens of a packed row, where nothing says how many and no document is longer."""


def remedy(folder: Path, settings: Settings, inputs: Sequence[str], longest: int, profile: str) -> str:
    """What to do to get the folder's rows in another profile, for people.

    Args:
        settings, inputs: of the job that made the folder.
        longest: tokens of the longest document.
    """
    wanted = in_profile(settings, profile, longest)
    if MEMORY in inputs:
        pack = f" and pack={wanted.pack}" if wanted.pack else ""
        return f"Convert the rows, which were handed over in memory, again with profile={profile!r}{pack}."
    words = ["lookahead-data", "convert", *inputs, "-o", f"{folder}-{profile}", *options(wanted)]
    return f"Convert again: {shlex.join(words)}"


def in_profile(settings: Settings, profile: str, longest: int) -> Settings:
    """The settings that give the same documents in another profile, in one split where it knows no more."""
    changes: dict[str, Any] = {"profile": profile}
    if profile == "llama-factory":
        changes["split"] = {}  # it is one dataset
    if PROFILES[profile].packed and settings.pack is None:
        most = max(longest, settings.max_length or 0, 2)
        changes["pack"] = max(PACK, 1 << (most - 1).bit_length())
    elif settings.pack is not None and not PROFILES[profile].packed:
        changes |= {"pack": None, "packing": Settings.packing, "tail": Settings.tail}
        if settings.overlength == "split":
            changes["overlength"] = "drop"  # unpacked, a document is not cut
        else:
            changes["max_length"] = settings.document_limit
    return settings.replace(**changes)


NAMES = {"template_args": "--template-arg", "refusals": "--refusal"}
"""Options whose name is not that of the setting."""


def options(settings: Settings) -> Iterator[str]:
    """The settings that are not the default, as options of the command line."""
    usual = Settings()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        option = NAMES.get(field.name, f"--{field.name.replace('_', '-')}")
        if value is None or value == getattr(usual, field.name):
            continue
        if isinstance(value, Mapping):
            for key, argument in value.items():
                yield option
                yield f"{key}={argument if field.name == 'mix' else json.dumps(argument)}"
        elif isinstance(value, tuple):
            for item in value:
                yield option
                yield item
        elif isinstance(value, bool):
            yield option if value else option.replace("--", "--no-", 1)
        else:
            yield option
            yield str(value)
