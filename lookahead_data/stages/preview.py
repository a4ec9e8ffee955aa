"""The preview: the prompt shows the first tokens of its answer.

Algorithm 1 of LookAhead Tuning (arXiv 2503.19041). In real mode the user message ends in the
connector and the first m tokens of the answer; in virtual mode it ends in the connector and the
phrase, and the answer begins with the phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookahead_data.arrays import Ints, joined, lists_of, repeated, spread
from lookahead_data.batches import Sieve, Staged
from lookahead_data.columns import COLUMNS, PREVIEW
from lookahead_data.config import Settings
from lookahead_data.curation.classes import refuses
from lookahead_data.errors import RowError
from lookahead_data.model.engines import Engine
from lookahead_data.model.heads import ALL, Head, HeadFinder, Heads
from lookahead_data.model.tokenizer import LoadedTokenizer
from lookahead_data.talk import Talk
from lookahead_data.texts import says_something

Conversation = list[dict[str, str]]

ENTIRE = 1024
"""Bytes up to which all of an answer is encoded while its first tokens are looked for. Of a longer one these
are found sooner in its first bytes alone, though all is encoded then once more."""


class Preview:
    """Inserts the previews into `messages`."""

    name = "preview"

    def __init__(
        self, settings: Settings, tokenizer: LoadedTokenizer, engine: Engine, *, gives_ids: bool = False
    ) -> None:
        """
        Args:
            gives_ids: give the ids of answers that are encoded entirely while their first tokens are looked for.
        """
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
        talk = Talk(batch.column("messages"))
        turns = _chosen(talk, self._settings.preview_turns)
        safe = self._are_safety(batch, talk, turns)
        kept, turns = turns[safe], turns[~safe]
        sieve.notes["safety_without_preview"] += len(kept)
        rows = talk.rows[turns]
        heads = self._heads.find(
            talk.contents.take(pa.array(turns)), batch.column("row").to_numpy()[rows], sieve.notes
        )
        given = {"known": _known(talk, turns, heads)} if self._gives_ids else {}
        if self._settings.short_answer != "keep":
            self._sort_out_short(rows, heads, sieve)
            shown = np.flatnonzero(~heads.whole)
            turns, rows = turns[shown], rows[shown]
            heads = heads.take(shown)
        self._take_notes(talk, np.concatenate([turns, kept]), sieve)
        texts = joined(self._settings.connector, heads.texts)
        contents = joined(talk.contents, spread(texts, turns - 1, len(talk.contents)))
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
        counts = np.bincount(rows, minlength=batch.num_rows)
        return sieve.staged(
            messages=talk.with_contents(contents),
            previews=lists_of(np.concatenate([[0], np.cumsum(counts)]), previews),
            **given,
        )

    def _are_safety(self, batch: pa.RecordBatch, talk: Talk, turns: Ints) -> npt.NDArray[np.bool_]:
        """Which answers are to keep their first tokens to themselves, shape (turns,): those of rows of the class
        safety, and others that refuse."""
        settings = self._settings
        found = np.zeros(len(turns), bool)
        if settings.previews_safety:
            return found
        if "safety" in batch.schema.names:
            found = batch.column("safety").to_numpy(zero_copy_only=False)[talk.rows[turns]]
        if settings.tells_refusals and settings.preview_turns != "last":
            found = found | refuses(talk.contents.take(pa.array(turns)), settings.refusals)
        return found

    def _sort_out_short(self, rows: Ints, heads: Heads, sieve: Sieve) -> None:
        for at in np.flatnonzero(heads.whole).tolist():
            if self._settings.short_answer == "skip":
                sieve.notes["short_answer_skipped"] += 1
            else:
                error = short_answer(int(heads.tokens[at]), self._settings)
                sieve.reject(int(rows[at]), error, heads.texts[at].as_py())

    def _take_notes(self, talk: Talk, turns: Ints, sieve: Sieve) -> None:
        rows = len(talk.starts) - 1
        answers = np.bincount(talk.rows[talk.are("assistant")], minlength=rows)
        chosen = np.bincount(talk.rows[turns], minlength=rows)
        reasons = talk.reasons & talk.are("assistant")
        unseen = (answers > chosen) if self._settings.supervise == "all" else np.zeros(rows, bool)
        sieve.notes["preview_without_user_message"] += int(np.count_nonzero(chosen == 0))
        sieve.notes["answer_without_preview"] += int(np.count_nonzero(unseen))
        sieve.notes["reasoning_before_answer"] += len(np.unique(talk.rows[reasons]))
        for name in [name for name, count in sieve.notes.items() if not count]:
            del sieve.notes[name]


def _known(talk: Talk, turns: Ints, heads: Heads) -> pa.ListArray:
    """The column `known` of messages of which those at `turns` have been encoded, if they have."""
    ids, bounds = heads.encoded or (np.zeros(0, np.int32), np.zeros(len(turns) + 1, np.int64))
    sizes = np.zeros(len(talk.contents), np.int64)
    sizes[turns] = np.diff(bounds)
    inner = lists_of(np.concatenate([[0], np.cumsum(sizes)]), pa.array(ids))
    return lists_of(talk.starts, inner)


def _chosen(talk: Talk, which: str) -> Ints:
    """The places of the messages that get a preview (see `preview_turns`)."""
    answers = np.flatnonzero(talk.are("assistant"))
    rows = talk.rows[answers]
    if which != "all":
        border = rows[1:] != rows[:-1]
        ends = np.append(border, True) if which == "last" else np.insert(border, 0, True)
        answers = answers[ends[: len(answers)]]
    said = says_something(talk.contents)[answers]
    asked = (answers > talk.starts[talk.rows[answers]]) & talk.are("user")[np.maximum(answers - 1, 0)]
    chosen: Ints = answers[asked & said].astype(np.int64)
    return chosen


def short_answer(tokens: int, settings: Settings) -> RowError:
    """Why a row with a short answer is dropped, where such rows are."""
    return RowError(
        "short_answer", f"the answer has {tokens} tokens, and {settings.preview_tokens} are previewed"
    )


def preview_turns(messages: Sequence[Any], which: str) -> list[int]:
    """Which assistant messages get a preview: those chosen that say something to a user's message.

    Args:
        which: `last`, `first` or `all`.
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
