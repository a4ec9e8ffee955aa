"""The preview: the prompt shows the first tokens of its answer.

Algorithm 1 of LookAhead Tuning (arXiv 2503.19041). In real mode the user message ends in the
connector and the first m tokens of the answer; in virtual mode it ends in the connector and the
phrase, and the answer begins with the phrase.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from tokenizers import Encoding

from lookahead_data.batches import Sieve, Staged
from lookahead_data.config import Settings
from lookahead_data.errors import RowError
from lookahead_data.model.tokenizer import LoadedTokenizer

Conversation = list[dict[str, str]]


@dataclass(frozen=True)
class Head:
    """The head of an answer.

    Attributes:
        text: what is shown of it.
        tokens: how many tokens of the answer that is.
        whole: whether the answer has no more tokens than are shown.
    """

    text: str
    tokens: int
    whole: bool


def answer_heads(
    answers: Sequence[str], tokenizer: LoadedTokenizer, count: int, *, cut: str = "char"
) -> list[Head]:
    """The first `count` tokens of each answer, as text.

    Each answer is encoded alone, without BOS or EOS.

    Args:
        cut: `char`: the shortest prefix of the answer that covers the tokens and ends between two
            characters. `reference`: what `convert_tokens_to_string(tokenize(answer)[:count])` of
            transformers gives, where a character cut in half is U+FFFD and the decoder may drop a
            leading space.
    """
    reference = cut == "reference"
    encodings = tokenizer.encode(answers, special=reference)
    heads = []
    for answer, encoding in zip(answers, encodings, strict=True):
        whole = len(encoding) <= count
        if reference:
            text = tokenizer.tokens_to_text(encoding.tokens[:count])
        else:
            text = answer if whole else answer[: _covered(answer, encoding, count, tokenizer.sensitive)]
        heads.append(Head(text, min(count, len(encoding)), whole))
    return heads


def _covered(answer: str, encoding: Encoding, count: int, sensitive: bool) -> int:
    """The number of characters that the first `count` tokens cover; there are more tokens."""
    spans = encoding.offsets
    if sensitive and encoding.tokens[0] == "▁" and spans[1][0] == spans[0][0]:
        # A `▁` of its own that the tokenizer put before the text: it stands for no character, though
        # its span says the first one.
        spans = [(0, 0), *spans[1:]]
    end = max(stop for _, stop in spans[:count])
    # Normalization to NFC composes characters and gives the token the span of the first alone. The
    # marks that were composed into it, up to where a later token starts, belong to it.
    following = next((start for start, _ in spans[count:] if start >= end), len(answer))
    while end < following and unicodedata.combining(answer[end]):
        end += 1
    return end


class Preview:
    """Inserts the previews into `messages`."""

    name = "preview"
    needs = ("messages",)
    gives = ("messages", "previews")

    def __init__(self, settings: Settings, tokenizer: LoadedTokenizer) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._phrase_tokens = len(tokenizer.encode_ids([settings.phrase])[0])

    def __call__(self, batch: pa.RecordBatch) -> Staged:
        sieve = Sieve(batch)
        conversations: list[Conversation] = [
            [{key: text for key, text in message.items() if text is not None} for message in messages]
            for messages in batch.column("messages").to_pylist()
        ]
        turns = [preview_turns(messages, self._settings.preview_turns) for messages in conversations]
        heads = iter(self._heads(conversations, turns))
        previews: list[list[dict[str, Any]]] = []
        for at, (messages, chosen) in enumerate(zip(conversations, turns, strict=True)):
            inserted: list[dict[str, Any]] = []
            if not chosen and self._settings.mode != "none":
                sieve.notes["preview_without_user_message"] += 1
            for turn in chosen:
                try:
                    text = insert(messages, turn, next(heads), self._settings, sieve.notes)
                except RowError as error:
                    sieve.reject(at, error, messages[turn]["content"][:200])
                    continue
                if text is not None:
                    inserted.append(text)
            if self._settings.mode != "none" and any(
                messages[turn].get("reasoning_content") for turn in chosen
            ):
                sieve.notes["reasoning_before_answer"] += 1
            answers = sum(message["role"] == "assistant" for message in messages)
            if self._settings.supervise == "all" and answers > len(chosen) and self._settings.mode != "none":
                sieve.notes["answer_without_preview"] += 1
            previews.append(inserted)
        return sieve.staged(messages=conversations, previews=previews)

    def _heads(self, conversations: list[Conversation], turns: list[list[int]]) -> list[Head]:
        answers = [
            messages[turn]["content"]
            for messages, chosen in zip(conversations, turns, strict=True)
            for turn in chosen
        ]
        if self._settings.mode != "real":
            return [Head(self._settings.phrase, self._phrase_tokens, False)] * len(answers)
        return answer_heads(answers, self._tokenizer, self._settings.preview_tokens, cut=self._settings.cut)


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
            raise RowError(
                "short_answer",
                f"the answer has {head.tokens} tokens, and {settings.preview_tokens} are previewed",
            )
        if settings.short_answer == "skip":
            notes["short_answer_skipped"] += 1
            return None
    text = settings.connector + head.text
    prompt, answer = messages[turn - 1], messages[turn]
    prompt["content"] += text
    if settings.mode == "virtual":
        answer["content"] = settings.phrase + answer["content"]
    return {"turn": turn - 1, "text": text, "tokens": head.tokens, "whole": head.whole}
