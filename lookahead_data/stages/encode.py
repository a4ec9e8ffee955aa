"""From segments to token ids, with the supervision of every token.

Each segment is encoded by itself, so that the ids of a prompt are exactly those that inference
sees, and supervision starts on a token's border by construction. A tokenizer that treats the start
of a text specially (Llama 2 puts a `▁` there) would see a start in every segment: with such a one
a row is encoded whole, and the borders are found by character offsets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Flags, Ints, booleans, flags_of, lists_of, offsets_of
from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.engines import Engine, Ids, TokenizersEngine
from lookahead_data.model.forged import Forged
from lookahead_data.model.frames import Frames
from lookahead_data.model.known import Known, TokenLists, known_segments, put_together
from lookahead_data.model.one_row import NOTHING, RowEncoder, Segment, Tokens
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.texts import is_nfc

AUDIT_EVERY = 1021
"""One row in so many is encoded by `tokenizers` too where a faster engine encodes."""


class Encoded(NamedTuple):
    """The tokens of many rows, one row after the other.

    Attributes:
        ids: shape (tokens,).
        flags: `supervised` and, where it is asked for, `previewed` of each token, shape (tokens,) each.
        offsets: where each row's tokens begin, and the last ends, shape (rows + 1,).
    """

    ids: Ids
    flags: dict[str, Flags]
    offsets: Ints


class Flat(NamedTuple):
    """The tokens of many rows, of which each segment was encoded by itself.

    Attributes:
        ids, supervised: shape (tokens,).
        offsets: where each row's tokens begin, and the last ends, shape (rows + 1,).
        alone: the places of rows that have to be encoded one by one: text in them became a guarded token, or
            a token may stand across the end of an answer.
    """

    ids: Ids
    supervised: Flags
    offsets: Ints
    alone: Ints


class EngineDifferenceError(Exception):
    """An audited row has other ids by the engine than by `tokenizers`, asked for whole texts."""


class Encode:
    """Adds `input_ids` and `supervised`, and `previewed` where that matters."""

    name = "encode"

    def __init__(
        self,
        settings: Settings,
        tokenizer: LoadedTokenizer,
        engine: Engine,
        *,
        framed: bool,
        end_id: int | None = None,
        frames: Frames | None = None,
    ) -> None:
        """
        Args:
            engine: what encodes.
            frames: those that segments name.
            framed: put the post-processor's own tokens (BOS, EOS) around each row, as is right for
                plain concatenation; a chat template writes them itself.
            end_id: put behind each row too, unless the post-processor or the row has it there already.
        """
        shown, previewed = (("shown",), ("previewed",)) if settings.tells_previewed else ((), ())
        known = ("known",) if frames is not None and settings.mode == "real" else ()
        self.needs = ("row", "segments", *known, *shown)
        self.gives = ("input_ids", "supervised", *previewed)
        self._tokenizer = tokenizer
        self._engine = engine
        self._truth = TokenizersEngine(tokenizer)
        self._frames = frames
        self._alone = RowEncoder(tokenizer)
        self._forged = Forged(tokenizer) if settings.special_tokens != "allow" else None
        self._rejects = settings.special_tokens == "reject"
        self._prefix = np.array(tokenizer.prefix_ids if framed else (), np.int32)
        suffix = tokenizer.suffix_ids if framed else ()
        if end_id is not None and end_id not in suffix:
            suffix = (*suffix, end_id)
        self._suffix = np.array(suffix, np.int32)
        self._end = end_id
        self._real = settings.mode == "real"
        self._count = settings.preview_tokens

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        """
        Raises:
            EngineDifferenceError: the fast engine is not to be trusted with this text.
        """
        sieve = Sieve(batch)
        if self._tokenizer.sensitive:
            encoded = self._encode_rows(batch, sieve)
        else:
            known = known_segments(batch) if "known" in batch.schema.names else None
            flat = self._encode_flat(batch.column("segments"), self._engine, known)
            if not isinstance(self._engine, TokenizersEngine):
                sieve.notes["audited"] = self._audit(batch, flat.ids, flat.offsets)
            encoded = Encoded(flat.ids, {"supervised": flat.supervised}, flat.offsets)
            if "previewed" in self.gives:
                encoded.flags["previewed"] = self._previewed(batch, flat)
            if len(flat.alone):
                encoded = _with_rows(encoded, flat.alone, self._encode_rows(batch, sieve, flat.alone))
        if len(self._prefix) or len(self._suffix):
            encoded = self._framed(encoded)
        columns = {"input_ids": pa.array(encoded.ids)}
        columns |= {name: booleans(flags) for name, flags in encoded.flags.items()}
        return sieve.staged(**{name: lists_of(encoded.offsets, values) for name, values in columns.items()})

    def _encode_flat(self, segments: pa.ListArray, engine: Engine, known: Known | None = None) -> Flat:
        """All segments of all rows at once."""
        flat = segments.flatten()
        texts = pc.struct_field(flat, "text")
        special = flags_of(pc.struct_field(flat, "special"))
        rest = np.arange(len(flat))
        if known is not None and len(known.places):
            unknown = np.ones(len(flat), bool)
            unknown[known.places] = False
            rest = np.flatnonzero(unknown)
            texts, special = texts.take(pa.array(rest)), special[rest]
        encoded = TokenLists(*self._encode_texts(texts, special, engine))
        alone = [self._across(segments, flat)]
        if self._forged is not None:
            alone.append(rest[self._forged.find(texts, special, *encoded)])
            if known is not None:
                bad = self._forged_known(flat, known)
                alone.append(bad)
        owners = np.searchsorted(offsets_of(segments), np.concatenate(alone), side="right") - 1
        if self._frames is None:
            sizes = np.diff(encoded.offsets)
            flags = np.repeat(flags_of(pc.struct_field(flat, "supervised")), sizes)
        else:
            encoded, flags = put_together(flat, self._frames.encoded(), rest, encoded, known)
        return Flat(encoded.ids, flags, encoded.offsets[offsets_of(segments)], np.unique(owners))

    def _forged_known(self, flat: pa.StructArray, known: Known) -> Ints:
        """The places of segments whose known ids hold a guarded token. None of these segments spells one out."""
        assert self._forged is not None
        ids, offsets = known.content
        nothing = pa.array([""] * (len(offsets) - 1), pa.large_string())
        bad = self._forged.find(nothing, np.zeros(len(nothing), bool), ids, offsets)
        return known.places[np.isin(known.messages, bad)]

    def _across(self, segments: pa.ListArray, flat: pa.StructArray) -> Ints:
        """The places of segments that end an answer where a token may join it to what follows."""
        supervised = flags_of(pc.struct_field(flat, "supervised"))
        special = flags_of(pc.struct_field(flat, "special"))
        ends = supervised[:-1] & ~supervised[1:] & (special[:-1] == special[1:])
        starts = offsets_of(segments)[1:-1]
        ends[starts[(starts > 0) & (starts < len(flat))] - 1] = False  # there another row begins
        places = np.flatnonzero(ends)
        if len(places):
            after, before = (pc.struct_field(flat, name).to_numpy() for name in ("after", "before"))
            places = places[(after[places] == 0) & (before[places + 1] == 0)]
        safe = self._tokenizer.safe_tokens
        if not len(places) or not safe:
            return places
        texts = pc.struct_field(flat, "text")
        one = f"(?:{'|'.join(map(re.escape, safe))})"
        ending = pl.Series(texts.take(pa.array(places))).str.tail(len(safe[0])).str.contains(rf"{one}\z")
        places = places[~ending.to_numpy()]
        starting = pl.Series(texts.take(pa.array(places + 1))).str.head(len(safe[0])).str.contains(f"^{one}")
        found: Ints = places[~starting.to_numpy()]
        return found

    def _encode_texts(self, texts: pa.LargeStringArray, special: Flags, engine: Engine) -> tuple[Ids, Ints]:
        if special.all():
            return engine.encode(texts)
        # In a few rows a message spells out a special token, which stays text.
        plain, marked = np.flatnonzero(~special), np.flatnonzero(special)
        ids, offsets = engine.encode(texts.take(pa.array(marked)))
        as_text = self._tokenizer.encode_ids(texts.take(pa.array(plain)).to_pylist())
        before = offsets[plain - np.arange(len(plain))]  # where in `ids` each of them belongs
        pieces: list[Ids] = []
        for low, high, text in zip(np.append(0, before), before, as_text, strict=False):
            pieces += [ids[low:high], np.array(text, np.int32)]
        sizes = np.zeros(len(texts), np.int64)
        sizes[marked] = np.diff(offsets)
        sizes[plain] = [len(text) for text in as_text]
        return np.concatenate([*pieces, ids[before[-1] :]]), np.concatenate([[0], np.cumsum(sizes)])

    def _audit(self, batch: pa.RecordBatch, ids: Ids, offsets: Ints) -> int:
        """Encode a fixed sample of the rows by the truth too, and compare; gives their number."""
        rows = batch.column("row").to_numpy()
        sampled = np.flatnonzero(rows % AUDIT_EVERY == 0)
        if not len(sampled):
            return 0
        segments = batch.column("segments").take(pa.array(sampled))
        if self._frames is not None:
            whole = [self._frames.whole(row) for row in segments.to_pylist()]
            segments = pa.array(whole, segments.type)
        expected, _, bounds, _ = self._encode_flat(segments, self._truth)
        for at, row in enumerate(sampled.tolist()):
            if not np.array_equal(
                expected[bounds[at] : bounds[at + 1]], ids[offsets[row] : offsets[row + 1]]
            ):
                raise EngineDifferenceError(f"row {rows[row] + 1}")
        return len(sampled)

    def _previewed(self, batch: pa.RecordBatch, flat: Flat) -> Flags:
        """Which tokens of an answer its preview shows, shape (tokens,).

        Told by the bytes that each token stands for. Rows in which they do not add up to the text are
        encoded one by one, with offsets.
        """
        ids, offsets = flat.ids, flat.offsets
        found = np.zeros(len(ids), bool)
        sure = np.zeros(batch.num_rows, bool)
        if self._tokenizer.spells_bytes and self._tokenizer.normalizes in (None, "NFC"):
            sizes = self._tokenizer.byte_lengths(ids)
            ends = np.cumsum(sizes)
            rows = np.concatenate([[0], ends])[offsets]
            sure = np.diff(rows) == self._text_sizes(batch.column("segments"))
            spans = batch.column("shown")
            owners = np.repeat(np.arange(batch.num_rows), np.diff(offsets_of(spans)))
            low, high = (rows[owners] + spans.flatten().field(name).to_numpy() for name in ("start", "end"))
            if self._real:
                first = np.searchsorted(ends, low, side="right")
                stop = np.minimum(np.searchsorted(ends - sizes, high), first + self._count)
            else:
                first, stop = np.searchsorted(ends - sizes, low), np.searchsorted(ends, high, side="right")
            first, stop = first[sure[owners]], stop[sure[owners]]
            steps = np.zeros(len(ids) + 1, np.int64)
            np.add.at(steps, first, 1)
            np.add.at(steps, np.maximum(first, stop), -1)
            found = np.cumsum(steps[:-1]) > 0
        sure[flat.alone] = True  # these are encoded one by one anyway
        unsure = np.flatnonzero(~sure)
        if len(unsure):
            slow = self._encode_rows(batch.take(pa.array(unsure)))
            for at, row in enumerate(unsure.tolist()):
                part = slice(slow.offsets[at], slow.offsets[at + 1])
                if not np.array_equal(slow.ids[part], ids[offsets[row] : offsets[row + 1]]):
                    raise EngineDifferenceError(f"row {batch.column('row')[row].as_py() + 1}")
                found[offsets[row] : offsets[row + 1]] = slow.flags["previewed"][part]
        return found

    def _text_sizes(self, segments: pa.ListArray) -> Ints:
        """The bytes of each row's text, or -1 where normalization changes it."""
        texts = pc.struct_field(segments.flatten(), "text")
        bounds = offsets_of(segments)
        sizes = np.concatenate([[0], np.cumsum(pc.binary_length(texts).to_numpy())])[bounds]
        found: Ints = np.diff(sizes)
        if self._tokenizer.normalizes:
            changed = np.concatenate([[0], np.cumsum(~is_nfc(texts))])[bounds]
            found[np.diff(changed) > 0] = -1
        return found

    def _framed(self, encoded: Encoded) -> Encoded:
        """Every row with the post-processor's tokens around it; EOS is learned if the row's end is."""
        ids, flags, offsets = encoded
        before, behind = len(self._prefix), len(self._suffix)
        rows = len(offsets) - 1
        filled = np.diff(offsets) > 0
        begun, ended = np.zeros(rows, bool), np.zeros(rows, bool)
        if self._forged is None and before:
            # Text that was rendered before has its own BOS.
            long = np.flatnonzero(np.diff(offsets) >= before)
            begun[long] = (ids[offsets[long, None] + np.arange(before)] == self._prefix).all(axis=1)
        if behind == 1 and (self._end is not None or self._forged is None):
            ended[filled] = ids[offsets[1:][filled] - 1] == self._suffix[0]
        sizes = np.where(begun, 0, before) + np.where(ended, 0, behind)
        bounds = offsets + np.concatenate([[0], np.cumsum(sizes)])
        heads = bounds[:-1][~begun, None] + np.arange(before)
        tails = bounds[1:][~ended, None] - behind + np.arange(behind)
        own = np.ones(bounds[-1], bool)
        own[heads] = own[tails] = False
        framed = np.zeros(bounds[-1], np.int32)
        framed[own] = ids
        framed[heads], framed[tails] = self._prefix, self._suffix
        wider = {name: np.zeros(bounds[-1], bool) for name in flags}
        for name, values in flags.items():
            wider[name][own] = values
        last = np.zeros(rows, bool)
        last[filled] = flags["supervised"][offsets[1:][filled] - 1]
        wider["supervised"][tails] = last[~ended, None]
        return Encoded(framed, wider, bounds)

    def _encode_rows(
        self, batch: pa.RecordBatch, sieve: Sieve | None = None, places: Ints | None = None
    ) -> Encoded:
        """Row by row, by `tokenizers` and with offsets.

        Args:
            sieve: of the batch; takes the rows that cannot be encoded, of which there must be none without.
            places: of the rows; None is all.
        """
        chosen = batch if places is None else batch.take(pa.array(places))
        rows = chosen.column("segments").to_pylist()
        if self._frames is not None:
            rows = [self._frames.whole(row) for row in rows]
        tokens: list[Tokens] = []
        for at, row in enumerate(rows):
            try:
                tokens.append(self.encode_row(row))
            except RowError as error:
                assert sieve is not None
                text = "".join(segment["text"] for segment in row)
                sieve.reject(at if places is None else int(places[at]), error, text[:200])
                tokens.append(NOTHING)
        offsets = np.cumsum([0, *(len(row.ids) for row in tokens)], dtype=np.int64)
        ids = np.fromiter(chain.from_iterable(row.ids for row in tokens), np.int32, offsets[-1])
        flags = {"supervised": [flag for row in tokens for flag in row.supervised]}
        if "previewed" in self.gives:
            spans = chosen.column("shown").to_pylist()
            flags["previewed"] = [
                flag for at, row in enumerate(tokens) for flag in self._shows(rows[at], row, spans[at])
            ]
        return Encoded(ids, {name: np.array(values, bool) for name, values in flags.items()}, offsets)

    def encode_row(self, segments: Sequence[Segment]) -> Tokens:
        """The tokens of one row, with the characters that each stands for.

        Raises:
            RowError: text of the row becomes a guarded token.
        """
        tokens = self._alone.encode(segments)
        if self._forged is None or not self._alone.forged(segments, tokens):
            return tokens
        if self._rejects:
            raise RowError("special_token_in_text", "the tokenizer makes a special token of text in the row")
        return self._alone.encode_apart(segments)

    def _shows(
        self, segments: Sequence[Segment], tokens: Tokens, shown: Sequence[dict[str, int]]
    ) -> list[bool]:
        """Which tokens of a row's answers their previews show: the first ones in real mode, those that
        lie wholly inside the phrase in virtual mode."""
        flags = [False] * len(tokens.ids)
        raw = "".join(segment["text"] for segment in segments).encode()
        for span in shown:
            start, end = (len(raw[: span[name]].decode()) for name in ("start", "end"))
            if self._real:
                touching = [at for at, (low, high) in enumerate(tokens.spans) if high > start and low < end]
                previewed = touching[: self._count]
            else:
                previewed = [
                    at for at, (low, high) in enumerate(tokens.spans) if start <= low and high <= end
                ]
            for at in previewed:
                flags[at] = True
        return flags


def _with_rows(encoded: Encoded, places: Ints, rows: Encoded) -> Encoded:
    """The tokens of many rows with those of a few rows replaced.

    Args:
        places: of these rows among all, ascending.
    """
    sizes = np.diff(encoded.offsets)
    sizes[places] = np.diff(rows.offsets)
    firsts, lasts = encoded.offsets[:-1][places], encoded.offsets[1:][places]
    keeps = list(zip([0, *lasts.tolist()], [*firsts.tolist(), int(encoded.offsets[-1])], strict=True))
    new = list(zip(rows.offsets[:-1].tolist(), rows.offsets[1:].tolist(), strict=True))

    def replaced(old: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
        parts = [old[slice(*keeps[0])]]
        for keep, mine in zip(keeps[1:], new, strict=True):
            parts += [other[slice(*mine)], old[slice(*keep)]]
        return np.concatenate(parts)

    return Encoded(
        replaced(encoded.ids, rows.ids),
        {name: replaced(flags, rows.flags[name]) for name, flags in encoded.flags.items()},
        np.concatenate([[0], np.cumsum(sizes)]),
    )
