"""Input and templates that are made to take for ever, or all memory and disk."""

from __future__ import annotations

import gzip
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from helpers import PAIRS, write_jsonl
from jobs import ELSEWHERE, forked, limit_memory, problems
from outcomes import unconserved

import lookahead_data as la
from lookahead_data.errors import RowError
from lookahead_data.model import limits
from lookahead_data.model.template import ChatTemplate
from lookahead_data.source import records

pytestmark = pytest.mark.skipif(ELSEWHERE, reason="limits memory as Linux does")

LINE = b'{"prompt": "one", "completion": "two three"}\n'
ROWS = {"jsonl": LINE, "csv": b"one,two three\n", "json": b" " * 40}
HEADS = {"jsonl": b"", "csv": b"prompt,completion\n", "json": b"["}
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("format", ROWS)
def test_a_file_that_expands_too_far_is_refused(
    format: str, compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_EXPANSION", 20)
    monkeypatch.setattr(records, "ALLOWANCE", 1 << 17)
    path = tmp_path / f"rows.{format}.{compression}"
    path.write_bytes(PACK[compression](HEADS[format] + ROWS[format] * 30_000))
    with pytest.raises(la.InputError, match="decompress to more than 20 times as many") as caught:
        la.convert(path, tmp_path / "out", tokenizer="builtin")
    assert caught.value.where == str(path)
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize("compression", PACK)
def test_a_small_file_may_expand_as_far_as_it_will(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_EXPANSION", 2)
    path = tmp_path / f"rows.jsonl.{compression}"
    path.write_bytes(PACK[compression](LINE * 500))
    la.convert(path, tmp_path / "out", tokenizer="builtin")
    assert unconserved(tmp_path / "out", 500) == []


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"prompt": "' + b"0" * (300 << 20)))
    assert path.stat().st_size < 100_000
    ended = forked(convert_in_little, path, tmp_path / "out")
    assert ended.named and "decompress to more than 1,000 times" in ended.error, ended


def convert_in_little(path: Path, out: Path) -> None:
    limit_memory(1 << 30)
    la.convert(path, out, tokenizer="builtin", engine="tokenizers", workers=1)


MESSAGES = "{% for m in messages %}{{ m.content }}{% endfor %}"
GREEDY: dict[str, str] = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "many words": "{% for a in range(99999) %}{{ 'word' * 999 }}{% endfor %}",
    "a long word": "{{ 'word' * 10**11 }}",
    "a long word, the other way": "{{ 10**11 * 'word' }}",
    "a long list": "{{ [1] * 10**11 }}",
    "a large number": "{{ 10 ** (10 ** 10) }}",
    "a large number, step by step": (
        "{% set n = namespace(x=10**999) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}"
    ),
    "a doubled word": (
        "{% set n = namespace(x='word') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"
    ),
    "a doubled word, joined": (
        "{% set n = namespace(x='word') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
    ),
    "a doubled list": (
        "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"
    ),
    "a block that doubles": (
        "{% set n = namespace(x='word') %}{% for a in range(99) %}{% set y %}{{ n.x }}{{ n.x }}{% endset %}"
        "{% set n.x = y %}{% endfor %}{{ n.x }}"
    ),
    "padding by format": "{{ '%700000000d' % 1 }}",
    "padding by a method of format": "{{ '{:700000000}'.format(1) }}",
    "padding by a method": "{{ 'word'.ljust(7 * 10**8) }}",
    "padding by zeros": "{{ 'word'.zfill(7 * 10**8) }}",
    "padding by a filter": "{{ 'word' | center(7 * 10**8) }}",
    "padding by indents": "{{ 'a\nb' | indent(7 * 10**8) }}",
    "tabs": "{{ '\t'.expandtabs(10**11) }}",
    "replacing": "{{ ('w' * 22000).replace('w', 'w' * 22000) }}",
    "a filter that replaces": "{{ ('w' * 22000) | replace('w', 'w' * 22000) }}",
    "joining": "{{ ('w' * 40000).join(['a'] * 12000) }}",
    "a filter that joins": (
        "{% set n = namespace(x='word') %}{% for a in range(99) %}"
        "{% set n.x = [n.x, n.x] | join(n.x) %}{% endfor %}{{ n.x }}"
    ),
    "much Latin": "{{ lipsum(n=10**8) }}",
    "much JSON": "{{ messages | tojson(indent=10**10) }}",
    "many copies of the messages": "{% for a in range(99999) %}{{ messages }}{% endfor %}",
    "a filter that batches": "{{ messages | batch(10**11, 0) | list }}",
    "a filter that slices": "{{ messages | slice(10**11) | list }}",
    "a large number, by powers of powers": "{{ ((10**1000)**1000)**1000 % 7 }}",
    "a large number, by products": "{% set x = 10**900 %}{{ (x * x * x * x * x * x * x * x * x * x * x) ** 900 }}",
    "a large number, read": "{{ (('9' * 60000) | int(0, 16)) ** 999 }}",
    "long lists, kept": (
        "{% set n = namespace(x=[]) %}{% for a in range(999) %}{% set n.x = n.x + [[0] * 7000] %}{% endfor %}"
        "{{ n.x | length }}"
    ),
    "long texts, kept": (
        "{% set n = namespace(x=[]) %}{% for a in range(999) %}{% set n.x = n.x + ['w' * 60000] %}{% endfor %}"
        "{{ n.x | length }}"
    ),
    "long texts of a method, kept": (
        "{% set n = namespace(x=[]) %}{% for a in range(999) %}{% set n.x = n.x + ['w'.ljust(60000)] %}{% endfor %}"
        "{{ n.x | length }}"
    ),
    "long texts of a filter, kept": (
        "{% set n = namespace(x=[]) %}{% for a in range(999) %}{% set n.x = n.x + ['w' | center(60000)] %}"
        "{% endfor %}{{ n.x | length }}"
    ),
    "long lists of a filter, kept": (
        "{% set n = namespace(x=[]) %}{% for a in range(999) %}"
        "{% set n.x = n.x + (messages | batch(90000, 0) | list) %}{% endfor %}{{ n.x | length }}"
    ),
}


LASTING = ("loops", "a large number, step by step", "joining")
"""What is stopped when time is up. All others are stopped by their size."""

MEMORY = 300
"""MiB that a template may take before it is stopped."""


def with_template(inputs: Path, template: Path, out: Path, seconds: float) -> list[str]:
    """What is wrong with how a greedy template is dealt with."""
    limit_memory(3 << 29)
    limits.SECONDS = seconds
    limits.ROOM = 1 << 16
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        manifest = la.convert(
            inputs, out, tokenizer="builtin", engine="tokenizers", chat_template=str(template), workers=1
        )
    except la.TemplateError as error:
        return [] if str(template) in str(error) else [f"it is not named: {error}"]
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    wrong = unconserved(out, manifest.totals["read"])
    if manifest.totals["quarantined"] != {"template_failed": manifest.totals["read"]}:
        wrong.append(f"quarantined are {manifest.totals['quarantined']}")
    return [*wrong, f"it took {taken} MiB"] if taken > MEMORY else wrong


@pytest.mark.parametrize("case", GREEDY)
def test_a_greedy_template_loses_no_more_than_its_rows(case: str, tmp_path: Path) -> None:
    inputs = write_jsonl(tmp_path / "rows.jsonl", PAIRS[:1])
    template = tmp_path / "greedy.jinja"
    template.write_text(MESSAGES + GREEDY[case])
    seconds = 0.3 if case in LASTING else 5
    assert problems(forked(with_template, inputs, template, tmp_path / "out", seconds)) == []


def test_time_is_limited_in_other_threads_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.3)
    endless = ChatTemplate(MESSAGES + GREEDY["loops"], name="endless")
    quick = ChatTemplate(MESSAGES, name="quick")
    found: list[str] = []

    def work() -> None:
        for template in (quick, endless, quick, endless):
            try:
                found.append(template.render(PAIRS_AS_MESSAGES))
            except RowError as error:
                found.append(error.message)
        time.sleep(0.3)  # nothing is raised afterwards
        found.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    slow = "the template takes too much: it takes longer than 0.3 seconds"
    assert found == ["ab", slow, "ab", slow, "done"]


PAIRS_AS_MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


LINKS: dict[str, list[tuple[str, str]]] = {
    "to itself": [("in/loop", ".")],
    "up": [("in/deep/up", "..")],
    "to each other": [("in/a", "deep"), ("in/deep/b", "../deep")],
    "to nothing": [("in/broken.jsonl", "nowhere.jsonl")],
    "files to themselves": [("in/self.jsonl", "self.jsonl")],
}


@pytest.mark.parametrize("case", LINKS)
def test_links_that_lead_nowhere_or_back(case: str, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_jsonl(tmp_path / "in" / "deep" / "rows.jsonl", PAIRS)
    for name, target in LINKS[case]:
        (tmp_path / name).symlink_to(target)
    if case in ("to nothing", "files to themselves"):
        with pytest.raises(la.InputError, match="cannot be read"):
            la.convert(tmp_path / "in", tmp_path / "out", tokenizer="builtin")
    else:
        la.convert(tmp_path / "in", tmp_path / "out", tokenizer="builtin")
        assert unconserved(tmp_path / "out", len(PAIRS)) == []
