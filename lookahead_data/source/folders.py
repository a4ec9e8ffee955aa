"""What a folder holds: which of its files are data, in which order, and of which split.

Folders that other tools write say themselves what belongs to them: `datasets.save_to_disk` in `state.json` and
`dataset_dict.json`, the cache of `datasets` in `dataset_info.json`, the cache of the Hub in `refs/`. Everything else
is told by the names of files and folders.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lookahead_data.errors import InputError
from lookahead_data.source.splits import EVERY, choose, split_of

STATE, DICT, INFO = "state.json", "dataset_dict.json", "dataset_info.json"
DESCRIPTIONS = (STATE, DICT, INFO, "dataset_infos.json")
"""Files that describe data and hold no rows."""


class IsData(Protocol):
    """Whether a file holds rows, by its name; `beside_data`: in a folder where other files do."""

    def __call__(self, name: str, /, *, beside_data: bool = False) -> bool: ...


@dataclass(frozen=True)
class DataFile:
    """One data file of a folder.

    Attributes:
        path: where it is.
        split: the split that it belongs to, or None.
        parts: for a saved dataset whose rows were selected or shuffled, the Arrow files that hold them; `path` is
            then the file of the row indices.
    """

    path: str
    split: str | None = None
    parts: tuple[str, ...] = ()


@dataclass
class Folder:
    """The data files of a folder, and what was not read.

    Attributes:
        passed_over: how many files of each kind are no data.
        notes: what else the user should know, in words.
    """

    files: list[DataFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def read_folder(folder: str, is_data: IsData, wanted: Sequence[str] = ()) -> Folder:
    """The data files of a folder, in order.

    Args:
        is_data: whether a file's name ends in a known format.
        wanted: the splits to read (see `splits.choose`).

    Raises:
        InputError: the folder is incomplete, or holds several splits and none is `train`.
    """
    found = Folder()
    seen: set[str] = set()
    _walk(folder, found, is_data, seen)
    data = [file for file in found.files if is_data(file.path, beside_data=True)]
    if data and len(data) < len(found.files):
        found.passed_over["text files beside data"] += len(found.files) - len(data)
        found.files = data
    _choose_splits(folder, found, wanted)
    if found.passed_over:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.passed_over.items()))
        found.notes.append(f"{folder}: passed over {kinds}")
    return found


def _walk(folder: str, found: Folder, is_data: IsData, seen: set[str]) -> None:
    """Collect the files below a folder; links are followed, each real folder is visited once."""
    real = os.path.realpath(folder)
    if real in seen:  # a link that leads back
        return
    seen.add(real)
    try:
        # As the full paths sort, so that files keep their order whatever the folders between them.
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name + "/" * entry.is_dir())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=folder) from None
    names = {entry.name for entry in entries}
    if STATE in names:
        _saved_dataset(folder, names, found, is_data)
        return
    if DICT in names:
        for name in _declared_splits(folder):
            _walk_split(os.path.join(folder, name), name, found, is_data, seen)
        return
    if {"snapshots", "refs"} <= names:
        _walk(_snapshot(folder, found), found, is_data, seen)
        return
    if {"manifest.json", "_job"} <= names:
        found.passed_over["output folders of lookahead-data"] += 1
        return
    for entry in entries:
        hidden = entry.name.startswith((".", "_"))
        if entry.is_dir():
            if hidden:
                found.passed_over["hidden or private folders (such as .git)"] += 1
            else:
                _walk(entry.path, found, is_data, seen)
        elif entry.name.startswith("cache-") and entry.name.endswith(".arrow") and INFO in names:
            found.passed_over["cache files of datasets"] += 1
        elif hidden or entry.name in DESCRIPTIONS or not is_data(entry.name):
            found.passed_over["files that are not data (such as README.md)"] += 1
        else:
            found.files.append(DataFile(entry.path))


def _walk_split(folder: str, split: str, found: Folder, is_data: IsData, seen: set[str]) -> None:
    """Collect the files of a folder that is one split."""
    if not os.path.isdir(folder):
        raise InputError(
            f"{DICT} names the split {split!r}, and there is no such folder",
            where=os.path.dirname(folder),
            remedy="Copy the whole folder that save_to_disk wrote.",
        )
    inner = Folder()
    _walk(folder, inner, is_data, seen)
    found.files += [DataFile(file.path, split, file.parts) for file in inner.files]
    found.passed_over += inner.passed_over
    found.notes += inner.notes


def _saved_dataset(folder: str, names: set[str], found: Folder, is_data: IsData) -> None:
    """The files that `state.json` of a saved dataset lists, and its row indices, if it has any."""
    state = _load(folder, STATE)
    files = _listed(folder, state, "_data_files")
    indices = _listed(folder, state, "_indices_files")
    split = state.get("_split")
    split = split if isinstance(split, str) else None
    if indices:
        if len(indices) > 1:
            raise InputError(f"{STATE} lists several files of indices", where=folder)
        found.files.append(DataFile(indices[0], split, tuple(files)))
    else:
        found.files += [DataFile(path, split) for path in files]
    known = {os.path.basename(path) for path in (*files, *indices)}
    for name in names - known:
        if name.startswith("cache-") and name.endswith(".arrow"):
            found.passed_over["cache files of datasets"] += 1
        elif is_data(name) and name not in DESCRIPTIONS:
            found.passed_over[f"data files that {STATE} does not list"] += 1


def indexed_by(path: str) -> tuple[str, ...]:
    """The data files of a saved dataset whose row indices are in the file at `path`; none if it holds no indices."""
    folder, name = os.path.split(path)
    if not name.endswith(".arrow") or not os.path.isfile(os.path.join(folder, STATE)):
        return ()
    state = _load(folder, STATE)
    if path not in _listed(folder, state, "_indices_files"):
        return ()
    return tuple(_listed(folder, state, "_data_files"))


def _listed(folder: str, state: dict[str, Any], key: str) -> list[str]:
    paths = []
    for entry in state.get(key) or []:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or os.path.basename(name) != name:
            raise InputError(f"{STATE} does not list files as save_to_disk does", where=folder)
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise InputError(
                f"{STATE} lists {name!r}, and there is no such file",
                where=folder,
                remedy="Copy the whole folder that save_to_disk wrote.",
            )
        paths.append(path)
    return paths


def _declared_splits(folder: str) -> list[str]:
    splits = _load(folder, DICT).get("splits")
    if not isinstance(splits, list) or not all(
        isinstance(name, str) and os.path.basename(name) == name for name in splits
    ):
        raise InputError(f"{DICT} does not list splits as save_to_disk does", where=folder)
    return splits


def _snapshot(folder: str, found: Folder) -> str:
    """The snapshot of a repository in the Hub's cache that `refs/main` names, or the only one."""
    snapshots = sorted(os.listdir(os.path.join(folder, "snapshots")))
    main = Path(folder, "refs", "main")
    revision = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else None
    if revision not in snapshots:
        revision = snapshots[0] if len(snapshots) == 1 else None
    if revision is None:
        raise InputError(
            f"this folder of the Hub's cache has {len(snapshots)} snapshots, and refs/main names none of them",
            where=folder,
            remedy="Name the folder of one snapshot: FOLDER/snapshots/REVISION.",
        )
    if len(snapshots) > 1:
        found.passed_over["other snapshots in the Hub's cache"] += len(snapshots) - 1
    return os.path.join(folder, "snapshots", revision)


