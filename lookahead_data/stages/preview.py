"""The preview: the prompt shows the first tokens of its answer.

Algorithm 1 of LookAhead Tuning (arXiv 2503.19041). In real mode the user message ends in the
connector and the first m tokens of the answer; in virtual mode it ends in the connector and the
phrase, and the answer begins with the phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookahead_data.arrays import Flags, Ints, joined, lists_of, put, repeated, spread, utf8_parts
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import COLUMNS, PREVIEW
from lookahead_data.config import Settings
from lookahead_data.curation.classes import refuses
from lookahead_data.errors import RowError
from lookahead_data.model.dialogue import Message
from lookahead_data.model.engines import Engine
from lookahead_data.model.heads import ALL, Head, HeadFinder, Heads
from lookahead_data.model.produced import RowPreviewer
from lookahead_data.model.row_dialogues import carry_more, dialogues
from lookahead_data.model.supervision import Supervision
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.talk import Talk
from lookahead_data.texts import WHITE_SPACE, says_something, stripped

Conversation = list[dict[str, str]]

ENTIRE = 1024
"""Bytes up to which all of an answer is encoded while its first tokens are looked for. Of a longer one these
are found sooner in its first bytes alone, though all is encoded then once more."""


class Preview:
    """Inserts the previews into `messages`."""

    name = "preview"

    def __init__(
        self,
        settings: Settings,
        tokenizer: LoadedTokenizer,
        engine: Engine,
        rule: Supervision | None = None,
        *,
        gives_ids: bool = False,
    ) -> None:
        """
        Args:
            rule: renders rows for which rendering decides what the model produces first; None: there are none.
            gives_ids: give the ids of answers that are encoded entirely while their first tokens are looked for.
        """
        self._rule = rule
        self._previewer = RowPreviewer(settings, rule) if rule is not None else None
        self._gives_ids = gives_ids and settings.mode == "real"
        self.gives = ("messages", "previews", *(["known"] if self._gives_ids else []))
        told = settings.mode != "none" and not settings.previews_safety
        self.needs = ("messages", *(["safety"] if told else []))
        self._settings = settings
        up_to = ENTIRE if self._gives_ids else 0
        self._heads = HeadFinder(settings, tokenizer, engine, entire=ALL[0] if engine.remembers else up_to)

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        if self._settings.mode == "none":
            nothing = pa.array([[]] * batch.num_rows, COLUMNS["previews"].type)
            return sieve.staged(previews=nothing)
        talk = Talk.of(batch)
        said = talk.contents.fill_null("") if talk.contents.null_count else talk.contents
        trained = self._trained(talk, batch, sieve)
        turns = _chosen(talk, said, self._settings)
        turns = turns[trained[turns]]
        safe = self._are_safety(batch, talk, turns)
        kept, turns = turns[safe], turns[~safe]
        sieve.notes["safety_without_preview"] += len(kept)
        chosen = np.concatenate([turns, kept])
        alone = self._need_rendering(batch, talk, said, turns)
        by_row = self._one_by_one(batch, talk, turns[alone], sieve)
        turns = turns[~alone]
        rows = talk.rows[turns]
        answers = said.take(pa.array(turns))
        heads = self._heads.find(answers, batch.column("row").to_numpy()[rows], sieve.notes)
        heads = self._as_rendered(heads, answers)
        given = {"known": _known(talk, turns, heads)} if self._gives_ids else {}
        if self._settings.short_answer != "keep":
            self._sort_out_short(rows, heads, sieve)
            shown = np.flatnonzero(~heads.whole)
            turns, rows = turns[shown], rows[shown]
            heads = heads.take(shown)
        self._take_notes(talk, chosen, trained, sieve)
        texts = joined(self._settings.connector, heads.texts)
        contents = joined(said, spread(texts, turns - 1, len(said)))
        if self._settings.mode == "virtual":
            phrases = repeated([self._settings.phrase], len(turns))
            contents = joined(spread(phrases, turns, len(contents)), contents)
        previews = pa.StructArray.from_arrays(
            [
                pa.array(turns - 1 - talk.starts[rows], pa.int32()),
                texts,
                pa.array(heads.tokens, pa.int32()),
                pa.array(heads.whole),
            ],
            fields=list(PREVIEW),
        )
        messages = by_row.put_into(talk, contents)
        places, previews = by_row.merged(turns, previews)
        counts = np.bincount(talk.rows[places], minlength=batch.num_rows)
        return sieve.staged(
            messages=messages,
            previews=lists_of(np.concatenate([[0], np.cumsum(counts)]), previews),
            **given,
        )

    def _trained(self, talk: Talk, batch: pa.RecordBatch, sieve: Sieve) -> Flags:
        """Which messages are answers that are not marked as context, shape (messages,)."""
        trained = talk.are("assistant")
        if "message_extras" in batch.schema.names:
            weights = pc.struct_field(batch.column("message_extras").flatten(), "weight")
            context = trained & pc.equal(weights, 0).fill_null(False).to_numpy(zero_copy_only=False)
            sieve.notes["answer_not_trained"] += len(np.unique(talk.rows[context]))
            trained &= ~context
        return trained

    def _need_rendering(
        self, batch: pa.RecordBatch, talk: Talk, said: pa.LargeStringArray, turns: Ints
    ) -> Flags:
        """Which of the answers at `turns` are of rows that are rendered to see what is produced first."""
        if self._rule is None:
            return np.zeros(len(turns), bool)
        answers = said.take(pa.array(turns))
        found = talk.reasons[turns] | self._rule.may_change(answers)
        rows = carry_more(batch)
        rows[talk.rows[turns[found]]] = True
        return rows[talk.rows[turns]]

    def _as_rendered(self, heads: Heads, answers: pa.LargeStringArray) -> Heads:
        """The heads of answers without the white space that the template strips from the ends of these."""
        stripping = self._rule.treatment.stripping if self._rule is not None else ()
        if self._settings.mode != "real" or not any(name == "rstrip" for name, _ in stripping):
            return heads
        bounds, raw = utf8_parts(heads.texts)
        sizes = np.diff(bounds)
        # Only heads that end with white space may reach beyond the end of the stripped answer.
        may_end = np.zeros(256, bool)
        may_end[[char.encode()[-1] for char in WHITE_SPACE]] = True
        filled = np.flatnonzero(sizes)
        some = filled[may_end[raw[bounds[1:][filled] - 1]]]
        if not len(some):
            return heads
        bare = stripped(answers.take(pa.array(some)), stripping)
        longer = np.flatnonzero(sizes[some] > np.diff(utf8_parts(bare)[0]))
        return replace(heads, texts=put(heads.texts, some[longer], bare.take(pa.array(longer))))

    def _one_by_one(self, batch: pa.RecordBatch, talk: Talk, turns: Ints, sieve: Sieve) -> OneByOne:
        """The previews of the answers at `turns`, each checked on its rendered row."""
        result = OneByOne()
        if not len(turns) or self._previewer is None:
            return result
        rows = np.unique(talk.rows[turns])
        conversations = list(dialogues(batch.take(pa.array(rows))))
        wanted = [(turns[talk.rows[turns] == row] - talk.starts[row]).tolist() for row in rows]
        found = [
            self._previewer.produced(dialogue, mine, sieve.notes)
            for dialogue, mine in zip(conversations, wanted, strict=True)
        ]
        texts = [first.text for produced in found for _, first in sorted(produced.items())]
        owners = np.repeat(rows, [len(produced) for produced in found])
        numbers = batch.column("row").to_numpy()[owners]
        heads = iter(self._heads.find(pa.array(texts, pa.large_string()), numbers, sieve.notes).to_list())
        for row, dialogue, produced in zip(rows.tolist(), conversations, found, strict=True):
            mine = {turn: next(heads) for turn in sorted(produced)}
            mine = {turn: head for turn, head in mine.items() if self._is_shown(row, head, sieve)}
            messages, previews = self._previewer.insert(dialogue, produced, mine, sieve.notes)
            result.add(int(talk.starts[row]), messages, previews)
        return result

    def _is_shown(self, row: int, head: Head, sieve: Sieve) -> bool:
        """Whether a preview is shown in spite of its answer's length."""
        if not head.whole or self._settings.short_answer == "keep":
            return True
        if self._settings.short_answer == "skip":
            sieve.notes["short_answer_skipped"] += 1
        else:
            sieve.reject(row, short_answer(head.tokens, self._settings), head.text)
        return False

    def _are_safety(self, batch: pa.RecordBatch, talk: Talk, turns: Ints) -> npt.NDArray[np.bool_]:
        """Which answers are to keep their first tokens to themselves, shape (turns,): those of rows of the class
        safety, and others that refuse."""
        settings = self._settings
        found = np.zeros(len(turns), bool)
        if settings.previews_safety:
            return found
        if "safety" in batch.schema.names:
            found = batch.column("safety").to_numpy(zero_copy_only=False)[talk.rows[turns]]
        if settings.tells_refusals and settings.previewed_turns != "last":
            found = found | refuses(talk.contents.take(pa.array(turns)), settings.refusals)
        return found

    def _sort_out_short(self, rows: Ints, heads: Heads, sieve: Sieve) -> None:
        for at in np.flatnonzero(heads.whole).tolist():
            if self._settings.short_answer == "skip":
                sieve.notes["short_answer_skipped"] += 1
            else:
                error = short_answer(int(heads.tokens[at]), self._settings)
                sieve.reject(int(rows[at]), error, heads.texts[at].as_py())

    def _take_notes(self, talk: Talk, turns: Ints, trained: Flags, sieve: Sieve) -> None:
        rows = len(talk.starts) - 1
        answers = np.bincount(talk.rows[trained], minlength=rows)
        chosen = np.bincount(talk.rows[turns], minlength=rows)
        unseen = (answers > chosen) if self._settings.supervise == "all" else np.zeros(rows, bool)
        sieve.notes["preview_without_user_message"] += int(np.count_nonzero(chosen == 0))
        sieve.notes["answer_without_preview"] += int(np.count_nonzero(unseen))
        for name in [name for name, count in sieve.notes.items() if not count]:
            del sieve.notes[name]


