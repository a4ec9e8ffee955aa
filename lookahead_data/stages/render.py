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
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import (
    Ints,
    interleaved,
    large_strings,
    lists_of,
    offsets_of,
    whole_array,
)
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import COLUMNS, SEGMENT
from lookahead_data.config import Settings
from lookahead_data.errors import RowError, TemplateError
from lookahead_data.model.rope import Piece, Rope, concat, cut, pieces_of, plain
from lookahead_data.model.template import ChatTemplate, Message
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.model.trace import MARKS, WHITE_SPACE, note_needle, probe_for, recording

SAMPLE = 8
"""Rows of each batch whose rendering is compared with plain Jinja's."""

Span = tuple[int, int]
Shape = tuple[tuple[str, bool], ...]
"""What a conversation looks like: of each message its role, and whether it carries reasoning."""
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
        texts = _Texts(batch.column("messages"))
        found: list[pa.Array] = []
        places: list[Ints] = []
        singly: list[Ints] = []
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
            if not self._as_expected(batch, rows[:SAMPLE], segments):
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
        rendered = [segments for segments, _ in self._render_rows(batch, rest, sieve)]
        found.append(pa.array(rendered, COLUMNS["segments"].type))
        places.append(rest)
        order = np.argsort(np.concatenate(places))
        return pa.concat_arrays(found).take(pa.array(order))

    def _as_expected(self, batch: pa.RecordBatch, rows: Ints, segments: pa.Array) -> bool:
        """Whether the first of the rows have the segments that rendering them one by one gives."""
        ignored = Sieve(batch)
        expected = [row for row, _ in self._render_rows(batch, rows, ignored)]
        return not ignored.rejects and segments.slice(0, len(rows)).to_pylist() == expected

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
                rendered = self.render(messages, verify=at < SAMPLE)
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
        layout = _Layout(full)
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

    def _start(self, layout: _Layout, messages: Sequence[Message], turn: int) -> tuple[int, bool]:
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
        asked = _Layout(prompt).literal_at_end()
        common = _common(asked, before)
        if common == len(before) < len(asked):
            # The generation prompt goes on, with a prefilled `<think>` say, where the row has the
            # message itself. If that begins with the same text, supervision starts behind it.
            rest = asked[common:]
            note_needle(rest)
            return (first + len(rest), differs) if layout.text.startswith(rest, first) else (first, True)
        if common < len(asked):
            if before.endswith(asked):
                return first, differs
            common = min(_outside_tag(asked, common), self._between_tokens(common, asked, before))
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
        self, layout: _Layout, alone: Rope | None, messages: Sequence[Message], turn: int
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
        shared = _common(after, _Layout(other).literal_after(turn)) if other is not None else 0
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
        own = _literal_ranges(text)
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
        layout = _Layout(rendered.text)
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


