"""Seeded corpora to measure with, made of text that a Python installation and its system have.

    python benchmarks/corpora.py DIR [--megabytes 200] [--kind short|long|chat|world|all] [--seed 7]

| kind  | fields             | rows                                                                  |
|-------|--------------------|-----------------------------------------------------------------------|
| short | prompt, completion | about 200 bytes                                                       |
| long  | prompt, completion | completions of 4 to 40 kB                                             |
| chat  | messages           | 2, 4 or 6 messages, one row in four with a system message before them |
| world | prompt, completion | languages other than English, about 450 bytes                         |

English comes from docstrings, the language reference in `pydoc`, the descriptions of the installed
packages, and, in `long`, from source files of the standard library. A row is put together of pieces that
begin at random places, so hardly any two rows share a long text. The library has fewer words than a real
corpus of this size, so words made up of syllables stand among them, a few of them often, most of them
rarely: one word in ten to twenty-five of `short` and `chat`, and some in each row of `long`.

`world` is real and made up. Real are the translated messages of the system's programs
(gettext catalogues, where the system has some), the samples of East Asian text among Python's own tests,
lines of its sources in other scripts, and the names of authors of installed packages. Made up are words of
letters of sixteen scripts, as long as real ones, some of them frequent and most rare. They mean nothing.
Half of the rows are real where the real text is 4 MB or more, else as many fewer as it is smaller, so that
small texts do not come again and again. The last line printed says how much was found.

On one installation a seed always gives the same bytes; another installation has other texts. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import itertools
import json
import math
import os
import pydoc_data.topics
import random
import re
import struct
import sys
import sysconfig
import time
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from json.encoder import encode_basestring
from pathlib import Path

CHUNK = 2_000_000  # bytes written at a time
LETTERS = frozenset({"Ll", "Lo", "Mn", "Mc"})  # Unicode categories
LONGEST_BLOCK = 4000  # characters; longer ones are tables of data
CATALOGUE = 200_000  # characters of one language
ENOUGH_REAL_TEXT = 4_000_000  # bytes
WORDS = re.compile(r"(\s*)(\S+)")
# Scripts without spaces are cut every three characters, so that pieces can begin in their sentences too.
PIECES = re.compile(r"(\s*)([\u0e01-\u0e5b\u3040-\u30ff\u3400-\u9fff]{1,3}|[^\s\u0e01-\u0e5b\u3040-\u30ff\u3400-\u9fff]+)")  # fmt: skip


@dataclass(frozen=True)
class Script:
    """Where a script's letters stand in Unicode, and what its words and sentences look like."""

    first: int
    last: int
    length: float  # of a word, in letters
    marks: tuple[int, int] | None = None  # vowel signs that follow a letter
    gap: str = " "
    stop: str = "."


SCRIPTS = {
    "latin": Script(0x61, 0xFF, 6.0),
    "greek": Script(0x3B1, 0x3CE, 6.0),
    "cyrillic": Script(0x430, 0x44F, 6.5),
    "armenian": Script(0x561, 0x586, 6.5, stop="։"),
    "hebrew": Script(0x5D0, 0x5EA, 4.5),
    "arabic": Script(0x627, 0x64A, 5.0),
    "devanagari": Script(0x905, 0x939, 3.5, (0x93E, 0x94C), stop="।"),
    "bengali": Script(0x985, 0x9B9, 3.5, (0x9BE, 0x9CC), stop="।"),
    "tamil": Script(0xB85, 0xBB9, 5.0, (0xBBE, 0xBCC)),
    "thai": Script(0xE01, 0xE2E, 3.5, (0xE30, 0xE39), gap="", stop=" "),
    "georgian": Script(0x10D0, 0x10F0, 6.5),
    "ethiopic": Script(0x1200, 0x1357, 4.0, stop="።"),
    "kana": Script(0x3041, 0x3093, 3.0, gap="", stop="。"),
    "han": Script(0x4E00, 0x9FA5, 1.7, gap="", stop="。"),
    "hangul": Script(0xAC00, 0xD7A3, 3.0),
    "cherokee": Script(0xAB70, 0xABBF, 5.0),
}


