"""Signatures, bands and candidates are datasketch's own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import datasketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_data.arrays import Ints
from lookahead_data.curation import bands, minhash
from lookahead_data.curation.bands import Bands, candidates, left_out
from lookahead_data.curation.minhash import Signatures, as_minhash, signatures
from lookahead_data.curation.spill import Groups, KeyFile
from lookahead_data.errors import SettingsError

hashes = st.integers(0, 2**32 - 1)
# Few different values make sets alike; the largest and least ones meet the ends of 32 bits.
sets_of = st.lists(
    st.lists(st.integers(0, 12) | st.sampled_from([2**32 - 1, 2**31]) | hashes, max_size=12), max_size=12
)


def flat(sets: list[list[int]]) -> tuple[np.ndarray, Ints]:
    values = np.array([value for one in sets for value in one], np.uint32)
    return values, np.concatenate([[0], np.cumsum([len(one) for one in sets], dtype=np.int64)])


def theirs(sets: list[list[int]], num_perm: int, seed: int) -> list[datasketch.MinHash]:
    return datasketch.MinHash.bulk(sets, num_perm=num_perm, seed=seed, hashfunc=int)


@given(sets_of, st.sampled_from([1, 2, 16, 17, 128]), st.sampled_from([1, 7]))
def test_signatures_are_datasketchs(sets: list[list[int]], num_perm: int, seed: int) -> None:
    found = signatures(*flat(sets), num_perm, seed)
    expected = theirs(sets, num_perm, seed)
    assert found.dtype == np.uint32
    assert found.shape == (len(sets), num_perm)
    for ours, their in zip(found, expected, strict=True):
        assert their.hashvalues.dtype == np.uint32
        np.testing.assert_array_equal(ours, their.hashvalues)
        assert as_minhash(ours, seed) == their
        assert as_minhash(ours, seed).is_empty() == their.is_empty()


@given(sets_of, st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_signatures_do_not_depend_on_blocks(
    sets: list[list[int]], column: int, permutations: int, few: int
) -> None:
    expected = signatures(*flat(sets), 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "_COLUMN", column)
        patch.setattr(minhash, "_PERMUTATIONS", permutations)
        patch.setattr(minhash, "_FEW", few)
        np.testing.assert_array_equal(signatures(*flat(sets), 12), expected)


def test_long_sets_among_many_short_ones() -> None:
    chance = np.random.default_rng(0)
    sizes = [3, 30_000, 0, 8192, 1, *chance.integers(0, 40, 9000).tolist()]
    sets = [chance.integers(0, 2**32, size).tolist() for size in sizes]
    for ours, their in zip(signatures(*flat(sets)), theirs(sets, 128, 1), strict=True):
        np.testing.assert_array_equal(ours, their.hashvalues)


def test_parts_of_a_longer_array_are_as_good() -> None:
    values, offsets = flat([[9], [1, 2], [], [3]])
    np.testing.assert_array_equal(signatures(values, offsets[1:4]), signatures(values, offsets)[1:3])
    assert signatures(np.zeros(0, np.uint32), np.zeros(1, np.int64)).shape == (0, 128)


@given(sets_of.filter(lambda sets: len(sets) > 1))
def test_a_signature_handed_back_goes_on_as_datasketchs(sets: list[list[int]]) -> None:
    found = [as_minhash(row) for row in signatures(*flat(sets))]
    expected = theirs(sets, 128, 1)
    assert found[0].jaccard(found[1]) == expected[0].jaccard(expected[1])
    assert datasketch.MinHash.union(*found) == datasketch.MinHash.union(*expected)
    assert datasketch.LeanMinHash(found[0]) == datasketch.LeanMinHash(expected[0])


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("num_perm", [64, 128])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.25, 0.75)])
def test_bands_are_those_of_minhashlsh(threshold: float, num_perm: int, weights: tuple[float, float]) -> None:
    index = datasketch.MinHashLSH(threshold, num_perm, weights)
    assert Bands.of(threshold, num_perm, weights) == Bands(index.b, index.r)


@pytest.mark.parametrize(
    ("threshold", "num_perm", "weights"),
    [(1.5, 128, (0.5, 0.5)), (0.8, 1, (0.5, 0.5)), (0.8, 128, (0.5, 0.6)), (1.0, 4, (0.5, 0.5))],
)
def test_what_minhashlsh_refuses_is_refused(
    threshold: float, num_perm: int, weights: tuple[float, float]
) -> None:
    with pytest.raises(SettingsError, match="near duplicates"):
        Bands.of(threshold, num_perm, weights)


def our_pairs(found: Signatures, cut: Bands, path: Path, memory: int, batch: int) -> set[tuple[int, int]]:
    with KeyFile(path, cut.names) as file:
        for at in range(0, len(found), batch):
            part = found[at : at + batch]
            file.add(np.arange(at, at + len(part)), cut.keys(part))
    return {
        (left, right)
        for name in cut.names
        for groups in file.groups([name], memory)
        for pair in candidates(groups, max(1, memory // 64))
        for left, right in zip(pair[0].tolist(), pair[1].tolist(), strict=True)
    }


@settings(max_examples=40, deadline=None)
@given(sets_of, st.sampled_from([0.2, 0.5, 0.8]), st.sampled_from([400, 1 << 20]), st.integers(1, 13))
def test_candidates_are_those_of_minhashlsh(
    tmp_path_factory: pytest.TempPathFactory, sets: list[list[int]], threshold: float, memory: int, batch: int
) -> None:
    # MinHashLSH finds empty sets alike; here they never come so far.
    sets = [one for one in sets if one]
    index = datasketch.MinHashLSH(threshold, 32)
    expected = theirs(sets, 32, 1)
    for at, one in enumerate(expected):
        index.insert(at, one)
    pairs = {(at, other) for at, one in enumerate(expected) for other in index.query(one) if at < other}
    path = tmp_path_factory.mktemp("bands") / "keys.parquet"
    assert our_pairs(signatures(*flat(sets), 32), Bands(index.b, index.r), path, memory, batch) == pairs


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(1, 30), st.integers(1, 4))
def test_buckets_are_paired_with_their_first_members(sizes: list[int], limit: int, partners: int) -> None:
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    groups = Groups(np.arange(starts[-1]) * 2, starts)
    every = [
        (other, row) for b, e in pairwise(starts.tolist()) for row in range(b, e) for other in range(b, row)
    ]
    expected = [
        (2 * other, 2 * row)
        for other, row in every
        if other - starts[np.searchsorted(starts, row, "right") - 1] < partners
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "PARTNERS", partners)
        parts = list(candidates(groups, limit))
        assert left_out(groups) == len(every) - len(expected)
    assert [pair for part in parts for pair in zip(*map(np.ndarray.tolist, part), strict=True)] == expected
    assert all(len(part[0]) <= max(limit, partners) for part in parts)


def test_groups_keep_what_is_kept() -> None:
    groups = Groups(np.array([3, 5, 8, 1, 2]), np.array([0, 3, 5]))
    assert groups.firsts.tolist() == [3, 3, 3, 1, 1]
    kept = np.ones(9, np.bool_)
    kept[[5, 1]] = False
    left = groups.where(kept)
    assert left.rows.tolist() == [3, 8, 2]
    assert left.starts.tolist() == [0, 2, 3]


def test_the_s_curve() -> None:
    assert Bands(9, 13).likelihood(0.0) == 0
    assert Bands(9, 13).likelihood(1.0) == 1
    assert Bands(1, 2).likelihood(0.5) == 0.25