class _Texts:
    """The texts of a batch of conversations, by message and field."""

    def __init__(self, messages: pa.ListArray) -> None:
        flat = messages.flatten()
        self.starts = offsets_of(messages)
        self.roles = pc.struct_field(flat, "role")
        self.fields = {name: pc.struct_field(flat, name) for name in ("content", "reasoning_content")}

    def by_shape(self) -> Iterator[tuple[Shape, Ints]]:
        """Each shape of conversation with the places of its rows."""
        if len(self.starts) < 2:
            return
        roles = self.roles.dictionary_encode()
        names = roles.dictionary.to_pylist()
        reasons = self.fields["reasoning_content"].is_valid().to_numpy(zero_copy_only=False)
        codes = roles.indices.to_numpy().astype(np.uint8) * 2 + reasons
        # A shape is a word whose letters are messages: Arrow then counts the distinct words.
        words = large_strings(self.starts, codes.astype(np.uint8)).dictionary_encode()
        found = words.indices.to_numpy()
        for at, word in enumerate(words.dictionary.to_pylist()):
            yield (
                tuple((names[ord(letter) // 2], bool(ord(letter) % 2)) for letter in word),
                np.flatnonzero(found == at),
            )

    def take(self, slot: tuple[int, str], rows: Ints) -> pa.LargeStringArray:
        """One field of one message of the given rows."""
        at, name = slot
        return self.fields[name].take(pa.array(self.starts[rows] + at))


@dataclass(frozen=True)
class SegmentLayout:
    """How every regular conversation of one shape is rendered (see `model.trace`).

    Attributes:
        pieces: of each segment its literals and slots, and whether it is supervised.
        needles: a conversation with one of these in a text is not regular.
        notes: as of `Rendered`.
    """

    pieces: list[tuple[list[Piece], bool]]
    needles: frozenset[str]
    notes: tuple[str, ...]

    def regular(self, texts: _Texts, rows: Ints) -> npt.NDArray[np.bool_]:
        """Which rows are regular: their texts are not blank, and hold no needle."""
        found = np.ones(len(rows), bool)
        for slot in {piece.slot for segment, _ in self.pieces for piece in segment if piece.slot}:
            series = pl.Series(texts.take(slot, rows))
            found &= (series.str.strip_chars(WHITE_SPACE).str.len_bytes() > 0).to_numpy()
            if self.needles:
                found &= ~series.str.contains_any(sorted(self.needles)).to_numpy()
        return found

    def segments(self, texts: _Texts, rows: Ints) -> pa.Array:
        """The column `segments` of the given rows, which are regular."""
        columns = [
            pc.binary_join_element_wise(
                *(self._part(piece, texts, rows) for piece in segment), pa.scalar("", pa.large_string())
            )
            if any(piece.slot for piece in segment)
            else pa.array([segment[0].text] * len(rows), pa.large_string())
            for segment, _ in self.pieces
        ]
        count = len(columns)
        flags = np.tile([supervised for _, supervised in self.pieces], len(rows))
        structs = pa.StructArray.from_arrays(
            [interleaved(columns), pa.array(flags), pa.array(np.ones(count * len(rows), bool))],
            fields=list(SEGMENT),
        )
        return lists_of(np.arange(len(rows) + 1) * count, structs)

    def _part(self, piece: Piece, texts: _Texts, rows: Ints) -> Any:
        if piece.slot is None:
            return pa.scalar(piece.text, pa.large_string())
        column = texts.take(piece.slot, rows)
        if not piece.stripping:
            return column
        series = pl.Series(column)
        for name, chars in piece.stripping:
            strip = series.str.strip_chars_start if name == "lstrip" else series.str.strip_chars_end
            series = strip(WHITE_SPACE if chars is None else chars)
        return whole_array(series.to_arrow()).cast(pa.large_string())


class _Layout:
    """Where the messages stand in a rendered row."""

    def __init__(self, rope: Rope) -> None:
        self.pieces = pieces_of(rope)
        self.text = "".join(piece.text for piece in self.pieces)
        self.starts = [0]
        for piece in self.pieces:
            self.starts.append(self.starts[-1] + len(piece.text))
        self._by_turn: dict[int, list[int]] = {}
        for at, piece in enumerate(self.pieces):
            if piece.slot is not None:
                self._by_turn.setdefault(piece.slot[0], []).append(at)

    def first(self, turn: int, field: str | None = None) -> int:
        """Where the message at `turn` (or one field of it) starts, in characters."""
        places = self._by_turn[turn]
        if field is not None:
            own = [at for at in places if self.pieces[at].slot == (turn, field) and self.pieces[at].text]
            places = own or places
        return self.starts[places[0]]

    def last(self, turn: int) -> int:
        """Where the message at `turn` ends, in characters."""
        return self.starts[self._by_turn[turn][-1] + 1]

    def literal_before(self, turn: int) -> str:
        return self._literal(self._by_turn[turn][0] - 1, -1)

    def literal_after(self, turn: int) -> str:
        """The template's own text behind a message; nothing where the message does not show."""
        places = self._by_turn.get(turn)
        return self._literal(places[-1] + 1, 1) if places else ""

    def literal_at_start(self) -> str:
        return self._literal(0, 1)

    def literal_at_end(self) -> str:
        return self._literal(len(self.pieces) - 1, -1)

    def _literal(self, at: int, step: int) -> str:
        """The template's own text from piece `at` up to the next slot in the given direction."""
        texts = []
        while 0 <= at < len(self.pieces) and self.pieces[at].slot is None:
            texts.append(self.pieces[at].text)
            at += step
        return "".join(texts[::step])


def _common(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many items the two begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _outside_tag(text: str, at: int) -> int:
    """`at`, or the start of the tag (`<think>`, say) that it would cut in two."""
    start = text.rfind("<", 0, at)
    return start if start >= 0 and ">" not in text[start:at] else at


def _literal_ranges(text: Rope) -> list[Span]:
    ranges: list[Span] = []
    at = 0
    for piece in pieces_of(text):
        end = at + len(piece.text)
        if piece.slot is None and piece.text:
            if ranges and ranges[-1][1] == at:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((at, end))
        at = end
    return ranges


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