@dataclass(frozen=True)
class Pool:
    """Text, escaped for a JSON string, and where its pieces begin and end, in bytes.

    A piece is a word or a block of lines; what stands between pieces is white space.
    """

    text: bytes
    begins: array[int]
    ends: array[int]

    @classmethod
    def of(cls, pieces: Iterable[tuple[str, str]]) -> Pool:
        """Join pieces, each given with the white space before it."""
        text = bytearray()
        begins, ends = array("q"), array("q")
        for gap, piece in pieces:
            text += _escaped(gap)
            begins.append(len(text))
            text += _escaped(piece)
            ends.append(len(text))
        return cls(bytes(text), begins, ends)

    def run(self, chance: random.Random, size: float) -> bytes:
        """Pieces that follow each other, from a random one on: `size` bytes and the rest of the last piece."""
        # The last twentieth is kept to end in, so that runs are seldom cut short.
        first = int(chance.random() * len(self.begins) * 0.95)
        begin = self.begins[first]
        last = bisect_left(self.ends, begin + size, first, len(self.ends) - 1)
        return self.text[begin : self.ends[last]]


def _escaped(text: str) -> bytes:
    return encode_basestring(text)[1:-1].encode("utf-8", "ignore")


def _words(texts: Iterable[str], cut: re.Pattern[str] = WORDS) -> Pool:
    def pieces() -> Iterator[tuple[str, str]]:
        for text in texts:
            for match in cut.finditer(text):
                # A text of its own begins on a new line.
                yield match[1] if match.start() else "\n" + match[1], match[2]

    return Pool.of(pieces())


def _blocks(texts: Iterable[str]) -> Pool:
    def pieces() -> Iterator[tuple[str, str]]:
        for text in texts:
            for block in text.split("\n\n"):
                piece = block.strip()
                if piece and len(piece) <= LONGEST_BLOCK:
                    yield "\n\n" + block[: block.index(piece[0])].lstrip("\n"), piece

    return Pool.of(pieces())


# What the installation has


@functools.cache
def sources() -> list[str]:
    """The standard library's source files in UTF-8, tests with them, in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(set(below) - {"site-packages", "dist-packages", "pydoc_data", "__pycache__"})
        for name in sorted(names):
            if name.endswith(".py"):
                try:
                    found.append((Path(folder) / name).read_text(encoding="utf-8"))
                except (OSError, UnicodeDecodeError):
                    continue
    return found


@functools.cache
def prose() -> list[str]:
    """Docstrings of the standard library, the language reference, and descriptions of packages."""
    quoted = (match for text in sources() for match in re.findall(r'"""(.+?)"""', text, re.DOTALL))
    docstrings = {inspect.cleandoc(text) for text in quoted if 40 < len(text) < 20_000}
    topics = pydoc_data.topics.topics
    descriptions = {str(package.metadata.get_payload()) for package in metadata.distributions()}
    return [*sorted(docstrings), *(topics[name] for name in sorted(topics)), *sorted(descriptions)]


def catalogues() -> dict[str, list[str]]:
    """Translated messages of the system's programs by language, English and its variants left out."""
    # The base folders of shared data, as the freedesktop.org specification has them.
    homes = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    found: dict[str, list[str]] = {}
    for home in homes:
        for path in sorted(Path(home).glob("locale/*/LC_MESSAGES/*.mo")):
            language = path.parent.parent.name
            messages = found.setdefault(language, [])
            # Each file gives a part, so that one program's words do not make up a language.
            room = min(CATALOGUE // 10, CATALOGUE - sum(map(len, messages)))
            if room > 0 and not language.startswith("en"):
                messages.append(_messages(path, room))
    return {language: texts for language, texts in found.items() if any(texts)}


def _messages(path: Path, room: int) -> str:
    """The first translations in a compiled gettext catalogue, if it is in UTF-8: `room` characters at most.

    Its layout is in the GNU gettext manual, "The Format of GNU MO Files".
    """
    data = path.read_bytes()
    order = "<" if data[:4] == b"\xde\x12\x04\x95" else ">"
    text = ""
    try:
        count, _, table = struct.unpack_from(f"{order}3I", data, 8)
        # The first entry is no message but the catalogue's header.
        for length, start in struct.iter_unpack(f"{order}2I", data[table + 8 : table + 8 * count]):
            text += data[start : start + length].decode("utf-8").split("\0")[0] + "\n"
            if len(text) > room:
                break
    except (struct.error, UnicodeDecodeError):
        return ""
    return text[:room]


def foreign() -> list[str]:
    """Text in other scripts that comes with Python: samples of the codecs' tests, lines of sources, names."""
    samples = Path(sysconfig.get_paths()["stdlib"]).glob("test/cjkencodings/*-utf8.txt")
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(samples)]
    lines = (line for text in sources() if not text.isascii() for line in text.splitlines())
    texts += [line.strip() for line in lines if sum(c > "\u024f" and c.isalpha() for c in line) >= 8]
    fields = ("Author", "Author-email", "Maintainer", "Maintainer-email")
    packages = metadata.distributions()
    names = {str(value) for p in packages for field in fields for value in p.metadata.get_all(field, [])}
    return texts + sorted(name for name in names if not name.isascii())


