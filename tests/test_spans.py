"""Ranges of places are cut, shared and put together as their places are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_data.reading import spans

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
