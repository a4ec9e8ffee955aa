"""Which answers refuse what was asked, told by how they begin (see `grammars`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from lookahead_data.arrays import Flags
from lookahead_data.curation.grammars import GRAMMARS, IDIOMS, MARKS, STARTS

HEAD = 320
"""Characters of an answer that are looked at."""

_REASONING = (
    r"(?s)^\s*(?:"
    r"<(?:think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think)>.*?"
    r"</(?:think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|seed:think)>"
    r"|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷|<\|START_THINKING\|>.*?<\|END_THINKING\|>"
    r"|<\|begin_of_thought\|>.*?<\|end_of_thought\|>"
    r"|<\|channel\|?>(?:analysis|thought).*?(?:<\|channel\|>final<\|message\|>|<channel\|>)"
    r")\s*"
)
_CLOSING = "</think>"


def answer_text(contents: pl.Series) -> pl.Series:
    """The answers without the reasoning that stands inline before them, such as `<think>…</think>`.

    Reasoning that its prompt opened, so that only its end is in the content, is left out too. One that never ends
    is the whole answer, and stays.
    """
    opened = contents.str.contains(r"^\s*[<\[◁]").fill_null(value=False)
    closed = contents.str.contains(_CLOSING, literal=True).fill_null(value=False)
    if not (opened | closed).any():
        return contents
    frame = pl.DataFrame({"text": contents, "opened": opened, "closed": closed})
    bare = pl.when("opened").then(pl.col("text").str.replace(_REASONING, "")).otherwise("text")
    frame = frame.with_columns(bare.alias("text"))
    # What a template opened: all up to the first end, where no start stands before it.
    headless = pl.col("closed") & ~pl.col("opened")
    left = pl.col("text").str.replace(rf"(?s)^.*?{_CLOSING}\s*", "")
    return frame.select(pl.when(headless).then(left).otherwise("text").alias(contents.name)).to_series()


def refuses(texts: pa.LargeStringArray, more: Sequence[str] = ()) -> Flags:
    """Which answers refuse, shape (texts,). Reasoning inline before them does not count.

    Args:
        more: further openings of refusals; case and markup do not count.
    """
    heads = answer_text(pl.Series("text", texts, dtype=pl.String)).str.slice(0, HEAD)
    openings = [opening for opening in _cleaned(pl.Series(list(more), dtype=pl.String)).to_list() if opening]
    found = np.zeros(len(heads), bool)
    places = np.flatnonzero(_may_refuse(heads))
    if len(places):
        found[places] = _refuse(heads.gather(places))
    if openings:
        cleaned = _cleaned(heads)
        for opening in openings:
            found |= cleaned.str.starts_with(opening).fill_null(value=False).to_numpy()
    return found


def is_refusal(text: str | None, more: Sequence[str] = ()) -> bool:
    """Whether one answer refuses."""
    return bool(refuses(pa.array([text], pa.large_string()), more)[0])


def _may_refuse(heads: pl.Series) -> Flags:
    """Which heads are worth a closer look, shape (heads,): all refusals, and few others."""
    found = _has(heads, STARTS)
    places = np.flatnonzero(found)
    marked = heads.gather(places).str.contains_any(list(MARKS), ascii_case_insensitive=True)
    found[places] = marked.to_numpy()
    return found


def _refuse(heads: pl.Series) -> Flags:
    """Which heads of answers are refusals, shape (heads,)."""
    texts = _cleaned(heads)
    found = np.zeros(len(heads), bool)
    for pattern in _LATIN:
        found |= _has(texts, pattern)
    places = np.flatnonzero(~found & _has(texts, r"[\u{370}-\u{1fff}\u{3000}-\u{ffff}]"))
    if len(places):
        others = texts.gather(places)
        for pattern in _OTHERS:
            found[places] |= _has(others, pattern)
    places = np.flatnonzero(found)
    if len(places):
        heads, texts = heads.gather(places), texts.gather(places)
        told = heads.str.contains(_NARRATED) | texts.str.contains(_IDIOM)
        found[places[told.to_numpy()]] = False
    return found


def _has(texts: pl.Series, pattern: str) -> Flags:
    found: Flags = texts.str.contains(pattern).fill_null(value=False).to_numpy().copy()
    return found


# Polars keeps the 32 patterns last used: all of these and the ones below must be fewer, or each batch compiles them anew.
_LATIN = tuple(grammar.pattern for grammar in GRAMMARS.values() if grammar.latin)
_OTHERS = tuple(grammar.pattern for grammar in GRAMMARS.values() if not grammar.latin)
_IDIOM = "|".join(IDIOMS)

_SAID = (
    r"(?:said|says|replied|whispered|muttered|murmured|sighed|answered|sobbed|cried|shouted|told|stammered|"
    r"dijo|respondió|contestó|susurró|murmuró|dit|dit-il|dit-elle|répondit|murmura|sagte|antwortete|flüsterte|"
    r"disse|rispose|sussurrò|respondeu|murmurou|сказал|сказала|ответил|ответила|прошептал|прошептала|пробормотал)\b"
)
_NARRATED = (
    # A quotation that goes on as a sentence about it: somebody in a story speaks.
    r"^[\s*_#>-]*[\"“«„»「『][^\"”»“」』\n]*[\"”»“«」』][ \t,،、.*_—–-]*[^\W\d_]"
    r"|^[\s*_#>-]*[‘'][^\n]*?[,.!?…][’'][ \t]+[^\W\d_]"
    # What is announced as an example: `Declining an offer: "…"`.
    r"|^\W*[^\W\d_]+ [^\"“«„:\n]*:\s*[\"“«„]"
    rf"|[,.!?…][\"”»’'][ \t,*_—–-]*(?:[^\W\d_]+ ){{0,3}}?{_SAID}"
    rf"|^\s*[—–-] ?[^\n]*?[,—–-]+ ?{_SAID}"
)

_CLEANING: tuple[tuple[str, str], ...] = (
    (r"&(?:#0?39|#x27|apos|rsquo|lsquo);|[’‘ʼ´`′＇]", "'"),
    (r"&(?:quot|ldquo|rdquo|nbsp);|[\u{a0}\u{202f}]", " "),
    (r"<[^<>\n]{1,60}>", " "),
    (r"^\s*[*_][^*_\n]{1,40}[*_](\s)", "${1}"),  # *sighs*
    # Markup, marks of no width, marks of direction, vowel marks of Arabic.
    (r"[*_~#>|\\\u{200b}-\u{200f}\u{2060}\u{feff}\u{fe0f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{64b}-\u{652}\u{640}]+", ""),
    (r"^\W*(?:\([^()\n]{0,40}\)|\[[^\[\]\n]{0,40}\])+", ""),
    (r"^\W*(?:(?:\d{1,3}|[a-zA-Z])[.)]\s+)?\W*", ""),
    (r"([^.!?:\s])\s*\n\s*\n", "${1}. "),  # a heading or paragraph ends a sentence
    (r"\s+", " "),
)  # fmt: skip


def _cleaned(heads: pl.Series) -> pl.Series:
    """Texts without markup and what stands before their first word, in lower case."""
    expression = pl.col("text")
    for pattern, by in _CLEANING:
        expression = expression.str.replace_all(pattern, by)
    frame = heads.to_frame("text").select(expression.str.to_lowercase().str.strip_chars())
    return frame.to_series()
