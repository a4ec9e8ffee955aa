"""The tokens of one row, with the characters that each stands for: the slow, obvious way.

It is the way of tokenizers that treat the start of a text specially, of rows whose segments cannot be
encoded apart, and of rows in which text would become a guarded token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from lookahead_data.errors import RowError
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


NOTHING = Tokens([], [], [])


class RowEncoder:
    """Encodes rows one by one."""

    def __init__(self, tokenizer: LoadedTokenizer) -> None:
        self._tokenizer = tokenizer
        self._guarded = frozenset(tokenizer.guarded_ids.values())

    def forged(self, segments: Sequence[Segment], tokens: Tokens) -> bool:
        """Whether a row has other guarded tokens than those that are written in its segments and meant."""
        found = [token for token in tokens.ids if token in self._guarded]
        ids = self._tokenizer.guarded_ids
        texts = [segment["text"] for segment in segments if segment["special"]]
        pattern = self._tokenizer.guarded_pattern
        matches = [m.group() for text in texts for m in (pattern.finditer(text) if pattern else ())]
        tokens_written = (match if match in ids else match.strip() for match in matches)
        return found != [ids[token] for token in tokens_written if token in ids]

    def encode(self, segments: Sequence[Segment]) -> Tokens:
        """The tokens of a row.

        A prompt is encoded as inference encodes it: an answer begins with a token of its own. What follows an
        answer may be joined to it by a token, as it is in the prompt of the next answer.
        """
        tokens = NOTHING
        at = 0
        start = True
        for part in self._parts(segments):
            text = "".join(segment["text"] for segment in part)
            tokens += self._part(part, at, start=start)
            at += len(text)
            special = part[-1]["special"]
            start = self._tokenizer.restarts and special and text.endswith(self._tokenizer.special)
        return tokens

    def encode_apart(self, segments: Sequence[Segment]) -> Tokens:
        """The tokens of a row, with no guarded token but those that are written in segments that mean them.

        Raises:
            RowError: text would become one all the same.
        """
        tokens = NOTHING
        at = 0
        start = True
        for segment in self._refined(segments):
            tokens += (
                self._part([segment], at, start=start)
                if segment["special"]
                else self._as_text(segment, at, start)
            )
            at += len(segment["text"])
            start = self._tokenizer.restarts and segment["special"]
        return tokens

    def _refined(self, segments: Sequence[Segment]) -> Iterator[Segment]:
        """The segments cut at guarded tokens that are meant; each then is one of these, or text."""
        pattern = self._tokenizer.guarded_pattern
        for segment in segments:
            text, at = segment["text"], 0
            for match in pattern.finditer(text) if pattern and segment["special"] else ():
                if at < match.start():
                    yield segment | {"text": text[at : match.start()], "special": False}
                yield segment | {"text": match.group()}
                at = match.end()
            if at < len(text):
                yield segment | {"text": text[at:], "special": False}

    def _as_text(self, segment: Segment, at: int, start: bool) -> Tokens:
        """The tokens of text, cut inside of what would be a guarded token."""
        tokens = NOTHING
        waiting = [(at, segment["text"], start)]
        while waiting:
            at, text, start = waiting.pop()
            found = self._part([segment | {"text": text}], at, start=start)
            bad = [span for token, span in zip(found.ids, found.spans, strict=True) if token in self._guarded]
            if not bad:
                tokens += found
                continue
            low, high = bad[0][0] - at, bad[0][1] - at
            cut = low + max(1, (high - low) // 2)
            if not 0 < cut < len(text):
                raise RowError(
                    "special_token_in_text",
                    f"the tokenizer makes a special token of the text {text[low:high][:40]!r}",
                )
            waiting += [(at + cut, text[cut:], False), (at, text[:cut], start)]
        return tokens

    def _parts(self, segments: Sequence[Segment]) -> Iterator[list[Segment]]:
        """The segments in groups that are encoded together."""
        for _, group in groupby(segments, key=lambda segment: segment["special"]):
            if self._tokenizer.sensitive:
                yield list(group)
                continue
            part: list[Segment] = []
            for segment in group:
                if part and not self._joins(part[-1], segment):
                    yield part
                    part = []
                part.append(segment)
            yield part

    def _joins(self, left: Segment, right: Segment) -> bool:
        """Whether a token may stand across the border of two segments."""
        safe = self._tokenizer.safe_tokens
        return (
            left["supervised"]
            and not right["supervised"]
            and not left["text"].endswith(safe)
            and not right["text"].startswith(safe)
        )

    def _part(self, segments: Sequence[Segment], at: int, *, start: bool) -> Tokens:
        """Segments encoded together; a token across the start of an answer forces a second try.

        Args:
            at: where the part stands in the row's text.
            start: whether the tokenizer shall treat the part as the start of a text.
        """
        text = "".join(segment["text"] for segment in segments)
        borders = list(accumulate((len(segment["text"]) for segment in segments), initial=0))
        ids, spans = self._encode(text, segments[0]["special"], start=start)
        for cut, border in enumerate(borders[1:-1], 1):
            if segments[cut]["supervised"] and any(low < border < high for low, high in spans):
                # The prompt alone, as inference encodes it, and the rest as its continuation.
                return self._part(segments[:cut], at, start=start) + self._part(
                    segments[cut:], at + border, start=False
                )
        flags = [
            segments[min(bisect_right(borders, low), len(segments)) - 1]["supervised"] for low, _ in spans
        ]
        for at_token, (low, high) in enumerate(spans if len(segments) > 1 else ()):
            # A token that goes on behind an answer is not what the model writes at its end, unless it is one
            # that takes the white space behind it along.
            if flags[at_token] and ids[at_token] not in self._guarded:
                flags[at_token] = all(not low < border < high for border in borders[1:-1])
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
