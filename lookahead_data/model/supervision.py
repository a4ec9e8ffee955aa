"""What of a rendered conversation is supervised: the rule, on the pieces of the rendered rope.

Supervised is what the model must produce at inference: from the end of the generation prompt through
the end-of-turn token. It is worked out where the template's text and the messages' are told apart,
never by searching the text.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags
from lookahead_data.config import Settings
from lookahead_data.errors import RowError, TemplateError
from lookahead_data.model.dialogue import Dialogue, Message, check_tools, is_trained, text_of
from lookahead_data.model.meant import CALL_TAGS
from lookahead_data.model.places import Places, Span, common_start, outside_tag
from lookahead_data.model.reasoning import INNER, OF_CONTENT, OPEN, known_tags, split_inline
from lookahead_data.model.rope import Rope, concat, cut, pieces_of, plain
from lookahead_data.model.template import ChatTemplate
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.model.trace import note_needle, probe_for, recording
from lookahead_data.texts import begins_visibly, contain_any, says_something


@dataclass(frozen=True)
class Rendered:
    """A conversation as text.

    Attributes:
        text: the whole row, with the origin of every piece.
        spans: the supervised character ranges, in order.
        notes: what is worth counting about it.
        turns: the answer that each range is of, in the order of `spans`; -1 is none.
    """

    text: Rope
    spans: list[Span]
    notes: tuple[str, ...] = ()
    turns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Treatment:
    """What a template does to ordinary answers.

    Attributes:
        needles: what it looks for in messages; an answer with one of these may be rendered otherwise.
        stripping: what it strips from answers (see `rope.Piece`).
        unknown: it cannot be told.
    """

    needles: frozenset[str] = frozenset()
    stripping: tuple[tuple[str, str | None], ...] = ()
    unknown: bool = False


class Supervision:
    """Renders conversations, each with its supervised ranges."""

    def __init__(self, settings: Settings, tokenizer: LoadedTokenizer, template: ChatTemplate | None) -> None:
        """
        Args:
            template: None is plain concatenation.
        """
        self._settings = settings
        self._template = template
        self._special = tokenizer.special_pattern
        self._end = settings.end_token or ""
        self.tags = known_tags(template.source, tokenizer.token_id) if template is not None else ()

    def may_change(self, answers: pa.LargeStringArray) -> Flags:
        """Which answers the template may render otherwise than as they stand, white space at their ends aside; shape
        (answers,). These begin with reasoning or a tool call as text, or hold something that the template looks for,
        or begin with white space that it strips. None may be null."""
        heads = "|".join(re.escape(first) for first, _ in (*self.tags, *CALL_TAGS))
        found: Flags = pl.Series(answers).str.contains(rf"^\s*(?:{heads})").to_numpy().copy()
        treatment = self.treatment
        if treatment.unknown:
            found[:] = True
            return found
        found |= contain_any(answers, treatment.needles)
        if any(name == "lstrip" for name, _ in treatment.stripping):
            found |= says_something(answers) & ~begins_visibly(answers)
        return found

    @functools.cached_property
    def treatment(self) -> Treatment:
        """What the template does to ordinary answers, found by tracing."""
        if self._template is None:
            return Treatment()
        turns = [("user", "assistant"), ("user", "assistant", "user", "assistant")]
        needles: set[str] = set()
        stripping: dict[tuple[str, str | None], None] = {}
        for roles in turns:
            probes = [{"role": role, "content": probe_for((at, "content"))} for at, role in enumerate(roles)]
            with recording() as recorder:
                try:
                    pieces = pieces_of(self.render(probes).text)
                except RowError:
                    return Treatment(unknown=True)
            if recorder.opaque is not None:
                return Treatment(unknown=True)
            needles |= recorder.needles
            for piece in pieces:
                if piece.slot is not None and roles[piece.slot[0]] == "assistant":
                    stripping |= dict.fromkeys(piece.stripping)
        return Treatment(frozenset(needles), tuple(stripping))

    @functools.cached_property
    def knows_developers(self) -> bool:
        """Whether the template renders the role `developer`."""
        if self._template is None:
            return True
        probe = [
            {"role": "developer", "content": "rules"},
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "probe"},
        ]
        try:
            pieces = pieces_of(self._template.render(probe))
        except RowError:
            return False
        return any(piece.slot == (0, "content") and piece.text for piece in pieces)

    def render(self, dialogue: Dialogue | Sequence[Message], *, verify: bool = False) -> Rendered:
        """The conversation as text, with its supervised ranges.

        Raises:
            RowError: the template refuses it, breaks on it, or leaves something out.
        """
        given = dialogue if isinstance(dialogue, Dialogue) else Dialogue(dialogue)
        if self._template is None:
            return self._concatenate(given)
        parted = self.parted(given)
        full = self._template.render(parted)
        if verify and full != self._template.render_plain(given):
            raise TemplateError(
                "renders otherwise when it is traced than in plain Jinja",
                where=f"chat template {self._template.name}",
                remedy="This is a fault of lookahead_data; please report it with the template.",
            )
        notes = set(_check_complete(full, parted))
        check_tools(full, pieces_of(full), given)
        answers = self.supervised(given.messages)
        if any(piece.generation for piece in pieces_of(full)):
            spans, turns = self._marked(full, answers)
            rendered = Rendered(full, spans, (), turns)
        else:
            rendered = self._ruled(full, parted, answers, notes)
        if self._learns_empty_block(rendered):
            notes.add("empty_reasoning_learned")
        return replace(rendered, notes=tuple(sorted(notes)))

    def supervised(self, messages: Sequence[Message]) -> list[int]:
        """The answers that are learned."""
        answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        if self._settings.supervise == "last":
            answers = answers[-1:]
        return [at for at in answers if is_trained(messages[at])]

    def parted(self, dialogue: Dialogue) -> Dialogue:
        """The conversation with the reasoning that stands at the head of answers told from the rest."""
        if not self.tags:
            return dialogue
        messages = []
        for turn, message in enumerate(dialogue.messages):
            content = message.get("content")
            if message["role"] == "assistant" and type(content) is str:
                found = split_inline(content, self.tags)
                if found is not None:
                    message = {**message, "content": found.rope(turn)}
            messages.append(message)
        return replace(dialogue, messages=messages)

    def _ruled(self, full: Rope, dialogue: Dialogue, answers: list[int], notes: set[str]) -> Rendered:
        """The supervised ranges of a rendering, by the rule."""
        layout = Places(full)
        spans: list[Span] = []
        for turn in answers:
            start, differs = self._start(layout, dialogue, turn)
            if spans and start < spans[-1][1]:
                start, differs = layout.first(turn), True
            alone = self._alone(dialogue, turn)
            end, closed = self._stop(layout, alone, dialogue, turn)
            spans.append((start, max(start, end)))
            if differs or not plain(alone or "").startswith(layout.text[:end]):
                notes.add("differs_from_inference")
            if not closed and self._end and turn == len(dialogue.messages) - 1:
                full = concat([cut(full, 0, end), self._end])
                spans[-1] = (start, len(full))
            elif not closed:
                notes.add("turn_without_end_token")
        return Rendered(full, spans, (), answers)

    def _learns_empty_block(self, rendered: Rendered) -> bool:
        """Whether the template itself closes a reasoning block that the model is to learn, with nothing in it."""
        if not self.tags:
            return False
        learned: list[str] = []
        spans = iter(rendered.spans)
        start, end = next(spans, (0, 0))
        at, reasoned = 0, False
        for piece in pieces_of(rendered.text):
            low, at = at, at + len(piece.text)
            while end <= low:
                start, end = next(spans, (at + 1, at + 1))
                reasoned = False
            if piece.slot is not None and piece.text and low < end and start < at:
                reasoned = True
            elif piece.slot is None and not reasoned:
                learned.append(piece.text[max(start - low, 0) : max(end - low, 0)])
        return any(last in text for text in learned for _, last in self.tags)

    def _concatenate(self, dialogue: Dialogue) -> Rendered:
        pieces: list[Rope] = []
        spans: list[Span] = []
        at = 0
        messages = dialogue.messages
        answers = self.supervised(messages)
        if dialogue.tools or any(message.get("tool_calls") for message in messages):
            raise RowError(
                "tools_not_rendered", "without a chat template tools and tool calls are not rendered"
            )
        notes = (
            ["reasoning_left_out"] if any(message.get("reasoning_content") for message in messages) else []
        )
        for turn, message in enumerate(messages):
            text = text_of(message)
            length = len(plain(text))  # the length of a probe itself would make the shape opaque
            pieces.append(Rope.of(text, (turn, "content")))
            if turn in answers:
                spans.append((at, at + length))
            at += length
        if self._end and spans and spans[-1][1] == at:
            pieces.append(concat([self._end]))
            spans[-1] = (spans[-1][0], at + len(self._end))
        return Rendered(concat(pieces), spans, tuple(notes), answers)

    def _start(self, layout: Places, dialogue: Dialogue, turn: int) -> tuple[int, bool]:
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
            prompt = self._template.render(dialogue.before(turn), add_generation_prompt=True)
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
            for start, end in self.tokens(text):
                if start < at < end:
                    return min(start, at)
        return at

    def _alone(self, dialogue: Dialogue, turn: int) -> Rope | None:
        """The conversation as it ends with `turn`, as it is when the model has just written it."""
        assert self._template is not None
        try:
            return self._template.render(dialogue.before(turn + 1))
        except RowError:
            return None

    def _stop(self, layout: Places, alone: Rope | None, dialogue: Dialogue, turn: int) -> tuple[int, bool]:
        """Where the turn ends, and whether a special token ends it.

        What ends a turn stands behind it both when it is the last and when others follow. Of that
        text all counts through its last special token, save the tokens that open a turn. Where the
        two have no special token in common, the first one behind the message ends it.
        """
        assert self._template is not None
        last = layout.last(turn)
        after = layout.literal_after(turn)
        tokens = self.tokens(after)
        if not tokens:
            return last, False
        other = alone
        if turn == len(dialogue.messages) - 1:
            other = self._followed(dialogue)
        shared = common_start(after, Places(other).literal_after(turn)) if other is not None else 0
        opening = layout.literal_at_start()
        ending = [span for span in tokens if span[1] <= shared]
        while ending and after[slice(*ending[-1])].strip() in opening:
            ending.pop()
        return last + (ending[-1] if ending else tokens[0])[1], True

    def _followed(self, dialogue: Dialogue) -> Rope | None:
        """The conversation with one more question behind it."""
        assert self._template is not None
        try:
            return self._template.render(dialogue.followed())
        except RowError:
            return None

    def _marked(self, full: Rope, answers: list[int]) -> tuple[list[Span], list[int]]:
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
        kept: list[Span] = []
        of: list[int] = []
        trained = set(answers) | ({-1} if self._settings.supervise == "all" else set())
        for (start, end), turn in zip(spans, turns, strict=True):
            text = plain(full)[start:end]
            bare = len(text.rstrip())
            tokens = self.tokens(text)
            if any(stop == bare for _, stop in tokens):
                end = start + bare
            if turn in trained:
                kept.append((start, end))
                of.append(turn)
        return kept, of

    def tokens(self, text: str) -> list[Span]:
        """Where special tokens stand in a text."""
        if self._special is None:
            return []
        return [match.span() for match in self._special.finditer(text)]


def _check_complete(full: Rope, dialogue: Dialogue) -> Iterator[str]:
    """Notes on what the template leaves out of the messages, as far as a row may lack it.

    Raises:
        RowError: a message is left out, or an answer stands there more than once.
    """
    length: Counter[tuple[int, str]] = Counter()
    present: set[int] = set()
    for piece in pieces_of(full):
        if piece.slot is not None:
            turn, name = piece.slot
            if name in OF_CONTENT:
                length[turn, "content"] += len(piece.text)
            if name != "content":
                length[piece.slot] += len(piece.text)
            present.add(turn)
    for turn, message in enumerate(dialogue.messages):
        answer = message["role"] == "assistant"
        content = text_of(message)
        parts = {piece.slot[1] for piece in pieces_of(content) if piece.slot is not None}
        rendered = length[turn, "content"]
        if answer and OPEN not in parts and 0 < rendered < len(plain(content.strip())):
            yield "template_rewrites_answer"
        if (answer and turn not in present) or (content.strip() and not rendered):
            raise RowError(
                "template_drops_content", f"the template leaves out the {message['role']} message {turn + 1}"
            )
        if answer and rendered > len(plain(content)):
            raise RowError("template_drops_content", f"the template repeats the answer in message {turn + 1}")
        if (message.get("reasoning_content") and not length[turn, "reasoning_content"]) or (
            INNER in parts and not length[turn, INNER]
        ):
            yield "reasoning_left_out"