# What is made up


def _made_up_words(chance: random.Random, script: Script, count: int) -> list[str]:
    def letters(first: int, last: int) -> list[str]:
        return [c for c in map(chr, range(first, last + 1)) if unicodedata.category(c) in LETTERS]

    def falling(number: int) -> list[float]:
        return list(itertools.accumulate(1 / (place + 4) for place in range(number)))

    alphabet = letters(script.first, script.last)
    chance.shuffle(alphabet)
    marks = letters(*script.marks) if script.marks else []
    weights, mark_weights = falling(len(alphabet)), falling(len(marks))
    words = []
    for _ in range(count):
        length = max(1, round(chance.gauss(script.length, script.length * 0.4)))
        word = chance.choices(alphabet, cum_weights=weights, k=length)
        if marks:
            signs = chance.choices(marks, cum_weights=mark_weights, k=length)
            word = [
                letter + (sign if chance.random() < 0.5 else "")
                for letter, sign in zip(word, signs, strict=True)
            ]
        words.append("".join(word))
    return words


def _made_up(chance: random.Random, script: Script) -> Pool:
    """Sentences of made-up words, some frequent and most rare."""
    vocabulary = _made_up_words(chance, script, 12_000)
    weights = list(itertools.accumulate(1 / (place + 3) for place in range(len(vocabulary))))
    words = chance.choices(vocabulary, cum_weights=weights, k=60_000)
    stops = (script.stop if chance.random() < 0.08 else "" for _ in words)
    return Pool.of((script.gap, word + stop) for word, stop in zip(words, stops, strict=True))


@functools.cache
def _names(seed: int) -> list[bytes]:
    """Made-up words of syllables, to stand among real ones."""
    chance = random.Random(f"{seed} names")
    syllables = [
        consonant + vowel + end
        for consonant in (*"bcdfghjklmnprstvwz", "ch", "st", "tr", "pl")
        for vowel in (*"aeiou", "ai", "ou", "ea")
        for end in ("", "", "n", "r", "s", "l", "m")
    ]
    return [
        "".join(chance.choices(syllables, k=chance.choice((2, 2, 3, 4)))).encode() for _ in range(200_000)
    ]


def _name(chance: random.Random, names: list[bytes]) -> bytes:
    return names[int(len(names) * chance.random() ** 4)]


# The kinds


@functools.cache
def _prose() -> Pool:
    return _words(prose())


def _short(seed: int) -> Iterator[bytes]:
    chance, pool, names = random.Random(f"{seed} short"), _prose(), _names(seed)
    draw, run = chance.random, pool.run
    while True:
        yield b'{"prompt": "%b %b?", "completion": "%b %b %b."}\n' % (
            run(chance, 20 + 50 * draw()),
            _name(chance, names),
            run(chance, 10 + 50 * draw()),
            _name(chance, names),
            run(chance, 10 + 70 * draw()),
        )


def _long(seed: int) -> Iterator[bytes]:
    chance, words, names = random.Random(f"{seed} long"), _prose(), _names(seed)
    pools = (_blocks(sources()), _blocks(prose()))
    while True:
        pool = pools[chance.random() < 0.5]
        size = math.exp(chance.uniform(math.log(4000), math.log(40_000 - LONGEST_BLOCK)))
        parts: list[bytes] = []
        while (missing := size - sum(map(len, parts))) > 0:
            parts.append(pool.run(chance, min(missing, chance.uniform(500, 6000))))
            parts.append(words.run(chance, 40) + b" " + _name(chance, names))
        prompt = words.run(chance, chance.uniform(40, 300))
        yield b'{"prompt": "%b", "completion": "%b"}\n' % (prompt, b"\\n\\n".join(parts))


