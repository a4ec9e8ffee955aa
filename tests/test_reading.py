"""A finished folder is read back whole, once an epoch, whatever ranks and workers share it and wherever they stop."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import PAIRS, read_rows, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.errors import OutputError, SettingsError, TokenizerError
from lookahead_data.model.tokenizer import load_tokenizer
from lookahead_data.reading import course as course_module
from lookahead_data.reading import spans
from lookahead_data.reading.collate import flat, pad_id_of, padded
from lookahead_data.reading.corpus import Corpus
from lookahead_data.reading.course import Course
from lookahead_data.reading.order import Order, Shuffle
from lookahead_data.reading.position import merge_states
from lookahead_data.reading.rows import Rows
from lookahead_data.sink.formats import PARQUET
from lookahead_data.sink.profiles import PROFILES, documents_of
from lookahead_data.sink.publish import sha256_of

READ = [name for name, profile in PROFILES.items() if profile.format == PARQUET]
SHUFFLED = Shuffle(seed=5, epoch=0, shuffle=True, buffer_tokens=50)
Row = tuple[list[int], list[int]]


# Ranges of places


SPANS = st.lists(st.integers(0, 60), unique=True, max_size=10).map(
    lambda ends: spans.union([(pair,) for pair in zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False)])
)


def places(given: spans.Spans) -> list[int]:
    return [place for start, stop in given for place in range(start, stop)]


@settings(deadline=None)
@given(SPANS, st.integers(0, 70), st.integers(0, 70))
def test_a_part_is_that_of_the_places(given: spans.Spans, start: int, stop: int) -> None:
    assert places(spans.part(given, start, stop)) == places(given)[start : max(stop, start)]
    assert spans.size(given) == len(places(given))
    counted = np.arange(len(places(given)))[start : max(stop, start)]
    assert spans.places(given, counted).tolist() == [places(given)[at] for at in counted.tolist()]


@settings(deadline=None)
@given(SPANS, st.integers(1, 9))
def test_shares_are_all_of_it_and_nearly_equal(given: spans.Spans, parts: int) -> None:
    shares = [spans.share(given, at, parts) for at in range(parts)]
    assert [place for share in shares for place in places(share)] == places(given)
    sizes = [spans.size(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    even = [spans.share(given, at, parts, even=True) for at in range(parts)]
    assert {spans.size(share) for share in even} == {spans.size(given) // parts}
    assert spans.size(spans.union(even)) == spans.size(given) // parts * parts
    assert spans.union(shares) == given


def test_ranges_that_overlap_are_no_union() -> None:
    assert spans.union([((5, 9),), ((0, 2), (3, 5)), ()]) == ((0, 2), (3, 9))
    with pytest.raises(ValueError, match="from 4 to 6 are there twice"):
        spans.union([((0, 6),), ((4, 7),)])


# The order


GROUPS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), max_size=14)
"""Row groups: how many rows, and tokens of each row."""


def arrays_of(groups: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(groups, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 0] * table[:, 1]


@settings(deadline=None)
@given(GROUPS, st.builds(Shuffle, st.integers(), st.integers(0), st.booleans(), st.integers(1, 60)))
def test_an_order_has_each_row_once_in_windows_that_are_bounded(
    groups: list[tuple[int, int]], shuffle: Shuffle
) -> None:
    rows, tokens = arrays_of(groups)
    order = Order(rows, tokens, shuffle)
    found, ends = [], []
    for window in range(order.windows):
        start, stop = order.span(window)
        assert order.windows_at(np.array([start, stop - 1])).tolist() == [window, window]
        assert sorted(order.rows_of(window).tolist()) == list(range(stop - start))
        of = order.groups(window)
        assert rows[of].sum() == stop - start
        assert len(of) == 1 or tokens[of].sum() <= shuffle.buffer_tokens
        found += of.tolist()
        ends.append((start, stop))
    assert sorted(found) == list(range(len(groups)))
    assert spans.union((end,) for end in ends) == (((0, order.rows),) if groups else ())
    if not shuffle.shuffle:
        assert found == list(range(len(groups)))


def test_the_order_stays_what_it_is_from_release_to_release() -> None:
    """Positions that were saved refer to it."""
    order = Order(np.full(6, 4), np.full(6, 20), dataclasses.replace(SHUFFLED, epoch=2))
    assert [order.groups(at).tolist() for at in range(order.windows)] == [[1, 5], [3, 0], [2, 4]]
    assert order.rows_of(1).tolist() == [7, 0, 4, 3, 5, 6, 2, 1]


def test_seed_and_epoch_change_the_order() -> None:
    def read(**changes: Any) -> list[Row]:
        course = Course(corpus_of([(9, 2)] * 5), dataclasses.replace(SHUFFLED, **changes), batch_size=4)
        return [row for batch in course.batches() for row in rows_in(batch)]

    orders = [read(), read(seed=6), read(epoch=1), read(shuffle=False)]
    assert orders[0] == read()
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({str(order) for order in orders}) == 4
    assert orders[3] == sorted(orders[3])


# Ranks, workers and positions, over a corpus in memory


class InMemory(Corpus):
    """Row groups whose rows hold their own number, and which count how they are read."""

    def read(self, groups: np.ndarray) -> pa.Table:
        reads.append(groups.tolist())
        ids: list[list[int]] = []
        for group in groups.tolist():
            first = int(self.rows[:group].sum())
            each = int(self.tokens[group] // self.rows[group])
            ids += [[first + row] * each for row in range(self.rows[group])]
        return pa.table(
            {"input_ids": pa.array(ids, pa.list_(pa.int32())), "labels": pa.array(ids, pa.list_(pa.int32()))}
        )


reads: list[list[int]] = []


def corpus_of(groups: list[tuple[int, int]]) -> Corpus:
    rows, tokens = arrays_of(groups)
    manifest = la.Manifest(Path("memory"), {})
    return InMemory(manifest, ("input_ids", "labels"), "memory", (), rows, rows, rows, tokens)


def rows_in(batch: Rows) -> list[Row]:
    cuts = pairwise(batch.bounds.tolist())
    return [(batch.ids[a:b].tolist(), batch.labels[a:b].tolist()) for a, b in cuts]


def numbers(batch: Rows) -> list[int]:
    return [ids[0] for ids, _ in rows_in(batch)]


def as_a_loader(course: Course, workers: int) -> Iterator[list[int]]:
    """What PyTorch's loader does: each worker in turn is asked for a batch, until it has no more."""
    course.begin()
    streams = [course.batches(worker, workers) for worker in range(workers)]
    while streams:
        for stream in list(streams):
            batch = next(stream, None)
            if batch is None:
                streams.remove(stream)
            else:
                course.advance()
                yield numbers(batch)


