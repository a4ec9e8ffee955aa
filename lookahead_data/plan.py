"""The plan: everything that a job depends on, fixed before a byte is converted.

Units depend on the input and the settings alone, never on workers or batches. So the output is the
same for any number of workers, a stopped job can be taken up again, and the plan's fingerprint
names the job.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jinja2
import numpy as np
import polars
import pyarrow
import tokenizers

from lookahead_data._version import __version__
from lookahead_data.config import Settings
from lookahead_data.errors import InputError

FORMAT = 2
"""The version of what is written into the output folder."""

READABLE = (1, 2)
"""Formats whose shards and manifest this version can read. 2 names every file of the folder in the manifest."""


@dataclass(frozen=True)
class InputFile:
    """One input file.

    Attributes:
        name: what the manifest, errors and rejects call it: the path as it was found from what the
            user named, or a word for data that was handed over in memory.
        path: where to open it.
        format, compression: values of `source.discover.FORMATS` and `COMPRESSIONS` (or None).
        size: bytes on disk.
        mtime_ns: time of the last change; a difference while the job runs ends the job.
        sha256: of its bytes; empty until the job is planned.
        ctime_ns: when its inode last changed, which programs cannot set back. Where only this differs, the bytes
            are digested again, as long as `sha256` is known: a file may also have been renamed, or got other rights.
            None is not known.
    """

    name: str
    path: str
    format: str
    compression: str | None
    size: int
    mtime_ns: int
    sha256: str = ""
    ctime_ns: int | None = None

    def describe(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"path": self.name, "size": self.size, "sha256": self.sha256}

    def check_unchanged(self) -> None:
        """Raise `InputError` if the file is no longer what it was when the job was planned."""
        try:
            now = os.stat(self.path)
        except OSError as error:
            raise InputError(f"can no longer be read: {error.strerror}", where=self.name) from None
        same = (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)
        if same and self.ctime_ns not in (None, now.st_ctime_ns):
            same = bool(self.sha256) and _digest_at(self.path, now.st_ctime_ns) == self.sha256
        if not same:
            raise InputError(
                "changed while the job was running",
                where=self.name,
                remedy="Start again when nothing writes to the inputs any more.",
            )


@functools.lru_cache(maxsize=1024)
def _digest_at(path: str, ctime_ns: int) -> str:
    """The SHA-256 of a file as it was at that time, computed once for all units."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@dataclass(frozen=True)
class Unit:
    """A range of one input file, converted and accounted for as a whole.

    Attributes:
        index: its place in the job, from 0.
        file: the place of its file among the plan's inputs.
        start, stop, first_row, size: see `source.records.Split`.
    """

    index: int
    file: int
    start: int
    stop: int
    first_row: int
    size: int

    @property
    def name(self) -> str:
        return f"unit-{self.index:05d}"


@dataclass(frozen=True)
class KeyRange:
    """Rows of one split that stand next to each other in an order, published and accounted for as a whole.

    Which ranges there are is told by the plan and the receipts of its units, once all of them are converted.

    Attributes:
        index: its place in the job, from 0.
        split: the name of the split.
        number: its place in the split, from 0.
        low, high: it has the rows whose keys are at least `low` and less than `high`.
    """

    index: int
    split: str
    number: int
    low: int
    high: int

    @property
    def name(self) -> str:
        return f"range-{self.index:05d}"


@dataclass(frozen=True)
class Plan:
    """A job, fixed.

    Attributes:
        settings: with `template_date` set where the template depends on the day.
        inputs, units: in order.
        evaluation: the files of evaluation items that the corpus must not hold.
        function: the SHA-256 of the module of the user's function that tells safety rows, if there is one.
        shapes: those of the inputs, in their order: the arguments of `source.conversations.Shape`.
        tokenizer: name and SHA-256.
        template: name and SHA-256, or None for plain concatenation.
        warnings: what was noticed on planning, for people.
    """

    settings: Settings
    inputs: tuple[InputFile, ...]
    units: tuple[Unit, ...]
    shapes: tuple[Mapping[str, Any], ...]
    tokenizer: Mapping[str, str]
    template: Mapping[str, str] | None
    warnings: tuple[str, ...] = ()
    evaluation: tuple[InputFile, ...] = ()
    function: str | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of the shapes: `text` alone, or any of the others."""
        return frozenset(str(shape["kind"]) for shape in self.shapes)

    def document(self) -> dict[str, Any]:
        """What the fingerprint is taken over, as plain values."""
        return {
            "format": FORMAT,
            "versions": versions(),
            # As JSON gives it back: template arguments may hold tuples, or keys that are numbers.
            "settings": json.loads(json.dumps(self.settings.to_dict())),
            "inputs": [
                item.describe() | {"shape": dict(shape)}
                for item, shape in zip(self.inputs, self.shapes, strict=True)
            ],
            "evaluation": [item.describe() for item in self.evaluation],
            "function": self.function,
            "units": [asdict(unit) for unit in self.units],
            "tokenizer": dict(self.tokenizer),
            "template": dict(self.template) if self.template else None,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the output depends on."""
        return fingerprint_of(self.document())


def fingerprint_of(document: Mapping[str, Any]) -> str:
    """The fingerprint of the plan whose `Plan.document()` this is."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def versions() -> dict[str, str | None]:
    """The versions of all that can change the output; None is not installed."""
    try:
        gigatoken = importlib.metadata.version("gigatoken")
    except importlib.metadata.PackageNotFoundError:
        gigatoken = None
    return {
        "gigatoken": gigatoken,
        "lookahead_data": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "pyarrow": pyarrow.__version__,
        "polars": polars.__version__,
        "tokenizers": tokenizers.__version__,
        "jinja2": jinja2.__version__,
        "numpy": np.__version__,
    }
