"""A job read from a file: TOML, or the manifest of a finished one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookahead_data.config import MEMORY, known
from lookahead_data.errors import SettingsError
from lookahead_data.paths import check_regular


@dataclass(frozen=True)
class Job:
    """What a configuration file holds: settings, and maybe the inputs and the output.

    Attributes:
        of_folder: it is the manifest of an output folder. That is data, which may come from anywhere: code that it
            names is run only when the user names it too.
    """

    settings: Mapping[str, Any]
    inputs: tuple[str, ...] = ()
    output: str | None = None
    of_folder: bool = False


def load_config(path: str | Path) -> Job:
    """Read a job from a TOML file or from the `manifest.json` of a finished one.

    In TOML the keys are the names of `Settings`, with `inputs` (a list) and `output`, all at the top
    level; `-` and `_` are the same. A manifest gives its settings and inputs, but not its output
    folder.

    Raises:
        SettingsError: the file cannot be read, or names something unknown.
    """
    path = Path(path)
    try:
        check_regular(str(path), SettingsError)
        raw = path.read_bytes()
        if path.suffix == ".json":
            document = json.loads(raw)
            if not isinstance(document, dict) or "settings" not in document:
                raise SettingsError("this JSON file is not a manifest", where=str(path))
            values: dict[str, Any] = dict(document["settings"])
            inputs = [entry["path"] for entry in document.get("inputs", [])]
            # Rows that were handed over in memory cannot be found again.
            return Job(
                known(values, str(path)), tuple(name for name in inputs if name != MEMORY), of_folder=True
            )
        values = {key.replace("-", "_"): value for key, value in tomllib.loads(raw.decode()).items()}
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SettingsError(f"is not valid: {error}", where=str(path)) from None
    listed = values.pop("inputs", [])
    output = values.pop("output", None)
    if not isinstance(listed, str | list) or not all(isinstance(item, str) for item in listed):
        raise SettingsError("inputs must be a path or a list of paths", where=str(path))
    if not isinstance(output, str | None):
        raise SettingsError(f"output must be a path, not {output!r}", where=str(path))
    return Job(known(values, str(path)), tuple([listed] if isinstance(listed, str) else listed), output)