@pytest.fixture(autouse=True, scope="module")
def little_at_once() -> Iterator[None]:
    """So few tokens are taken out of a window together that small corpora have many such parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course_module, "TOKENS_AT_ONCE", 20)
        yield


def courses(groups: list[tuple[int, int]], ranks: int, batch: int, even: bool = False) -> list[Course]:
    return [
        Course(corpus_of(groups), SHUFFLED, batch_size=batch, rank=rank, world_size=ranks, even=even)
        for rank in range(ranks)
    ]


CREW = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
"""Ranks, workers of each, and rows of a batch."""


@settings(deadline=None)
@given(GROUPS, CREW, st.integers(0, 3))
def test_ranks_and_workers_read_each_row_once(
    groups: list[tuple[int, int]], crew: tuple[int, int, int], epoch: int
) -> None:
    ranks, workers, batch = crew
    found = []
    for course, alone in zip(courses(groups, ranks, batch), courses(groups, ranks, batch), strict=True):
        course.set_epoch(epoch)
        alone.set_epoch(epoch)
        batches = list(as_a_loader(course, workers))
        assert batches == list(as_a_loader(alone, 1))
        assert len(batches) == len(course)
        assert all(len(rows) == batch for rows in batches[:-1])
        found.append(batches)
    total = sum(rows for rows, _ in groups)
    assert sorted(row for batches in found for rows in batches for row in rows) == list(range(total))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@settings(deadline=None)
@given(GROUPS, CREW)
def test_even_ranks_read_as_many_batches_and_say_what_is_left_out(
    groups: list[tuple[int, int]], crew: tuple[int, int, int]
) -> None:
    ranks, workers, batch = crew
    crews = courses(groups, ranks, batch, even=True)
    found = [list(as_a_loader(course, workers)) for course in crews]
    assert len({tuple(map(len, batches)) for batches in found}) == 1
    rows = [row for batches in found for rows in batches for row in rows]
    assert len(set(rows)) == len(rows) == sum(rows for rows, _ in groups) - crews[0].left_out
    assert crews[0].left_out < ranks


@settings(deadline=None, max_examples=60)
@given(GROUPS, CREW, st.integers(1, 4))
def test_reading_goes_on_exactly_from_every_step(
    groups: list[tuple[int, int]], crew: tuple[int, int, int], workers_then: int
) -> None:
    ranks, workers, batch = crew
    for rank in range(ranks):
        whole = list(as_a_loader(courses(groups, ranks, batch)[rank], workers))
        for stop in range(len(whole) + 1):
            course = courses(groups, ranks, batch)[rank]
            course.begin()
            for _ in range(stop):
                course.advance()
            state = json.loads(json.dumps(course.state()))
            other = courses(groups, ranks, batch)[rank]
            other.load(state)
            other.set_epoch(SHUFFLED.epoch)
            assert list(as_a_loader(other, workers_then)) == whole[stop:]
            assert list(as_a_loader(other, workers_then)) == whole  # the next time from the start


@settings(deadline=None)
@given(GROUPS, st.lists(CREW, min_size=1, max_size=4), st.data())
def test_other_ranks_workers_and_batches_go_on_without_loss(
    groups: list[tuple[int, int]], crews: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Each rank stops after some steps of its own, again and again; the last ones read to the end."""
    found: list[int] = []
    state = None
    for at, (ranks, workers, batch) in enumerate(crews):
        states = []
        for course in courses(groups, ranks, batch):
            if state is not None:
                course.load(state)
            steps = data.draw(st.integers(0, 6)) if at < len(crews) - 1 else 10**6
            for _, rows in zip(range(steps), as_a_loader(course, workers), strict=False):
                found += rows
            states.append(course.state())
        state = merge_states(json.loads(json.dumps(states))[::-1])
    assert sorted(found) == list(range(sum(rows for rows, _ in groups)))
    assert state is not None
    assert state["left"] == []


