"""From a conversation to segments: pieces of text, each wholly supervised or wholly context.

What is supervised is what the model must produce at inference: from the end of the generation
prompt through the end-of-turn token. It is worked out on the pieces of the rendered rope, where
the template's text and the messages' are told apart, never by searching the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from lookahead_data.arrays import (
    Ints,
)
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import COLUMNS
from lookahead_data.config import Settings
from lookahead_data.errors import RowError, TemplateError
from lookahead_data.model.places import Places, Span, common_start, literal_ranges, outside_tag
from lookahead_data.model.rope import Rope, concat, cut, pieces_of, plain
from lookahead_data.model.shapes import SegmentLayout, Shape, Texts
from lookahead_data.model.template import ChatTemplate, Message
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.model.trace import MARKS, note_needle, probe_for, recording

VERIFIED = 8
"""Rows of each batch that plain Jinja renders too: of those rendered by a trace, spread over the
batch, and of those rendered one by one."""

_Row = tuple[list[dict[str, Any]], list[dict[str, int]]]


@dataclass(frozen=True)
class Rendered:
    """A conversation as text.

    Attributes:
        text: the whole row, with the origin of every piece.
        spans: the supervised character ranges, in order.
        notes: what is worth counting about it.
    """

    text: Rope
    spans: list[Span]
    notes: tuple[str, ...] = ()


class Render:
    """Adds `segments`, and `masked` where previewed tokens stay out of the loss."""

    name = "render"
    needs = ("messages", "previews")

    def __init__(self, settings: Settings, tokenizer: LoadedTokenizer, template: ChatTemplate | None) -> None:
        self._settings = settings
        self._template = template
        self._special = tokenizer.special_pattern
        self._spelled = tokenizer.special
        self._guards = settings.special_tokens != "allow"
        self._masks = settings.mask_preview
        self._layouts: dict[Shape, SegmentLayout | None] = {}
        self._met: set[Shape] = set()
        self._end = settings.end_token or ""
        self.gives = ("segments", "masked") if settings.mask_preview else ("segments",)

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        if self._masks:
            rows = self._render_rows(batch, np.arange(batch.num_rows), sieve)
            return sieve.staged(
                segments=[segments for segments, _ in rows], masked=[masked for _, masked in rows]
            )
        return sieve.staged(segments=self._render_batch(batch, sieve))

    def _render_batch(self, batch: pa.RecordBatch, sieve: Sieve) -> pa.Array:
        """The segments of all rows: those of one shape together, the others one by one."""
        texts = Texts(batch.column("messages"))
        found: list[pa.Array] = []
        places: list[Ints] = []
        singly: list[Ints] = []
        spread = np.linspace(0, batch.num_rows, VERIFIED, endpoint=False).astype(np.int64)
        for shape, rows in texts.by_shape():
            layout = self._layout(shape)
            if layout is None:
                singly.append(rows)
                continue
            regular = layout.regular(texts, rows)
            singly.append(rows[~regular])
            rows = rows[regular]
            if not len(rows):
                continue
            segments = layout.segments(texts, rows)
            sample = np.flatnonzero(np.isin(rows, spread)) if shape in self._met else np.arange(2)
            self._met.add(shape)
            if not self._as_expected(batch, rows, segments, sample[sample < len(rows)]):
                # The trace does not hold after all: all rows of the shape are rendered one by one.
                self._layouts[shape] = None
                singly.append(rows)
                sieve.notes["trace_differs"] += len(rows)
                continue
            for note in layout.notes:
                sieve.notes[note] += len(rows)
            found.append(segments)
            places.append(rows)
        rest = np.sort(np.concatenate([*singly, np.zeros(0, np.int64)]).astype(np.int64))
        if len(found) == 1 and not len(rest):
            return found[0]
        rendered = [segments for segments, _ in self._render_rows(batch, rest, sieve)]
        found.append(pa.array(rendered, COLUMNS["segments"].type))
        places.append(rest)
        order = np.argsort(np.concatenate(places))
        return pa.concat_arrays(found).take(pa.array(order))

    def _as_expected(self, batch: pa.RecordBatch, rows: Ints, segments: pa.Array, sample: Ints) -> bool:
        """Whether the sampled ones of the rows have the segments that rendering them alone gives."""
        ignored = Sieve(batch)
        expected = [row for row, _ in self._render_rows(batch, rows[sample], ignored)]
        return not ignored.rejects and segments.take(pa.array(sample)).to_pylist() == expected

    def _render_rows(self, batch: pa.RecordBatch, rows: Ints, sieve: Sieve) -> list[_Row]:
        """Rows one by one: their segments, and what of them is masked."""
        found: list[_Row] = []
        chosen = batch.take(pa.array(rows)) if len(rows) < batch.num_rows else batch
        previews = chosen.column("previews").to_pylist()
        for at, nullable in enumerate(chosen.column("messages").to_pylist()):
            messages = [{k: v for k, v in message.items() if v is not None} for message in nullable]
            segments: list[dict[str, Any]] = []
            masked: list[dict[str, int]] = []
            try:
                rendered = self.render(messages, verify=at < VERIFIED)
                segments = self._segments(rendered)
                masked = self._masked(rendered, messages, previews[at])
                sieve.notes.update(rendered.notes)
            except RowError as error:
                sieve.reject(int(rows[at]), error, " ⏎ ".join(m["content"] for m in messages)[:200])
            found.append((segments, masked))
        return found

    def _layout(self, shape: Shape) -> SegmentLayout | None:
        """The layout of a shape of conversation, traced when it is first met; None if it has none."""
        if shape not in self._layouts:
            self._layouts[shape] = self._trace(shape)
        return self._layouts[shape]

    def _trace(self, shape: Shape) -> SegmentLayout | None:
        messages: list[dict[str, str]] = []
        for at, (role, reasons) in enumerate(shape):
            message = {"role": role, "content": probe_for((at, "content"))}
            if reasons:
                message["reasoning_content"] = probe_for((at, "reasoning_content"))
            messages.append(message)
        with recording() as recorder:
            try:
                rendered = self.render(messages)
            except RowError:
                return None
        pieces = [
            ([piece for piece in pieces_of(part) if piece.text], supervised)
            for part, supervised in self._cuts(rendered)
        ]
        if recorder.opaque is not None or self._may_form_special(rendered.text):
            return None
        for segment, _ in pieces:
            for piece in segment:
                whole = piece.slot is not None and piece.text == probe_for(piece.slot)
                if not whole and (piece.slot is not None or any(mark in piece.text for mark in MARKS)):
                    return None  # a text cut in two, or one whose origin was lost
        needles = recorder.needles | (set(self._spelled) if self._guards else set())
        return SegmentLayout(pieces, frozenset(needles), rendered.notes)

    def _may_form_special(self, text: Rope) -> bool:
        """Whether a special token could stand partly in the template's text and partly in a message's."""
        pieces = pieces_of(text)
        for left, right in pairwise(pieces):
            if left.slot is not None and right.slot is not None:
                return True
            for token in self._spelled:
                if any(
                    (left.slot is None and left.text.endswith(token[:cut]))
                    or (right.slot is None and right.text.startswith(token[cut:]))
                    for cut in range(1, len(token))
                ):
                    return True
        return False

    def render(self, messages: Sequence[Message], *, verify: bool = False) -> Rendered:
        """The conversation as text, with its supervised ranges.

        Raises:
            RowError: the template refuses it, breaks on it, or leaves something out.
        """
        if self._template is None:
            return self._concatenate(messages)
        full = self._template.render(messages)
        if verify and full != self._template.render_plain(messages):
            raise TemplateError(
                "renders otherwise when it is traced than in plain Jinja",
                where=f"chat template {self._template.name}",
                remedy="This is a fault of lookahead_data; please report it with the template.",
            )
        notes = set(_check_complete(full, messages))
        answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        if any(piece.generation for piece in pieces_of(full)):
            return Rendered(full, self._marked(full, answers), tuple(sorted(notes)))
        layout = Places(full)
        spans: list[Span] = []
        for turn in answers[-1:] if self._settings.supervise == "last" else answers:
            start, differs = self._start(layout, messages, turn)
            if spans and start < spans[-1][1]:
                start, differs = layout.first(turn), True
            alone = self._alone(messages, turn)
            end, closed = self._stop(layout, alone, messages, turn)
            spans.append((start, max(start, end)))
            if differs or not plain(alone or "").startswith(layout.text[:end]):
                notes.add("differs_from_inference")
            if not closed and self._end and turn == len(messages) - 1:
                full = concat([cut(full, 0, end), self._end])
                spans[-1] = (start, len(full))
            elif not closed:
                notes.add("turn_without_end_token")
        return Rendered(full, spans, tuple(sorted(notes)))

    def _concatenate(self, messages: Sequence[Message]) -> Rendered:
        pieces: list[Rope] = []
        spans: list[Span] = []
        at = 0
        answers = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        for turn, message in enumerate(messages):
            text = message["content"]
            pieces.append(Rope.of(text, (turn, "content")))
            if turn in answers and (self._settings.supervise == "all" or turn == answers[-1]):
                spans.append((at, at + len(text)))
            at += len(text)
        if self._end and spans and spans[-1][1] == at:
            pieces.append(concat([self._end]))
            spans[-1] = (spans[-1][0], at + len(self._end))
        return Rendered(concat(pieces), spans)

    def _start(self, layout: Places, messages: Sequence[Message], turn: int) -> tuple[int, bool]:
        """Where the model takes over at `turn`, and whether inference would look different there.

        The template's text before the answer is compared with the generation prompt, which is what
        stands there at inference: as far as the two agree it is context, and what the template
        adds beyond it, the model must produce.
        """
        assert self._template is not None
        first = layout.first(turn)
        before = layout.literal_before(turn)
        if turn == 0:
            return first, False
        try:
            prompt = self._template.render(messages[:turn], add_generation_prompt=True)
        except RowError:
            return first, True
        differs = not layout.text.startswith(prompt)
        asked = Places(prompt).literal_at_end()
        common = common_start(asked, before)
        if common == len(before) < len(asked):
            # The generation prompt goes on, with a prefilled `<think>` say, where the row has the
            # message itself. If that begins with the same text, supervision starts behind it.
            rest = asked[common:]
            note_needle(rest)
            return (first + len(rest), differs) if layout.text.startswith(rest, first) else (first, True)
        if common < len(asked):
            if before.endswith(asked):
                return first, differs
            common = min(outside_tag(asked, common), self._between_tokens(common, asked, before))
        return first - len(before) + common, differs

    def _between_tokens(self, at: int, *texts: str) -> int:
        """`at`, or the start of the special token of one of `texts` that it would cut in two."""
        for text in texts:
            for start, end in self._tokens(text):
                if start < at < end:
                    return min(start, at)
        return at

    def _alone(self, messages: Sequence[Message], turn: int) -> Rope | None:
        """The conversation as it ends with `turn`, as it is when the model has just written it."""
        assert self._template is not None
        try:
            return self._template.render(messages[: turn + 1])
        except RowError:
            return None

    def _stop(
        self, layout: Places, alone: Rope | None, messages: Sequence[Message], turn: int
    ) -> tuple[int, bool]:
        """Where the turn ends, and whether a special token ends it.

        What ends a turn stands behind it both when it is the last and when others follow. Of that
        text all counts through its last special token, save the tokens that open a turn. Where the
        two have no special token in common, the first one behind the message ends it.
        """
        assert self._template is not None
        last = layout.last(turn)
        after = layout.literal_after(turn)
        tokens = self._tokens(after)
        if not tokens:
            return last, False
        other = alone
        if turn == len(messages) - 1:
            other = self._followed(messages)
        shared = common_start(after, Places(other).literal_after(turn)) if other is not None else 0
        opening = layout.literal_at_start()
        ending = [span for span in tokens if span[1] <= shared]
        while ending and after[slice(*ending[-1])].strip() in opening:
            ending.pop()
        return last + (ending[-1] if ending else tokens[0])[1], True

    def _followed(self, messages: Sequence[Message]) -> Rope | None:
        """The conversation with one more question behind it."""
        assert self._template is not None
        try:
            return self._template.render([*messages, {"role": "user", "content": "?"}])
        except RowError:
            return None

    def _marked(self, full: Rope, answers: list[int]) -> list[Span]:
        """The template's own generation blocks, less the white space after their last special token."""
        spans: list[Span] = []
        turns: list[int] = []
        at = block = 0
        for piece in pieces_of(full):
            end = at + len(piece.text)
            if piece.generation and piece.generation == block:
                spans[-1] = (spans[-1][0], end)
            elif piece.generation:
                spans.append((at, end))
                turns.append(turns[-1] if turns else -1)
            if piece.generation and piece.slot is not None:
                turns[-1] = piece.slot[0]
            block = piece.generation
            at = end
        kept = []
        for (start, end), turn in zip(spans, turns, strict=True):
            text = plain(full)[start:end]
            bare = len(text.rstrip())
            tokens = self._tokens(text)
            if any(stop == bare for _, stop in tokens):
                end = start + bare
            if self._settings.supervise == "all" or turn == answers[-1]:
                kept.append((start, end))
        return kept

    def _tokens(self, text: str) -> list[Span]:
        """Where special tokens stand in a text."""
        if self._special is None:
            return []
        return [match.span() for match in self._special.finditer(text)]

    def _segments(self, rendered: Rendered) -> list[dict[str, Any]]:
        """Cut the row at the borders of supervision, and where special tokens need care."""
        return [
            {"text": part, "supervised": supervised, "special": special}
            for piece, supervised in self._cuts(rendered)
            for part, special in self._guarded(piece)
        ]

    def _cuts(self, rendered: Rendered) -> Iterator[tuple[Rope, bool]]:
        """The row's pieces that are not empty, each wholly supervised or wholly context."""
        at = 0
        for start, end in [*rendered.spans, (len(plain(rendered.text)), len(plain(rendered.text)))]:
            for low, high, supervised in ((at, start, False), (start, end, True)):
                if low < high:
                    yield cut(rendered.text, low, high), supervised
            at = end

    def _guarded(self, text: Rope) -> list[tuple[str, bool]]:
        """The text in parts, each with whether special tokens written in it are meant as such.

        A special token is meant only where all of it is the template's own text. Nearly every text
        is one part; one where a message spells out a special token is cut at the true ones.
        """
        whole = plain(text)
        found = self._tokens(whole)
        if not found or self._settings.special_tokens == "allow":
            return [(whole, True)] if whole else []
        own = literal_ranges(text)
        true = [span for span in found if any(a <= span[0] and span[1] <= b for a, b in own)]
        if len(true) == len(found):
            return [(whole, True)]
        if self._settings.special_tokens == "reject":
            token = next(whole[a:b] for a, b in found if (a, b) not in true)
            raise RowError("special_token_in_text", f"the text holds the special token {token!r}")
        parts: list[tuple[str, bool]] = []
        at = 0
        for start, end in [*self._own_tokens(whole, own), (len(whole), len(whole))]:
            if at < start:
                parts.append((whole[at:start], False))
            if start < end:
                parts.append((whole[start:end], True))
            at = end
        return parts

    def _own_tokens(self, text: str, own: list[Span]) -> list[Span]:
        # Searched in the template's own text alone: a token that a message begins must not hide one
        # that the template writes.
        return [(low + start, low + end) for low, high in own for start, end in self._tokens(text[low:high])]

    def _masked(
        self, rendered: Rendered, messages: Sequence[Message], previews: list[dict[str, Any]]
    ) -> list[dict[str, int]]:
        """Where in the row's text the previewed answers stand, or the phrases before them."""
        if not self._settings.mask_preview:
            return []
        layout = Places(rendered.text)
        spans = []
        for preview in previews:
            turn = preview["turn"] + 1
            start = layout.first(turn, "content")
            if self._settings.mode == "real":
                spans.append({"start": start, "end": layout.last(turn)})
                continue
            # The template may have trimmed the phrase's own leading white space.
            phrase = self._settings.phrase
            if not layout.text.startswith(phrase, start):
                phrase = phrase.lstrip()
            if layout.text.startswith(phrase, start):
                spans.append({"start": start, "end": start + len(phrase)})
        return spans


def _check_complete(full: Rope, messages: Sequence[Message]) -> Iterator[str]:
    """Notes on what the template leaves out of the messages, as far as a row may lack it.

    Raises:
        RowError: a message is left out, or an answer stands there more than once.
    """
    length: Counter[tuple[int, str]] = Counter()
    present: set[int] = set()
    for piece in pieces_of(full):
        if piece.slot is not None:
            length[piece.slot] += len(piece.text)
            present.add(piece.slot[0])
    for turn, message in enumerate(messages):
        answer = message["role"] == "assistant"
        if (
            answer
            and (turn, "content") in length
            and length[turn, "content"] < len(plain(message["content"].strip()))
        ):
            yield "template_rewrites_answer"
        if (answer and turn not in present) or (message["content"].strip() and not length[turn, "content"]):
            raise RowError(
                "template_drops_content", f"the template leaves out the {message['role']} message {turn}"
            )
        if answer and length[turn, "content"] > len(plain(message["content"])):
            raise RowError("template_drops_content", f"the template repeats the answer {turn}")
        if message.get("reasoning_content") and not length[turn, "reasoning_content"]:
            yield "reasoning_left_out"
