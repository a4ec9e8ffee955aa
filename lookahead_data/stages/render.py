"""From a conversation to segments: pieces of text, each wholly supervised or wholly context.

The conversations of one shape are rendered together, by a layout that is traced once (see
`model.trace`); those that are not regular one by one, by the rule of `model.supervision`, which is
the oracle of the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Ints, lists_of, offsets_of, reordered
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import COLUMNS, SPAN, with_column
from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.dialogue import Message, text_of
from lookahead_data.model.frames import Around, Frames, framed_segments
from lookahead_data.model.meant import meant_spans
from lookahead_data.model.places import Places, Span, literal_ranges
from lookahead_data.model.produced import first_produced
from lookahead_data.model.rope import Rope, cut, pieces_of, plain
from lookahead_data.model.row_dialogues import carry_more, dialogues
from lookahead_data.model.shapes import SegmentLayout, Shape, are_regular, by_shape
from lookahead_data.model.supervision import Rendered, Supervision
from lookahead_data.model.template import ChatTemplate
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.model.trace import MARKS, probe_for, recording
from lookahead_data.talk import Talk

VERIFIED_EVERY = 8192
"""One row in so many, and one of each batch at least, is rendered by plain Jinja too."""

SEGMENT_ALONE = {"bare": False, "before": 0, "after": 0}
"""What a segment of a row that was rendered by itself has besides its text."""


class _Laid(NamedTuple):
    """What this stage gives of some rows of a batch.

    Attributes:
        rows: their places in the batch.
        at: where each of them stands among the values, shape (rows,).
    """

    rows: Ints
    at: Ints
    values: pa.StructArray


class Render:
    """Adds `segments`, and `shown` where previewed tokens count otherwise than the rest."""

    name = "render"
    needs = ("messages", "previews")

    def __init__(
        self,
        settings: Settings,
        tokenizer: LoadedTokenizer,
        template: ChatTemplate | None,
        frames: Frames | None = None,
    ) -> None:
        """
        Args:
            frames: what stands around messages is told by its number there; None: it is part of the segments.
        """
        self._settings = settings
        self.rule = Supervision(settings, tokenizer, template)
        self._spelled = tokenizer.guarded
        self._guarded_pattern = tokenizer.guarded_pattern
        self._guards = settings.special_tokens != "allow"
        self._tells_shown = settings.tells_previewed
        # Which bytes of a row a preview is of can only be told where all of the row is there.
        self._frames = None if self._tells_shown else frames
        self._layouts: dict[Shape, SegmentLayout | None] = {}
        self._arounds: dict[Shape, list[Around] | None] = {}
        self._met: set[Shape] = set()
        self.gives = ("segments", "shown") if settings.tells_previewed else ("segments",)

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        batch, developers = self._with_known_roles(batch)
        sieve = Sieve(batch)
        sieve.notes += developers
        self._refuse_weights(batch, sieve)
        rendered = self._render_batch(batch, sieve)
        columns = {name: rendered.field(name) for name in self.gives}
        return sieve.staged(**columns)

    def _with_known_roles(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Counter[str]]:
        """The batch with system messages for those of developers, if the template has no such role; and the note."""
        talk = Talk(batch.column("messages"))
        developers = talk.are("developer")
        if not developers.any() or self.rule.knows_developers:
            return batch, Counter()
        talk.roles = pc.if_else(pa.array(developers), pa.scalar("system", talk.roles.type), talk.roles)
        messages = talk.with_texts(talk.contents, talk.reasoning)
        return with_column(batch, "messages", messages), Counter(
            developer_as_system=len(np.unique(talk.rows[developers]))
        )

    def _refuse_weights(self, batch: pa.RecordBatch, sieve: Sieve) -> None:
        """Refuse rows with loss weights other than 0 and 1, which no shard can hold."""
        if "message_extras" not in batch.schema.names:
            return
        extras = batch.column("message_extras")
        weights = pc.struct_field(extras.flatten(), "weight").fill_null(1).to_numpy(zero_copy_only=False)
        owners = np.repeat(np.arange(batch.num_rows), np.diff(offsets_of(extras)))
        odd = np.zeros(batch.num_rows, bool)
        odd[owners[~np.isin(weights, (0, 1))]] = True
        sieve.reject_all(
            odd,
            RowError(
                "weights_not_written",
                "a message has a loss weight other than 0 and 1; round the weights, or pass --ignore-field weight",
            ),
        )

    def _render_batch(self, batch: pa.RecordBatch, sieve: Sieve) -> pa.StructArray:
        """What this stage gives of all rows: those of known shapes together, the others one by one."""
        talk = Talk(batch.column("messages"))
        more = carry_more(batch)
        if self._tells_shown:
            # Where their previewed tokens stand is known only once each row is rendered.
            answers = np.flatnonzero(talk.are("assistant"))
            said = talk.contents.take(pa.array(answers)).fill_null("")
            more[talk.rows[answers[talk.reasons[answers] | self.rule.may_change(said)]]] = True
        groups = [(shape, rows[~more[rows]]) for shape, rows in by_shape(talk)]
        groups = [(shape, rows) for shape, rows in groups if len(rows)]
        framed = [(shape, rows) for shape, rows in groups if self._around(shape) is not None]
        found = [self._lay_out_framed(framed, batch, talk, sieve)]
        for shape, rows in groups:
            if self._around(shape) is None:
                found.append(self._lay_out_shape(shape, rows, batch, talk, sieve))
        left = np.ones(batch.num_rows, bool)
        for laid in found:
            left[laid.rows] = False
        rest = np.flatnonzero(left)
        alone = pa.array(self._render_rows(batch, rest, sieve), self._type)
        found.append(_Laid(rest, np.arange(len(rest)), alone))
        order = np.empty(batch.num_rows, np.int64)
        base = 0
        for laid in found:
            order[laid.rows] = base + laid.at
            base += len(laid.values)
        return reordered([laid.values for laid in found], order)

    def _lay_out_framed(
        self, groups: list[tuple[Shape, Ints]], batch: pa.RecordBatch, talk: Talk, sieve: Sieve
    ) -> _Laid:
        """The regular ones among the rows of some shapes, and what this stage gives of them, with frames."""
        while groups:
            which = np.zeros(batch.num_rows, np.int64)
            for at, (_, rows) in enumerate(groups):
                which[rows] = at
            rows = np.sort(np.concatenate([rows for _, rows in groups]))
            part = talk if len(rows) == batch.num_rows else talk.of_rows(rows)
            needles = frozenset().union(*(self._sure_layout(shape).needles for shape, _ in groups))
            regular = np.ones(len(rows), bool)
            regular[part.rows[~are_regular(part.contents, needles)]] = False
            # The few others are laid out too, for nothing: quicker than to sort them out first.
            arounds = [self._around(shape) or [] for shape, _ in groups]
            laid = pa.StructArray.from_arrays(
                [framed_segments(part, arounds, which[rows])], fields=list(self._type)
            )
            of_shape = [np.flatnonzero(regular & (which[rows] == at)) for at in range(len(groups))]
            right = [
                group
                for group, mine in zip(groups, of_shape, strict=True)
                if self._as_expected(batch, group[0], rows, mine, laid, sieve)
            ]
            if len(right) == len(groups):
                for (shape, _), mine in zip(groups, of_shape, strict=True):
                    self._note(shape, len(mine), sieve)
                return _Laid(rows[regular], np.flatnonzero(regular), laid)
            groups = right
        return self._nothing

    def _lay_out_shape(
        self, shape: Shape, rows: Ints, batch: pa.RecordBatch, talk: Talk, sieve: Sieve
    ) -> _Laid:
        """The regular ones among the rows of a shape, and what this stage gives of them."""
        layout = self._layout(shape)
        if layout is not None:
            rows = rows[layout.regular(talk, rows)]
            laid = self._lay_out(layout, talk, rows, batch.column("previews"))
            every = np.arange(len(rows))
            if self._as_expected(batch, shape, rows, every, laid, sieve):
                self._note(shape, len(rows), sieve)
                return _Laid(rows, every, laid)
        return self._nothing

    @property
    def _nothing(self) -> _Laid:
        none = np.zeros(0, np.int64)
        return _Laid(none, none, pa.array([], self._type))

    @property
    def _type(self) -> pa.StructType:
        return pa.struct([COLUMNS[name].field for name in self.gives])

    def _lay_out(
        self, layout: SegmentLayout, talk: Talk, rows: Ints, previews: pa.ListArray
    ) -> pa.StructArray:
        """What this stage gives of regular rows of one shape."""
        columns = [layout.segments(talk, rows)]
        if self._tells_shown:
            columns.append(self._shown_in(layout, talk, rows, previews.take(pa.array(rows))))
        return pa.StructArray.from_arrays(columns, fields=list(self._type))

    def _shown_in(
        self, layout: SegmentLayout, talk: Talk, rows: Ints, previews: pa.ListArray
    ) -> pa.ListArray:
        """What `_shown` gives, for regular rows of one shape and their previews."""
        bounds = offsets_of(previews)
        turns = previews.flatten().field("turn").to_numpy() + 1
        owners = np.repeat(np.arange(len(rows)), np.diff(bounds))
        starts, ends = np.zeros(len(turns), np.int64), np.zeros(len(turns), np.int64)
        for turn in np.unique(turns).tolist():
            mine = np.flatnonzero(turns == turn)
            at = rows[owners[mine]]
            starts[mine], ends[mine] = layout.places(talk, at, turn)
            if self._settings.mode == "virtual":
                sizes = layout.begins(talk, at, turn, (self._settings.phrase, self._settings.phrase.lstrip()))
                ends[mine] = starts[mine] + sizes
        kept = np.flatnonzero(ends > starts)
        counts = np.bincount(owners[kept], minlength=len(rows))
        spans = pa.StructArray.from_arrays([pa.array(starts[kept]), pa.array(ends[kept])], fields=list(SPAN))
        return lists_of(np.concatenate([[0], np.cumsum(counts)]), spans)

    def _as_expected(
        self,
        batch: pa.RecordBatch,
        shape: Shape,
        rows: Ints,
        mine: Ints,
        laid: pa.StructArray,
        sieve: Sieve,
    ) -> bool:
        """Whether some rows of a shape are what rendering them alone gives. If not, the shape's trace does not
        hold after all, and all its rows are rendered one by one.

        Args:
            mine: which of the rows are of this shape.
        """
        if shape in self._met:
            sample = mine[np.isin(rows[mine], _verified(batch.num_rows))]
        else:
            self._met.add(shape)
            sample = mine[:2]
        ignored = Sieve(batch)
        expected = self._render_rows(batch, rows[sample], ignored)
        found = laid.take(pa.array(sample)).to_pylist()
        if self._frames is not None:
            for row in (*expected, *found):
                row["segments"] = self._frames.whole(row["segments"])
        if not ignored.rejects and found == expected:
            return True
        self._layouts[shape] = self._arounds[shape] = None
        sieve.notes["trace_differs"] += len(mine)
        return False

    def _note(self, shape: Shape, rows: int, sieve: Sieve) -> None:
        """Take down what is worth counting about so many rows of a shape."""
        for note in self._sure_layout(shape).notes:
            sieve.notes[note] += rows

    def _render_rows(self, batch: pa.RecordBatch, rows: Ints, sieve: Sieve) -> list[dict[str, Any]]:
        """What this stage gives of rows one by one."""
        found: list[dict[str, Any]] = []
        chosen = batch.take(pa.array(rows)) if len(rows) < batch.num_rows else batch
        previews = chosen.column("previews").to_pylist()
        for at, dialogue in enumerate(dialogues(chosen)):
            messages = dialogue.messages
            row: dict[str, Any] = {name: [] for name in self.gives}
            try:
                rendered = self.rule.render(dialogue, verify=at % VERIFIED_EVERY == 0)
                row["segments"] = self._segments(rendered, messages)
                sieve.notes.update(self._spelled_out(row["segments"], messages))
                if self._tells_shown:
                    row["shown"] = self._shown(rendered, previews[at])
                sieve.notes.update(rendered.notes)
            except RowError as error:
                sieve.reject(int(rows[at]), error, " ⏎ ".join(map(text_of, messages))[:200])
            found.append(row)
        return found

    def _layout(self, shape: Shape) -> SegmentLayout | None:
        """The layout of a shape of conversation, traced when it is first met; None if it has none."""
        if shape not in self._layouts:
            self._layouts[shape] = self._trace(shape)
        return self._layouts[shape]

    def _sure_layout(self, shape: Shape) -> SegmentLayout:
        layout = self._layout(shape)
        assert layout is not None
        return layout

    def _around(self, shape: Shape) -> list[Around] | None:
        """What stands around the messages of a shape; None if it has no layout, or one that cannot be told so."""
        if shape not in self._arounds:
            layout = self._layout(shape) if self._frames is not None else None
            self._arounds[shape] = (
                self._frames.around(layout.pieces, len(shape)) if self._frames and layout else None
            )
        return self._arounds[shape]

    def _trace(self, shape: Shape) -> SegmentLayout | None:
        messages: list[dict[str, str]] = []
        for at, (role, reasons) in enumerate(shape):
            message = {"role": role, "content": probe_for((at, "content"))}
            if reasons:
                message["reasoning_content"] = probe_for((at, "reasoning_content"))
            messages.append(message)
        with recording() as recorder:
            try:
                rendered = self.rule.render(messages)
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

    def _segments(self, rendered: Rendered, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Cut the row at the borders of supervision, and where special tokens need care."""
        answers = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        meant = meant_spans(rendered.text, answers) if self._guards else []
        found: list[dict[str, Any]] = []
        at = 0
        for piece, supervised in self._cuts(rendered):
            mine = [(low - at, high - at) for low, high in meant]
            for part, special in self._guarded(piece, mine):
                found.append(SEGMENT_ALONE | {"text": part, "supervised": supervised, "special": special})
            at += len(plain(piece))
        return found

    def _spelled_out(
        self, segments: Sequence[Mapping[str, Any]], messages: Sequence[Message]
    ) -> Iterator[str]:
        """Notes on special tokens that the row spells out, and that stay text."""
        if all(segment["special"] for segment in segments):
            return
        yield "special_tokens_as_text"
        answers = (m.get("content") or "" for m in messages if m["role"] == "assistant")
        if any(answer.rstrip().endswith(self._spelled) for answer in answers):
            yield "answer_ends_with_special_token"

    def _cuts(self, rendered: Rendered) -> Iterator[tuple[Rope, bool]]:
        """The row's pieces that are not empty, each wholly supervised or wholly context."""
        at = 0
        for start, end in [*rendered.spans, (len(plain(rendered.text)), len(plain(rendered.text)))]:
            for low, high, supervised in ((at, start, False), (start, end, True)):
                if low < high:
                    yield cut(rendered.text, low, high), supervised
            at = end

    def _guarded(self, text: Rope, meant: Sequence[Span] = ()) -> list[tuple[str, bool]]:
        """The text in parts, each with whether special tokens written in it are meant as such.

        A special token is meant only where all of it is the template's own text, or a tag that an answer
        means. Nearly every text is one part; one where a message spells out another special token is cut at
        the true ones.

        Args:
            meant: where the tags that answers mean stand in it.
        """
        whole = plain(text)
        found = self._tokens(whole)
        if not found or not self._guards:
            return [(whole, True)] if whole else []
        own = sorted([*literal_ranges(text), *meant])
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
        return [
            (low + start, low + end)
            for low, high in own
            if low >= 0
            for start, end in self._tokens(text[low:high])
        ]

    def _tokens(self, text: str) -> list[Span]:
        """Where guarded tokens stand in a text."""
        pattern = self._guarded_pattern
        return [match.span() for match in pattern.finditer(text)] if pattern else []

    def _shown(self, rendered: Rendered, previews: list[dict[str, Any]]) -> list[dict[str, int]]:
        """Where in the row's text the previewed answers stand, or the phrases before them."""
        layout = Places(rendered.text)
        spans = []
        for preview in previews:
            turn = preview["turn"] + 1
            first = first_produced(rendered, turn)
            if isinstance(first, str):
                continue
            start = first.start
            if self._settings.mode == "real":
                spans.append((start, first.end))
                continue
            # The template may have trimmed the phrase's own leading white space.
            phrase = self._settings.phrase
            if not layout.text.startswith(phrase, start):
                phrase = phrase.lstrip()
            if layout.text.startswith(phrase, start):
                spans.append((start, start + len(phrase)))
        return [
            {"start": len(layout.text[:low].encode()), "end": len(layout.text[:high].encode())}
            for low, high in spans
            if low < high
        ]


def _verified(rows: int) -> Ints:
    """The places of the rows of a batch that plain Jinja renders too."""
    return np.arange(rows % VERIFIED_EVERY // 2, rows, VERIFIED_EVERY)