def test_an_epoch_that_was_read_to_its_end_is_not_begun_again() -> None:
    course = courses([(5, 1)], 1, 2)[0]
    course.set_epoch(1)
    list(as_a_loader(course, 1))
    other = courses([(5, 1)], 1, 2)[0]
    other.load(course.state())
    assert other.epoch == 1
    other.set_epoch(1)
    assert list(as_a_loader(other, 1)) == []
    other.set_epoch(2)
    assert len(list(as_a_loader(other, 1))) == 3


def test_a_workers_own_state_is_for_that_worker() -> None:
    course, other = (courses([(9, 1)], 1, 2)[0] for _ in range(2))
    batches = list(course.batches(1, 2))
    course.advance()
    state = course.state(1, 2)
    other.load(state, 1, 2)
    assert [numbers(batch) for batch in other.batches(1, 2)] == [numbers(batch) for batch in batches[1:]]
    with pytest.raises(SettingsError, match="of worker 1 of 2"):
        other.load(state, 0, 2)
    with pytest.raises(SettingsError, match="of worker 1 of 2"):
        other.load(state)


def test_only_the_window_in_use_is_read_and_each_once() -> None:
    groups = [(10, 2)] * 30  # 20 tokens each, and a window has 50
    course = courses(groups, 1, 4)[0]
    reads.clear()
    batches = course.batches()
    next(batches)
    assert [len(window) for window in reads] == [2]
    list(batches)
    assert sorted(group for window in reads for group in window) == list(range(30))
    assert {len(window) for window in reads} == {2}
    # Two ranks share a window at most.
    reads.clear()
    for course in courses(groups, 4, 4):
        list(course.batches())
    assert sum(map(len, reads)) <= 30 + 3 * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update(version=9), "version 9"),
        (lambda state: state.pop("left"), "not a state"),
        (lambda state: state.update(left=[["a", 1]]), "not a state"),
        (lambda state: state.update(order={"seed": 1}), "not a state"),
        (lambda state: state.update(corpus="x"), "another corpus"),
        (lambda state: state["order"].update(seed=6), "seed=6"),
        (lambda state: state["order"].update(buffer_tokens=6), "buffer_tokens=6"),
        (lambda state: state.update(world_size=3), "rank 0 of 3"),
    ],
)
def test_states_that_do_not_belong_here_are_refused(change: Callable[[Any], Any], words: str) -> None:
    course = courses([(5, 1)], 2, 2)[0]
    state = course.state()
    change(state)
    with pytest.raises(SettingsError, match=words):
        course.load(state)


