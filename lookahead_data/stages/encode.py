"""From segments to token ids, with the supervision of every token.

Each segment is encoded by itself, so that the ids of a prompt are exactly those that inference
sees, and supervision starts on a token's border by construction. A tokenizer that treats the start
of a text specially (Llama 2 puts a `▁` there) would see a start in every segment: with such a one
a row is encoded whole, and the borders are found by character offsets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import pyarrow as pa

from lookahead_data.batches import Staged
from lookahead_data.columns import COLUMNS, with_column
from lookahead_data.config import Settings
from lookahead_data.model.tokenizer import LoadedTokenizer

ANCHORS = ("\n", "a", "1", ".", "€")
"""Texts put before a piece of text so that its own start is not one; the first that fits is used."""

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


class Encode:
    """Adds `input_ids` and `supervised`."""

    name = "encode"
    gives = ("input_ids", "supervised")

    def __init__(self, settings: Settings, tokenizer: LoadedTokenizer, *, framed: bool) -> None:
        """
        Args:
            framed: put the post-processor's own tokens (BOS, EOS) around each row, as is right for
                plain concatenation; a chat template writes them itself.
        """
        self.needs = ("segments", "masked") if settings.mask_preview else ("segments",)
        self._tokenizer = tokenizer
        self._prefix = list(tokenizer.prefix_ids) if framed else []
        self._suffix = list(tokenizer.suffix_ids) if framed else []
        self._real = settings.mode == "real"
        self._count = settings.preview_tokens

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        rows = batch.column("segments").to_pylist()
        masked = batch.column("masked").to_pylist() if "masked" in self.needs else [[]] * len(rows)
        if self._tokenizer.sensitive or any(masked):
            tokens = [
                self._masked(self.encode_row(row), hidden) for row, hidden in zip(rows, masked, strict=True)
            ]
            ids = [row.ids for row in tokens]
            supervised = [row.supervised for row in tokens]
        else:
            ids, supervised = self._encode_batch(rows)
        if self._prefix or self._suffix:
            supervised = [
                [False] * len(self._prefix) + flags + [flags[-1] if flags else False] * len(self._suffix)
                for flags in supervised
            ]
            ids = [self._prefix + row + self._suffix for row in ids]
        batch = with_column(batch, "input_ids", pa.array(ids, COLUMNS["input_ids"].type))
        return Staged(with_column(batch, "supervised", supervised))

    def _encode_batch(self, rows: Sequence[Sequence[Segment]]) -> tuple[list[list[int]], list[list[bool]]]:
        """All segments of all rows, those of one kind in one call."""
        flat = [segment for row in rows for segment in row]
        encoded: list[list[int]] = [[]] * len(flat)
        for special in (True, False):
            places = [at for at, segment in enumerate(flat) if segment["special"] is special]
            found = self._tokenizer.encode_ids([flat[at]["text"] for at in places], special=special)
            for at, found_ids in zip(places, found, strict=True):
                encoded[at] = found_ids
        pairs = iter(zip(flat, encoded, strict=True))
        all_ids, all_flags = [], []
        for row in rows:
            ids: list[int] = []
            flags: list[bool] = []
            for _ in row:
                segment, found_ids = next(pairs)
                ids += found_ids
                flags += [segment["supervised"]] * len(found_ids)
            all_ids.append(ids)
            all_flags.append(flags)
        return all_ids, all_flags

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

    def _masked(self, tokens: Tokens, hidden: Sequence[dict[str, int]]) -> Tokens:
        """The tokens with the previewed heads of the answers taken out of the loss."""
        flags = list(tokens.supervised)
        for span in hidden:
            start, end = span["start"], span["end"]
            if self._real:
                touching = [at for at, (low, high) in enumerate(tokens.spans) if high > start and low < end]
                previewed = touching[: self._count]
            else:
                previewed = [
                    at for at, (low, high) in enumerate(tokens.spans) if start <= low and high <= end
                ]
            for at in previewed:
                flags[at] = False
        return Tokens(tokens.ids, flags, tokens.spans)