def _known(talk: Talk, turns: Ints, heads: Heads) -> pa.ListArray:
    """The column `known` of messages of which those at `turns` have been encoded, if they have."""
    ids, bounds = heads.encoded or (np.zeros(0, np.int32), np.zeros(len(turns) + 1, np.int64))
    sizes = np.zeros(len(talk.contents), np.int64)
    sizes[turns] = np.diff(bounds)
    inner = lists_of(np.concatenate([[0], np.cumsum(sizes)]), pa.array(ids))
    return lists_of(talk.starts, inner)


class OneByOne:
    """What previewing rows one by one changes in a batch."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[int, str]] = {"content": {}, "reasoning_content": {}}
        self._turns: list[int] = []
        self._previews: list[dict[str, Any]] = []

    def add(self, start: int, messages: Sequence[Message], previews: Sequence[dict[str, Any]]) -> None:
        """Take the messages of a row, the first of which is at `start` of all messages, and its previews."""
        if not previews:
            return
        for at, message in enumerate(messages):
            for name, texts in self._texts.items():
                if isinstance(message.get(name), str):
                    texts[start + at] = message[name]
        self._turns += [start + preview["turn"] + 1 for preview in previews]
        self._previews += previews

    def put_into(self, talk: Talk, contents: pa.LargeStringArray) -> pa.ListArray:
        """The conversations with these contents, and the texts of the rows that were previewed here."""
        if talk.contents.null_count:
            contents = pc.if_else(talk.contents.is_null(), pa.scalar(None, contents.type), contents)
        columns = {"content": contents, "reasoning_content": talk.reasoning}
        for name, texts in self._texts.items():
            if texts:
                places = np.array(sorted(texts), np.int64)
                mask = np.zeros(len(contents), bool)
                mask[places] = True
                values = pa.array([texts[at] for at in places.tolist()], pa.large_string())
                columns[name] = pc.replace_with_mask(columns[name], pa.array(mask), values)
        return talk.with_texts(columns["content"], columns["reasoning_content"])

    def merged(self, turns: Ints, previews: pa.StructArray) -> tuple[Ints, pa.StructArray]:
        """The places of all previewed answers, in order, and the previews, with those at `turns`."""
        if not self._turns:
            return turns, previews
        places = np.concatenate([turns, np.array(self._turns, np.int64)])
        order = np.argsort(places, kind="stable")
        mine = pa.array(self._previews, PREVIEW)
        return places[order], pa.concat_arrays([previews, mine]).take(pa.array(order))


def _chosen(talk: Talk, said: pa.LargeStringArray, settings: Settings) -> Ints:
    """The places of the messages that get a preview (see `preview_turns`).

    Args:
        said: the content of each message, without nulls.
    """
    which = settings.previewed_turns
    answers = np.flatnonzero(talk.are("assistant"))
    rows = talk.rows[answers]
    if which != "all":
        border = rows[1:] != rows[:-1]
        ends = np.append(border, True) if which == "last" else np.insert(border, 0, True)
        answers = answers[ends[: len(answers)]]
    speaks = says_something(said)
    if talk.reasoning.null_count < len(talk.reasoning):
        speaks |= talk.reasons
    if talk.calls is not None:
        speaks |= talk.calls.is_valid().to_numpy(zero_copy_only=False)
    asked = (answers > talk.starts[talk.rows[answers]]) & talk.are("user")[np.maximum(answers - 1, 0)]
    chosen: Ints = answers[asked & speaks[answers]].astype(np.int64)
    return chosen


def short_answer(tokens: int, settings: Settings) -> RowError:
    """Why a row with a short answer is dropped, where such rows are."""
    return RowError(
        "short_answer", f"the answer has {tokens} tokens, and {settings.preview_tokens} are previewed"
    )


def preview_turns(messages: Sequence[Any], which: str) -> list[int]:
    """Which assistant messages get a preview: those chosen that say something to a user's message.

    Args:
        which: `last`, `first` or `all` (see `Settings.previewed_turns`).
    """
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    chosen = {"last": answers[-1:], "first": answers[:1], "all": answers}[which]
    return [
        at for at in chosen if at and messages[at - 1]["role"] == "user" and messages[at]["content"].strip()
    ]


def insert(
    messages: Conversation, turn: int, head: Head, settings: Settings, notes: Any
) -> dict[str, Any] | None:
    """Put the preview of the answer at `turn` into the user message before it.

    Returns:
        A value of the column `previews`, or None where the answer is short and such are skipped.

    Raises:
        RowError: the answer is short and such rows are dropped.
    """
    if settings.mode == "none":
        return None
    if head.whole:
        if settings.short_answer == "drop":
            raise short_answer(head.tokens, settings)
        if settings.short_answer == "skip":
            notes["short_answer_skipped"] += 1
            return None
    text = settings.connector + head.text
    prompt, answer = messages[turn - 1], messages[turn]
    prompt["content"] += text
    if settings.mode == "virtual":
        answer["content"] = settings.phrase + answer["content"]
    return {"turn": turn - 1, "text": text, "tokens": head.tokens, "whole": head.whole}