def _chat(seed: int) -> Iterator[bytes]:
    chance, pool, names = random.Random(f"{seed} chat"), _prose(), _names(seed)

    def content(low: float, high: float) -> bytes:
        size = chance.uniform(low, high)
        parts: list[bytes] = []
        while (missing := size - sum(map(len, parts))) > 0:
            parts.append(pool.run(chance, min(missing, chance.uniform(20, 300))))
            parts.append(_name(chance, names))
        return b" ".join(parts)

    while True:
        turns = []
        if chance.random() < 0.25:
            turns.append(b'{"role": "system", "content": "%b"}' % content(40, 200))
        for _ in range(chance.choice((1, 2, 3))):
            turns.append(b'{"role": "user", "content": "%b"}' % content(20, 300))
            turns.append(b'{"role": "assistant", "content": "%b"}' % content(60, 1500))
        yield b'{"messages": [%b]}\n' % b", ".join(turns)


@functools.cache
def _real_pools() -> list[Pool]:
    texts = [[text] for text in map("\n".join, catalogues().values())]
    return [
        pool for pool in (_words(group, PIECES) for group in [*texts, foreign()]) if len(pool.text) > 2000
    ]


def real_share() -> float:
    """The part of the rows of `world` that is real text."""
    return 0.5 * min(1.0, sum(len(pool.text) for pool in _real_pools()) / ENOUGH_REAL_TEXT)


def _world(seed: int) -> Iterator[bytes]:
    chance = random.Random(f"{seed} world")
    made_up = [_made_up(random.Random(f"{seed} {name}"), script) for name, script in SCRIPTS.items()]
    real, share = _real_pools(), real_share()
    # Small pools are drawn from less often than large ones, but not as much less as they are smaller.
    weights = [list(itertools.accumulate(math.sqrt(len(p.text)) for p in pools)) for pools in (made_up, real)]
    smileys = [chr(code).encode() for code in range(0x1F600, 0x1F645)]
    while True:
        is_real = chance.random() < share
        pool = chance.choices(real if is_real else made_up, cum_weights=weights[is_real])[0]
        yield b'{"prompt": "%b", "completion": "%b %b%b"}\n' % (
            pool.run(chance, chance.uniform(20, 120)),
            pool.run(chance, chance.uniform(20, 300)),
            pool.run(chance, chance.uniform(10, 300)),
            b" " + chance.choice(smileys) if chance.random() < 0.03 else b"",
        )


KINDS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "short": _short,
    "long": _long,
    "chat": _chat,
    "world": _world,
}


def make(kind: str, path: Path, megabytes: int, seed: int = 7) -> int:
    """Write a corpus of one kind as JSON Lines, `megabytes` and the rest of the last row long.

    Returns the number of rows. An unknown kind is a `KeyError`.
    """
    rows = KINDS[kind](seed)
    size = count = 0
    chunk = io.BytesIO()
    with path.open("wb") as file:
        while size < megabytes * 1_000_000:
            size += chunk.write(next(rows))
            count += 1
            if chunk.tell() > CHUNK:
                file.write(chunk.getvalue())
                chunk = io.BytesIO()
        file.write(chunk.getvalue())
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Make corpora to measure with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=200, help="in all (default: 200)")
    parser.add_argument(
        "--kind", choices=(*KINDS, "all"), default="all", help="all: equal shares in four files"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    kinds = list(KINDS) if options.kind == "all" else [options.kind]
    options.folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for kind in kinds:
        started = time.perf_counter()
        path = options.folder / f"{kind}.jsonl"
        rows = make(kind, path, max(1, options.megabytes // len(kinds)), options.seed)
        seconds = round(time.perf_counter() - started, 1)
        files[path.name] = {"rows": rows, "bytes": path.stat().st_size, "seconds": seconds}
        print(f"{path}: {rows} rows, {path.stat().st_size / 1e6:.1f} MB, {seconds} s")
    result = {"seed": options.seed, "files": files}
    if "world" in kinds:
        result["real_text_in_world"] = {
            "pools": len(_real_pools()),
            "bytes": sum(len(pool.text) for pool in _real_pools()),
            "share_of_rows": round(real_share(), 4),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
