"""From segments to token ids, with the supervision of every token.

Each segment is encoded by itself, so that the ids of a prompt are exactly those that inference
sees, and supervision starts on a token's border by construction. A tokenizer that treats the start
of a text specially (Llama 2 puts a `▁` there) would see a start in every segment: with such a one
a row is encoded whole, and the borders are found by character offsets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Flags, Ints, booleans, flags_of, lists_of, offsets_of
from lookahead_data.batches import Staged
from lookahead_data.columns import with_column
from lookahead_data.config import Settings
from lookahead_data.model.engines import Engine, Ids, TokenizersEngine
from lookahead_data.model.frames import Frames
from lookahead_data.model.known import Known, TokenLists, known_segments, put_together
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.texts import is_nfc

ANCHORS = ("\n", "a", "1", ".", "€")
"""TokenLists put before a piece of text so that its own start is not one; the first that fits is used."""

AUDIT_EVERY = 1021
"""One row in so many is encoded by `tokenizers` too where a faster engine encodes."""

Segment = dict[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a row, or of a part of it.

    Attributes:
        ids: token ids.
        supervised: for each token, whether the loss counts.
        spans: for each token, the characters of the row's text that it stands for.
    """

    ids: list[int]
    supervised: list[bool]
    spans: list[Span]

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.ids + other.ids, self.supervised + other.supervised, self.spans + other.spans)


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
        notes: Counter[str] = Counter()
        if self._tokenizer.sensitive:
            encoded = self._encode_rows(batch)
        else:
            known = known_segments(batch) if "known" in batch.schema.names else None
            ids, supervised, offsets = self._encode_flat(batch.column("segments"), self._engine, known)
            if not isinstance(self._engine, TokenizersEngine):
                notes["audited"] = self._audit(batch, ids, offsets)
            encoded = Encoded(ids, {"supervised": supervised}, offsets)
            if "previewed" in self.gives:
                encoded.flags["previewed"] = self._previewed(batch, ids, offsets)
        if len(self._prefix) or len(self._suffix):
            encoded = self._framed(encoded)
        batch = with_column(batch, "input_ids", lists_of(encoded.offsets, pa.array(encoded.ids)))
        for name, flags in encoded.flags.items():
            batch = with_column(batch, name, lists_of(encoded.offsets, booleans(flags)))
        return Staged(batch, notes=notes)

    def _encode_flat(
        self, segments: pa.ListArray, engine: Engine, known: Known | None = None
    ) -> tuple[Ids, Flags, Ints]:
        """All segments of all rows at once: ids, supervision, and where each row begins and ends."""
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
        if self._frames is None:
            sizes = np.diff(encoded.offsets)
            flags = np.repeat(flags_of(pc.struct_field(flat, "supervised")), sizes)
        else:
            encoded, flags = put_together(flat, self._frames.encoded(), rest, encoded, known)
        return encoded.ids, flags, encoded.offsets[offsets_of(segments)]

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
        expected, _, bounds = self._encode_flat(segments, self._truth)
        for at, row in enumerate(sampled.tolist()):
            if not np.array_equal(
                expected[bounds[at] : bounds[at + 1]], ids[offsets[row] : offsets[row + 1]]
            ):
                raise EngineDifferenceError(f"row {rows[row] + 1}")
        return len(sampled)

    def _previewed(self, batch: pa.RecordBatch, ids: Ids, offsets: Ints) -> Flags:
        """Which tokens of an answer its preview shows, shape (tokens,).

        Told by the bytes that each token stands for. Rows in which they do not add up to the text are
        encoded one by one, with offsets.
        """
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
        ended = np.zeros(rows, bool)
        if behind == 1 and self._end is not None:
            ended[filled] = ids[offsets[1:][filled] - 1] == self._end
        bounds = offsets + np.concatenate([[0], np.cumsum(before + np.where(ended, 0, behind))])
        heads = bounds[:-1, None] + np.arange(before)
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

    def _encode_rows(self, batch: pa.RecordBatch) -> Encoded:
        """Row by row, by `tokenizers` and with offsets."""
        rows = batch.column("segments").to_pylist()
        tokens = [self.encode_row(row) for row in rows]
        offsets = np.cumsum([0, *(len(row.ids) for row in tokens)], dtype=np.int64)
        ids = np.fromiter(chain.from_iterable(row.ids for row in tokens), np.int32, offsets[-1])
        flags = {"supervised": [flag for row in tokens for flag in row.supervised]}
        if "previewed" in self.gives:
            spans = batch.column("shown").to_pylist()
            flags["previewed"] = [
                flag for at, row in enumerate(tokens) for flag in self._shows(rows[at], row, spans[at])
            ]
        return Encoded(ids, {name: np.array(values, bool) for name, values in flags.items()}, offsets)

    def encode_row(self, segments: Sequence[Segment]) -> Tokens:
        """The tokens of one row, with the characters that each stands for."""
        tokens = Tokens([], [], [])
        at = 0
        if not self._tokenizer.sensitive:
            for segment in segments:
                tokens += self._part([segment], at, start=True)
                at += len(segment["text"])
            return tokens
        start = True
        for special, group in groupby(segments, key=lambda segment: segment["special"]):
            part = list(group)
            tokens += self._part(part, at, start=start)
            text = "".join(segment["text"] for segment in part)
            at += len(text)
            start = self._tokenizer.restarts and special and self._ends_special(text)
        return tokens

    def _ends_special(self, text: str) -> bool:
        return text.endswith(self._tokenizer.special)

    def _part(self, segments: Sequence[Segment], at: int, *, start: bool) -> Tokens:
        """Segments encoded together; a token across a border of supervision forces a second try.

        Args:
            at: where the part stands in the row's text.
            start: whether the tokenizer shall treat the part as the start of a text.
        """
        text = "".join(segment["text"] for segment in segments)
        borders = list(accumulate((len(segment["text"]) for segment in segments), initial=0))
        ids, spans = self._encode(text, segments[0]["special"], start=start)
        for border in borders[1:-1]:
            if any(low < border < high for low, high in spans):
                cut = borders.index(border)
                # The prompt alone, as inference encodes it, and the rest as its continuation.
                return self._part(segments[:cut], at, start=start) + self._part(
                    segments[cut:], at + border, start=False
                )
        flags = [
            segments[min(bisect_right(borders, low), len(segments)) - 1]["supervised"] for low, _ in spans
        ]
        return Tokens(ids, flags, [(at + low, at + high) for low, high in spans])

    def _encode(self, text: str, special: bool, *, start: bool) -> tuple[list[int], list[Span]]:
        if start or not self._tokenizer.sensitive:
            encoding = self._tokenizer.encode([text], special=special)[0]
            return encoding.ids, encoding.offsets
        for anchor, head in self._anchors():
            encoding = self._tokenizer.encode([anchor + text], special=special)[0]
            if encoding.ids[: len(head)] != head:
                continue
            spans = encoding.offsets[len(head) :]
            if all(low >= len(anchor) for low, _ in spans):
                return encoding.ids[len(head) :], [
                    (low - len(anchor), high - len(anchor)) for low, high in spans
                ]
        return self._encode(text, special, start=True)

    def _anchors(self) -> Iterator[tuple[str, list[int]]]:
        yield from zip(ANCHORS, self._tokenizer.encode_ids(ANCHORS), strict=True)

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
