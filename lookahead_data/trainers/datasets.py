"""How `datasets` loads a folder, for the trainers that take a dataset of it."""

from __future__ import annotations

from lookahead_data.trainers.trainer import Contents, quoted


def loader(contents: Contents) -> str:
    """The name of the function that loads the folder."""
    return "load_from_disk" if contents.profile == "llama-factory" else "load_dataset"


def loading(contents: Contents) -> str:
    """The call that loads the folder."""
    split = "" if contents.profile == "llama-factory" else ', split="train"'
    return f"{loader(contents)}({quoted(contents.folder)}{split})"
