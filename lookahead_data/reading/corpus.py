"""The shards of a finished folder: checked against its manifest, and read a row group at a time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookahead_data.arrays import Ints
from lookahead_data.config import TRAIN
from lookahead_data.errors import OutputError
from lookahead_data.plan import READABLE
from lookahead_data.sink.formats import PARQUET
from lookahead_data.sink.manifest import MANIFEST, Manifest
from lookahead_data.sink.profiles import PROFILES
from lookahead_data.sink.shards import Shard

FOOTERS = 8
"""So many shards' footers are kept in memory: one of a full shard takes 4 MB, and milliseconds to read."""

_REMEDY = "Run lookahead-data verify on the folder; what is damaged has to be restored or converted again."


@dataclass(frozen=True, eq=False)
class Corpus:
    """A finished folder, open for reading.

    Attributes:
        manifest: its account.
        columns: what is read of each row. An attention mask is not: all of it is 1.
        digest: names the rows and their order in the shards, whatever the folder is called.
        shards: paths, in order.
        shard, group: of each row group the place of its shard, and its own place there, shape (groups,).
        rows, tokens: of each row group, shape (groups,).
    """

    manifest: Manifest
    columns: tuple[str, ...]
    digest: str
    shards: tuple[Path, ...]
    shard: Ints
    group: Ints
    rows: Ints
    tokens: Ints

    @classmethod
    def open(cls, folder: str | Path, split: str = TRAIN) -> Corpus:
        """Check that the folder is finished and its shards are those of the manifest, by size and footer.

        Args:
            split: the name of the split that is read.

        Raises:
            SettingsError: there is no such split.
            OutputError: there is no manifest, a shard is missing or is another one, or the rows are of a
                kind that is not read here.
        """
        manifest = Manifest.load(folder)
        stated, profile_name = _account(manifest)
        wanted = manifest.shards_of(split)
        stated = [shard for shard in stated if manifest.folder / shard.path in wanted]
        profile = PROFILES.get(profile_name)
        if profile is None or profile.format != PARQUET or not _READ.issuperset(profile.columns):
            raise OutputError(
                f"holds rows of the profile {profile_name}, which are not read here",
                where=str(folder),
                remedy="Convert with one of the profiles sft, packed-trl, packed-hf or packed-megatron.",
            )
        found = [_groups(manifest.folder / shard.path, shard, profile.schema) for shard in stated]
        table = np.concatenate([np.zeros((0, 2), np.int64), *found])
        counts = [len(groups) for groups in found]
        return cls(
            manifest=manifest,
            columns=tuple(name for name in profile.columns if name != "attention_mask"),
            digest=hashlib.sha256(json.dumps([shard.sha256 for shard in stated]).encode()).hexdigest(),
            shards=tuple(manifest.folder / shard.path for shard in stated),
            shard=np.repeat(np.arange(len(stated)), counts),
            group=np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in counts)]),
            rows=table[:, 0],
            tokens=table[:, 1],
        )

    def read(self, groups: Ints) -> pa.Table:
        """The rows of some row groups, in the order given.

        Raises:
            OutputError: a shard can no longer be read.
        """
        tables = []
        for at in groups.tolist():
            path = self.shards[self.shard[at]]
            footer = _footer(path, self.digest)
            # One thread: a trainer's loader has several processes, and others want the cores.
            options = {"columns": self.columns, "use_threads": False}
            with (
                _reading(path),
                pq.ParquetFile(path, metadata=footer, page_checksum_verification=True) as file,
            ):
                tables.append(file.read_row_group(int(self.group[at]), **options))
        return pa.concat_tables(tables)


_READ = {
    "input_ids", "attention_mask", "labels", "loss_mask", "seq_lengths", "position_ids", "seq_start_id",
}  # fmt: skip
"""The columns that `reading.rows` knows how to use."""


def _account(manifest: Manifest) -> tuple[list[Shard], str]:
    """The shards that a manifest names, and the profile of their rows."""
    document = manifest.document
    if document.get("format") not in READABLE:
        raise OutputError(
            f"the folder has the format {document.get('format')!r}, and this version reads {max(READABLE)}",
            where=str(manifest.folder),
            remedy="Read it with the version of lookahead_data that made it (see its `versions`).",
        )
    try:
        return [Shard(**shard) for shard in document["shards"]], manifest.settings.chosen_profile
    except (KeyError, TypeError) as error:
        raise OutputError(
            f"{MANIFEST} is not valid: {error}", where=str(manifest.folder), remedy=_REMEDY
        ) from None


def _groups(path: Path, shard: Shard, schema: pa.Schema) -> Ints:
    """Rows and tokens of each row group of a shard that is what the manifest says, shape (groups, 2)."""
    with _reading(path):
        size = path.stat().st_size
        if size != shard.size:
            raise _wrong(path, f"is {size:,} bytes long, and {MANIFEST} says {shard.size:,}")
        footer = pq.read_metadata(path)
        if not footer.schema.to_arrow_schema().equals(schema):
            raise _wrong(path, f"has the columns {footer.schema.to_arrow_schema().names}, not {schema.names}")
        if footer.num_rows != shard.rows:
            raise _wrong(path, f"holds {footer.num_rows:,} rows, and {MANIFEST} says {shard.rows:,}")
        groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
        ids = schema.names.index("input_ids")
        # A list's leaf column counts its values, which are the tokens.
        found = [(group.num_rows, group.column(ids).num_values) for group in groups]
        return np.array(found, np.int64).reshape(-1, 2)


@functools.lru_cache(FOOTERS)
def _footer(path: Path, digest: str) -> pq.FileMetaData:
    """A shard's footer; the corpus's digest keeps a folder that is made anew from being read by old ones."""
    with _reading(path):
        return pq.read_metadata(path)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what may go wrong on reading a shard into errors that name it."""
    try:
        yield
    except FileNotFoundError:
        raise _wrong(path, "is missing") from None
    except (OSError, pa.ArrowException) as error:
        raise _wrong(path, f"cannot be read: {error}") from None


def _wrong(path: Path, what: str) -> OutputError:
    return OutputError(what, where=str(path), remedy=_REMEDY)


def damaged(corpus: Corpus, what: str) -> OutputError:
    """Rows that do not fit together."""
    return OutputError(what, where=str(corpus.manifest.folder), remedy=_REMEDY)
