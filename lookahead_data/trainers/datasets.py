"""How `datasets` loads a folder, for the trainers that take a dataset of it."""

from __future__ import annotations

from lookahead_data.config import TRAIN
from lookahead_data.trainers.trainer import VALIDATION, Contents, quoted


def loader(contents: Contents) -> str:
    """The name of the function that loads the folder."""
    return "load_from_disk" if contents.profile == "llama-factory" else "load_dataset"


def loading(contents: Contents, split: str = TRAIN) -> str:
    """The call that gives the rows of a split."""
    split_argument = "" if contents.profile == "llama-factory" else f", split={quoted(split)}"
    return f"{loader(contents)}({quoted(contents.folder)}{split_argument})"


def evaluation(contents: Contents) -> str:
    """The argument of a trainer that gives it the split `validation`, as a line; none without rows of it."""
    return f"    eval_dataset={loading(contents, VALIDATION)},\n" if contents.evaluates else ""


def strategy(contents: Contents) -> str:
    """The argument of its configuration that makes it evaluate: a dataset alone does not."""
    return '        eval_strategy="epoch",\n' if contents.evaluates else ""
