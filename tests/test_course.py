"""Each row is read once an epoch, in the epoch's order, whatever ranks and workers share it and wherever they stop."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import Document, rows_in
from hypothesis import given, settings
from hypothesis import strategies as st

import lookahead_data as la
from lookahead_data.errors import SettingsError
from lookahead_data.reading import spans
from lookahead_data.reading.corpus import Corpus
from lookahead_data.reading.course import Course
from lookahead_data.reading.order import Order, Shuffle
from lookahead_data.reading.position import merge_states
from lookahead_data.reading.rows import Rows

pytestmark = pytest.mark.usefixtures("little_at_once")

SHUFFLED = Shuffle(seed=5, epoch=0, shuffle=True, buffer_tokens=50)

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
    def read(**changes: Any) -> list[Document]:
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