def _load(folder: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(Path(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{name} cannot be read: {error}", where=folder) from None
    if not isinstance(value, dict):
        raise InputError(f"{name} holds no JSON object", where=folder)
    return value


def _choose_splits(folder: str, found: Folder, wanted: Sequence[str]) -> None:
    """Keep the files of the splits that are to be read; files of no split stay."""
    files = [
        file if file.split else DataFile(file.path, split_of(os.path.relpath(file.path, folder)), file.parts)
        for file in found.files
    ]
    counts = Counter(file.split for file in files if file.split)
    if wanted and EVERY not in wanted and not counts:
        raise InputError(
            f"there is no split {wanted[0]!r}: the names of its files tell no split",
            where=folder,
            remedy="Leave --input-split out.",
        )
    chosen = choose(sorted(counts), wanted)
    if chosen is None or (wanted and EVERY not in wanted and not chosen):
        problem = (
            "holds several splits, and none is train" if chosen is None else f"has no split {wanted[0]!r}"
        )
        raise InputError(
            f"{problem}; its splits: {', '.join(sorted(counts))}",
            where=folder,
            remedy="Choose with --input-split NAME (repeatable), or take all of them with --input-split all.",
        )
    keep_unnamed = not wanted or EVERY in wanted
    found.files = [file for file in files if (file.split in chosen if file.split else keep_unnamed)]
    left = {name: count for name, count in counts.items() if name not in chosen}
    if left:
        others = ", ".join(
            f"{name} ({count} file{'s' * (count != 1)})" for name, count in sorted(left.items())
        )
        found.notes.append(
            f"{folder}: reading the split {', '.join(chosen)}; not reading {others} (--input-split chooses)"
        )