def test_states_that_do_not_belong_together_are_refused() -> None:
    first, second, third = (course.state() for course in courses([(9, 1)], 3, 2))
    for states, words in (
        ([], "no states"),
        ([first, second], r"ranks \[0, 1\], and there were 3"),
        ([first, second, second], r"ranks \[0, 1, 1\]"),
        ([first, second, {**third, "order": {**third["order"], "epoch": 1}}], "different"),
        ([first, second, {**third, "left": first["left"]}], "there twice"),
    ):
        with pytest.raises(SettingsError, match=words):
            merge_states(states)
    assert merge_states([merge_states([third, first, second])])["left"] == [[0, 9]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "no rank 2 of 2"),
        ({"batch_size": 1, "rank": -1}, "no rank -1"),
    ],
)
def test_arguments_out_of_range(options: dict[str, int], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Course(corpus_of([]), SHUFFLED, **options)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="buffer_tokens"):
        Course(corpus_of([]), dataclasses.replace(SHUFFLED, buffer_tokens=0), batch_size=1)


# Folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One corpus in all profiles, in several shards of several row groups."""
    home = tmp_path_factory.mktemp("reading")
    rows = [{"prompt": f"say {n}", "completion": f"it is {n} " * (n % 13 + 1)} for n in range(2600)]
    corpus = write_jsonl(home / "rows.jsonl", [*PAIRS, *rows])
    for profile in READ:
        pack = {"pack": 60} if PROFILES[profile].packed else {}
        la.convert(corpus, home / profile, tokenizer="builtin", profile=profile, unit_size=80_000, **pack)
    return home


@pytest.fixture
def folder(folders: Path, tmp_path: Path) -> Path:
    """One to break."""
    return Path(shutil.copytree(folders / "sft", tmp_path / "out"))


def course_over(folder: Path, **options: Any) -> Course:
    order = Shuffle(**({"seed": 1, "epoch": 0, "shuffle": True, "buffer_tokens": 30_000} | options))
    return Course(Corpus.open(folder), order, batch_size=16)


@pytest.mark.parametrize("profile", READ)
def test_the_rows_of_a_folder_are_read_as_they_are(folders: Path, profile: str) -> None:
    raw = read_rows(folders / profile)
    documents = [documents_of(row) for row in raw]
    expected = [
        (
            [token for ids, _ in row for token in ids],
            [label for _, labels in row for label in labels],
            [place for ids, _ in row for place in range(len(ids))],
        )
        for row in documents
    ]
    found = []
    course = course_over(folders / profile, shuffle=False)
    assert len(course.corpus.rows) > 3
    assert course.corpus.tokens.sum() == sum(len(ids) for ids, _, _ in expected)
    for batch in course.batches():
        positions = flat(batch)["position_ids"][0]
        assert (batch.positions is None) == (profile == "sft")
        columns = (batch.ids, batch.labels, positions)
        for a, b in pairwise(batch.bounds.tolist()):
            found.append(tuple(column[a:b].tolist() for column in columns))
    assert found == expected
    shuffled = [row for batch in course_over(folders / profile).batches() for row in rows_in(batch)]
    assert sorted(shuffled) == sorted((ids, labels) for ids, labels, _ in expected)
    assert shuffled != [(ids, labels) for ids, labels, _ in expected]


