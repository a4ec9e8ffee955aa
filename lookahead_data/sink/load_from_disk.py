"""The two files by which `datasets.load_from_disk` takes an output folder for a saved dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookahead_data.sink.formats import ARROW
from lookahead_data.sink.manifest import Manifest
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.publish import write_json

INFO = "dataset_info.json"
STATE = "state.json"


def write_dataset_files(manifest: Manifest) -> None:
    """Publish the files, if the folder's profile is one that `datasets` loads from disk."""
    if PROFILES[manifest.settings.chosen_profile].format == ARROW:
        for name, document in dataset_files(manifest.document).items():
            write_json(manifest.folder / name, document)


def dataset_files(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the files hold, by name.

    The columns' types are left out: `datasets` finds them in the shards, and spells them otherwise
    since its version 4.

    Args:
        manifest: the manifest's document.
    """
    return {
        INFO: {"description": f"Made by lookahead_data {manifest['versions']['lookahead_data']}."},
        STATE: {
            "_data_files": [{"filename": shard["path"]} for shard in manifest["shards"]],
            "_fingerprint": manifest["fingerprint"][:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": "train",
        },
    }
