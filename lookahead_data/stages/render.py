"""From a conversation to segments: pieces of text, each wholly supervised or wholly context.

What is supervised is what the model must produce at inference: from the end of the generation
prompt through the end-of-turn token. It is worked out on the pieces of the rendered rope, where
the template's text and the messages' are told apart, never by searching the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.errors import RowError, TemplateError
from lookahead_data.model.rope import Rope, concat, cut, pieces_of, plain
from lookahead_data.model.template import ChatTemplate, Message
from lookahead_data.model.tokenizer import LoadedTokenizer

SAMPLE = 8
"""Rows of each batch whose rendering is compared with plain Jinja's."""

Span = tuple[int, int]


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
        self._end = settings.end_token or ""
        self.gives = ("segments", "masked") if settings.mask_preview else ("segments",)

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        segments: list[list[dict[str, Any]]] = []
        masked: list[list[dict[str, int]]] = []
        previews = batch.column("previews").to_pylist()
        for at, nullable in enumerate(batch.column("messages").to_pylist()):
            messages = [{k: v for k, v in message.items() if v is not None} for message in nullable]
            row: list[dict[str, Any]] = []
            hidden: list[dict[str, int]] = []
            try:
                rendered = self.render(messages, verify=at < SAMPLE)
                row = self._segments(rendered)
                hidden = self._masked(rendered, messages, previews[at])
                sieve.notes.update(rendered.notes)
            except RowError as error:
                sieve.reject(at, error, " ⏎ ".join(m["content"] for m in messages)[:200])
            segments.append(row)
            masked.append(hidden)
        columns = {"segments": segments, "masked": masked}
        return sieve.staged(**{name: columns[name] for name in self.gives})

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
        segments: list[dict[str, Any]] = []
        at = 0
        for start, end in [*rendered.spans, (len(rendered.text), len(rendered.text))]:
            for low, high, supervised in ((at, start, False), (start, end, True)):
                for part, special in self._guarded(cut(rendered.text, low, high)):
                    segments.append({"text": part, "supervised": supervised, "special": special})
            at = end
        return segments

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