@pytest.mark.parametrize("profile", ["sft", "packed-hf"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_batches_are_filled_up_as_told(folders: Path, profile: str, multiple: int) -> None:
    packed = profile != "sft"
    for rows, _ in zip(course_over(folders / profile).batches(), range(30), strict=False):
        batch = padded(rows, 7, multiple_of=multiple)
        longest = max(len(ids) for ids, _ in rows_in(rows))
        width = next(width for width in range(longest, longest + multiple) if width % multiple == 0)
        assert set(batch) == {"input_ids", "labels", "position_ids" if packed else "attention_mask"}
        for at, (ids, labels) in enumerate(rows_in(rows)):
            rest = width - len(ids)
            assert batch["input_ids"][at].tolist() == ids + [7] * rest
            assert batch["labels"][at].tolist() == labels + [-100] * rest
            if packed:
                places = batch["position_ids"][at].tolist()
                starts = [place for place, position in enumerate(places) if position == 0]
                assert places == [place for a, b in pairwise([*starts, width]) for place in range(b - a)]
                assert (len(ids) in starts) == bool(rest)
            else:
                assert batch["attention_mask"][at].tolist() == [1] * len(ids) + [0] * rest
        line = flat(rows)
        assert {values.shape for values in line.values()} == {(1, len(rows.ids))}
        assert line["input_ids"][0].tolist() == rows.ids.tolist()
        if packed:
            assert rows.positions is not None
            assert line["position_ids"][0].tolist() == rows.positions.tolist()
        else:
            assert line["position_ids"][0].tolist() == [
                at for ids, _ in rows_in(rows) for at in range(len(ids))
            ]
        assert line["labels"][0].tolist() == [
            label for _, labels in rows_in(rows) for label in (-100, *labels[1:])
        ]
        assert {values.dtype for values in (*batch.values(), *line.values())} == {np.dtype(np.int64)}


def test_what_to_fill_up_with(folder: Path, llama_like: Path, wordpiece: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("builtin")
    assert pad_id_of(la.Manifest.load(folder)) == tokenizer.token_id("<|endoftext|>")

    def made_with(source: Path) -> la.Manifest:
        moved = shutil.copytree(source, tmp_path / source.name)
        out = tmp_path / f"{source.name}-out"
        return la.convert(PAIRS, out, tokenizer=str(moved), chat_template="none")

    manifest = made_with(llama_like)
    assert pad_id_of(manifest) == load_tokenizer(str(llama_like)).token_id("</s>")
    config = Path(str(manifest.settings.tokenizer), "tokenizer_config.json")
    config.write_text(config.read_text().replace("</s>", "<unk>"))
    with pytest.raises(TokenizerError, match=r"not the one that these rows were made with\n  .*pad_id="):
        pad_id_of(manifest)
    shutil.rmtree(config.parent)
    with pytest.raises(TokenizerError, match=r"no such file or folder\n  .*pad_id="):
        pad_id_of(manifest)
    with pytest.raises(SettingsError, match=r"names neither .*\n  .*pad_id="):
        pad_id_of(made_with(wordpiece))


def shard_of(folder: Path) -> Path:
    return la.Manifest.load(folder).shards[1]


def change_manifest(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def state_sizes(folder: Path) -> None:
    """Let the manifest tell the size and hash that a changed shard has."""
    shard = shard_of(folder)
    size, digest = shard.stat().st_size, sha256_of(shard)
    change_manifest(folder, lambda document: document["shards"][1].update(size=size, sha256=digest))


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(shard_of(folder))), shard_of(folder))
    state_sizes(folder)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "there is no manifest.json"),
    "a broken manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
    "a manifest of something else": (lambda folder: change_manifest(folder, lambda it: it["shards"][0].pop("size")), "is not valid"),
    "another format": (lambda folder: change_manifest(folder, lambda it: it.update(format=99)), "the format 99, and this"),
    "a shard that is missing": (lambda folder: shard_of(folder).unlink(), "00000.parquet: is missing"),
    "a shard that was cut": (lambda folder: shard_of(folder).write_bytes(shard_of(folder).read_bytes()[:-9]), "bytes long, and manifest.json says"),
    "a shard that is no Parquet": (lambda folder: (shard_of(folder).write_bytes(b"x" * 99), state_sizes(folder)), "cannot be read: "),
    "a shard with other rows": (lambda folder: rewrite(folder, lambda table: table.slice(1)), "rows, and manifest.json says"),
    "a shard with other columns": (lambda folder: rewrite(folder, lambda table: table.drop_columns("labels")), "has the columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_not_as_its_manifest_says_is_refused(name: str, folder: Path) -> None:
    change, words = REFUSED[name]
    change(folder)
    with pytest.raises(OutputError, match=words) as caught:
        Corpus.open(folder)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(folder))


def test_arrow_shards_are_left_to_datasets(tmp_path: Path) -> None:
    la.convert(
        [{"prompt": "a", "completion": "b"}], tmp_path / "out", tokenizer="builtin", profile="llama-factory"
    )
    with pytest.raises(OutputError, match="the profile llama-factory, which are not read here"):
        Corpus.open(tmp_path / "out")


def test_a_profile_that_is_not_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(PROFILES["sft"], columns=("input_ids", "logits"))
    monkeypatch.setitem(PROFILES, "sft", other)
    with pytest.raises(OutputError, match="the profile sft, which are not read here"):
        Corpus.open(folder)


def of_first_row(name: str, change: Callable[[list[Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        change(rows[0][name])
        return pa.Table.from_pylist(rows, table.schema)

    return changed


MISFITS: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "fewer labels than ids": ("sft", of_first_row("labels", list.pop), "another number of labels"),
    "a null": ("sft", of_first_row("labels", lambda row: row.__setitem__(0, None)), "a null"),
    "a document too many": ("packed-trl", of_first_row("seq_lengths", lambda row: row.append(3)), "do not add up"),
    "an empty document": ("packed-trl", of_first_row("seq_lengths", lambda row: row.append(0)), "do not add up"),
    "a start out of order": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.append(0)), "do not add up"),
    "no start": ("packed-megatron", of_first_row("seq_start_id", list.clear), "do not add up"),
    "a start beyond the row": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.append(10**6)), "do not add up"),
    "a first start that is none": ("packed-megatron", of_first_row("seq_start_id", lambda row: row.__setitem__(0, 1)), "do not add up"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_rows_whose_columns_do_not_fit_are_never_given_out(name: str, folders: Path, tmp_path: Path) -> None:
    profile, change, words = MISFITS[name]
    folder = Path(shutil.copytree(folders / profile, tmp_path / "out"))
    rewrite(folder, change)
    with pytest.raises(OutputError, match=words):
        list(course_over(folder).batches())


def test_damage_that_comes_later_is_told(folder: Path) -> None:
    course = course_over(folder)
    raw = bytearray(shard_of(folder).read_bytes())
    raw[200] ^= 1
    shard_of(folder).write_bytes(raw)
    with pytest.raises(OutputError, match="cannot be read") as caught:
        list(course.batches())
    assert caught.value.where == str(shard_of(folder))
    course = course_over(folder)
    shard_of(folder).unlink()
    with pytest.raises(OutputError, match="is missing"):
        list(course.batches())


def test_a_state_is_of_the_rows_and_not_of_the_folders_name(folders: Path, folder: Path) -> None:
    state = course_over(folders / "sft").state()
    course_over(folder).load(state)
    with pytest.raises(SettingsError, match="another corpus"):
        course_over(folders / "packed-hf").load(state)


def test_a_folder_made_anew_is_read_anew(tmp_path: Path) -> None:
    for times in (3, 4):
        la.convert(PAIRS * times, tmp_path / "out", tokenizer="builtin", overwrite=True)
        course = course_over(tmp_path / "out")
        assert sum(len(batch.bounds) - 1 for batch in course.batches()) == 4 * times


def test_a_folder_without_rows_has_no_batches(tmp_path: Path) -> None:
    la.convert([PAIRS[0]], tmp_path / "out", tokenizer="builtin", max_length=2)
    course = course_over(tmp_path / "out")
    assert (len(course), list(course.batches()), course.state()["left"]) == (0, [], [])


def test_without_pytorch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None; import lookahead_data.torch"
    ran = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'lookahead_data[torch]'" in ran.stderr.splitlines()[-1]
