"""Exact and near duplicates are those that comparing each text with each other finds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasketch
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_data.arrays import Ints
from lookahead_data.curation import exact, near, spill
from lookahead_data.curation.clusters import Components, clusters
from lookahead_data.curation.exact import exact_duplicates, list_keys, message_keys, text_keys
from lookahead_data.curation.near import NearDuplicates, NearSettings, near_duplicates
from lookahead_data.curation.shingles import Shingling
from lookahead_data.errors import OutputError, SettingsError

SHORT = Shingling("word", 1)
words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "\x00", "é", "😀"]), max_size=12).map(
    " ".join
)
corpora = st.lists(words | st.sampled_from(["", " \u3000", "a b c d e f", "a b c d e a"]), max_size=25)
batch_sizes = st.integers(1, 26)


def large(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def batches(texts: list[str], size: int) -> list[tuple[Ints, pa.LargeStringArray]]:
    """The texts, numbered 10, 12, 14, …"""
    whole = large(texts)
    numbers = np.arange(len(texts)) * 2 + 10
    return [(numbers[at : at + size], whole.slice(at, size)) for at in range(0, len(texts), size)]


# Exact duplicates


@settings(deadline=None)
@given(corpora, batch_sizes, st.sampled_from([800, 1 << 20]))
def test_exact_duplicates_are_equal_texts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, memory: int
) -> None:
    keys = ((rows, text_keys(part)) for rows, part in batches(texts, size))
    found = exact_duplicates(keys, tmp_path_factory.mktemp("exact"), memory)
    expected = [(at * 2 + 10, texts.index(text) * 2 + 10) for at, text in enumerate(texts)]
    assert found.schema == exact.SCHEMA
    assert list(zip(*found.to_pydict().values(), strict=True)) == [
        (row, first) for row, first in expected if row != first
    ]


fields = st.sampled_from(["", "a", "b", "ab", "\0", "a\0", "\0a"])


@given(st.lists(st.lists(fields, max_size=4), min_size=2, max_size=9))
def test_turns_are_kept_apart(rows: list[list[str]]) -> None:
    for kind in (pa.large_list(pa.large_string()), pa.list_(pa.large_string())):
        keys = list_keys(pa.array([["x"], *rows], kind).slice(1)).tolist()
        for (one, first), (other, second) in itertools.combinations(zip(rows, keys, strict=True), 2):
            assert (one == other) == (first == second)


messages = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), fields), max_size=3)


@given(st.lists(messages, max_size=9))
def test_messages_are_equal_texts_in_equal_roles(rows: list[list[tuple[str, str]]]) -> None:
    kind = pa.list_(pa.large_string())
    roles, contents = (
        pa.array([[""], *([pair[part] for pair in row] for row in rows)], kind).slice(1) for part in (0, 1)
    )
    flat = pa.array([[text for pair in row for text in pair] for row in rows], kind)
    assert message_keys(roles, contents).tolist() == list_keys(flat).tolist()


def test_no_rows_have_no_duplicates(tmp_path: Path) -> None:
    assert exact_duplicates([], tmp_path).num_rows == 0
    assert text_keys(large([])).shape == (0, 2)
    assert near_duplicates([], tmp_path).clusters.num_rows == 0


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be spilled to"):
        exact_duplicates([], tmp_path / "missing")
    with pytest.raises(OutputError, match="cannot be spilled to"):
        spill.ArrayFile(tmp_path / "missing" / "x", 1, np.uint32)


# Near duplicates


def found_by(
    folder: Path, texts: list[str], size: int, how: NearSettings
) -> tuple[NearDuplicates, list[tuple[Any, ...]]]:
    found = near_duplicates(batches(texts, size), folder, how)
    return found, list(zip(*found.clusters.to_pydict().values(), strict=True))


def slowly(texts: list[str], how: NearSettings) -> list[tuple[Any, ...]]:
    """The clusters by datasketch alone, each candidate compared."""
    sets = [set(text.split()) for text in texts]
    minhashes = datasketch.MinHash.bulk(
        [[word.encode() for word in one] for one in sets],
        num_perm=how.num_perm,
        hashfunc=SHORT.hashfunc,
    )
    index = datasketch.MinHashLSH(how.threshold, how.num_perm, how.weights)

    def similarity(one: int, other: int) -> float:
        if how.verify == "estimate":
            return minhashes[one].jaccard(minhashes[other])
        return len(sets[one] & sets[other]) / len(sets[one] | sets[other])

    labels = list(range(len(texts)))
    for at, one in enumerate(sets):
        if not one:
            continue
        for other in index.query(minhashes[at]):
            if similarity(other, at) >= how.threshold:
                low, high = sorted([labels[other], labels[at]])
                labels = [low if label == high else label for label in labels]
        index.insert(at, minhashes[at])
    lines = []
    large_ones = [label for label in range(len(texts)) if labels.count(label) > 1]
    for cluster, label in enumerate(large_ones):
        members = [at for at in range(len(texts)) if labels[at] == label]
        kept = max(members, key=lambda at: len(texts[at])) if how.keep == "longest" else members[0]
        lines += [(cluster, 2 * at + 10, 2 * kept + 10, similarity(at, kept)) for at in members]
    return lines


near_settings = st.builds(
    NearSettings,
    threshold=st.sampled_from([0.3, 0.5, 0.8]),
    num_perm=st.just(32),
    shingling=st.just(SHORT),
    verify=st.sampled_from(["estimate", "exact"]),
    keep=st.sampled_from(["first", "longest"]),
    memory=st.sampled_from([800, 1 << 20]),
)


@settings(deadline=None, max_examples=60)
@given(corpora, batch_sizes, near_settings)
def test_clusters_are_those_of_datasketch(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, how: NearSettings
) -> None:
    folder = tmp_path_factory.mktemp("near")
    found, lines = found_by(folder, texts, size, how)
    assert lines == slowly(texts, how)
    assert found.texts == len(texts)
    assert found.empty == sum(not text.strip() for text in texts)
    assert found.left_out == 0
    assert list(folder.iterdir()) == []


def sentences(count: int, seed: int = 0) -> list[str]:
    """Texts of 30 words, every third one nearly that before it."""
    chance = np.random.default_rng(seed)
    texts: list[str] = []
    for at in range(count):
        if at % 3 == 2:
            before = texts[-1].split()
            before[int(chance.integers(30))] = "changed"
            texts.append(" ".join(before))
        else:
            texts.append(" ".join(f"w{number}" for number in chance.integers(0, 5000, 30)))
    return texts


@pytest.mark.parametrize("verify", ["estimate", "exact"])
def test_batches_and_memory_change_nothing(tmp_path: Path, verify: Any) -> None:
    texts = sentences(300) + ["the same text in all of these rows"] * 50
    how = NearSettings(0.6, shingling=Shingling("word", 2), verify=verify)
    expected = found_by(tmp_path, texts, 1000, how)[1]
    assert len({line[0] for line in expected}) > 75
    for size, memory in ((7, 1 << 28), (50, 100_000), (1000, 3_000_000), (100, 200_000)):
        assert found_by(tmp_path, texts, size, replace(how, memory=memory))[1] == expected


def test_no_pair_below_the_threshold_survives_exact_verification(tmp_path: Path) -> None:
    texts = sentences(900)
    how = NearSettings(0.6, shingling=Shingling("word", 2), verify="exact")
    _, lines = found_by(tmp_path, texts, 100, how)
    assert len(lines) > 500
    for _, row, survivor, similarity in lines:
        one, other = (
            set(itertools.pairwise(texts[(number - 10) // 2].split())) for number in (row, survivor)
        )
        assert similarity == len(one & other) / len(one | other) >= 0.6


def test_normalization_comes_before_shingles(tmp_path: Path) -> None:
    texts = ["The quick brown Fox  jumps", "the QUICK brown\nfox jumps"]
    assert len(found_by(tmp_path, texts, 9, NearSettings())[1]) == 2
    how = NearSettings(normalization=replace(NearSettings().normalization, fold_case=False))
    assert found_by(tmp_path, texts, 9, how)[1] == []


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("verify", ["estimate", "exact"])
def test_degenerate_texts(tmp_path: Path, unit: Any, verify: Any) -> None:
    how = NearSettings(shingling=Shingling(unit, 5), verify=verify)
    texts = ["", "x", " ", "x", "\0", "\0\0", "😀", "\t", "😀", "中文", "Ａ"]
    found, lines = found_by(tmp_path, texts, 4, how)
    assert found.empty == 3
    assert [(row, survivor) for _, row, survivor, _ in lines] == [(12, 12), (16, 12), (22, 22), (26, 22)]


def test_many_copies_of_one_text_are_one_text(tmp_path: Path) -> None:
    texts = ["one text that stands in all of the rows", *sentences(3)] * 20_000
    found, lines = found_by(tmp_path, texts, 30_000, NearSettings())
    assert found.left_out == 0
    assert len(lines) == len(texts)
    assert [line[2] for line in lines if line[1] == 10 + 2 * 79_996] == [10]


@pytest.mark.parametrize("unit", ["word", pytest.param("character", marks=pytest.mark.slow)])
def test_one_long_document(tmp_path: Path, unit: Any) -> None:
    chance = np.random.default_rng(1)
    text = " ".join(f"word{number}" for number in chance.integers(0, 10**6, 900_000))
    assert len(text) > 9_000_000
    texts = ["short", text, "x" * 10_000_000, text + " and more"]
    how = NearSettings(shingling=Shingling(unit, 5), num_perm=16, threshold=0.7, memory=1 << 24)
    _, lines = found_by(tmp_path, texts, 2, how)
    assert [(row, survivor) for _, row, survivor, _ in lines] == [(12, 12), (16, 12)]


def test_a_large_bucket_is_told(tmp_path: Path) -> None:
    # Half of the words are in all texts: many share a band, though no two are alike enough.
    texts = [" ".join(f"c{n}" for n in range(60)) + f" x{at} y{at}" for at in range(300)]
    how = NearSettings(0.5, num_perm=32, shingling=SHORT)
    found, lines = found_by(tmp_path, texts, 100, how)
    assert found.left_out > 0
    assert len(lines) == 300
    assert {line[2] for line in lines} == {10}


@pytest.mark.parametrize("changes", [{"verify": "guess"}, {"keep": "last"}, {"memory": 0}])
def test_what_is_not_known_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="near duplicates"):
        NearSettings(**changes)


# Components


@given(st.integers(1, 12), st.data())
def test_components_are_what_hangs_together(texts: int, data: st.DataObject) -> None:
    node = st.integers(0, texts - 1)
    components = Components(texts)
    labels = list(range(texts))
    for links in data.draw(st.lists(st.lists(st.tuples(node, node), max_size=5), max_size=4)):
        pairs = np.array(links, np.int64).reshape(-1, 2)
        components.link(pairs[:, 0], pairs[:, 1])
        for one, other in links:
            low, high = sorted([labels[one], labels[other]])
            labels = [low if label == high else label for label in labels]
    assert components.labels.tolist() == labels
    every = np.array([(a, b) for a in range(texts) for b in range(texts)])
    left, right = components.apart(every[:, 0], every[:, 1])
    assert all(labels[a] != labels[b] for a, b in zip(left.tolist(), right.tolist(), strict=True))


def test_a_link_that_comes_256_times_is_a_link() -> None:
    components = Components(2)
    components.link(np.zeros(256, np.int64), np.ones(256, np.int64))
    assert components.labels.tolist() == [0, 0]


def test_the_longest_survives_and_of_several_the_first() -> None:
    components = Components(6)
    components.link(np.array([0, 2, 1]), np.array([2, 4, 3]))
    rows = np.arange(6) + 100

    def similarity(left: Ints, right: Ints) -> np.ndarray:
        return np.where(left == right, 1.0, 0.5)

    table = clusters(components, rows, similarity, np.array([1, 7, 9, 7, 9, 99]))
    assert table.to_pydict() == {
        "cluster": [0, 0, 0, 1, 1],
        "row": [100, 102, 104, 101, 103],
        "survivor": [102, 102, 102, 101, 101],
        "similarity": [0.5, 1.0, 0.5, 1.0, 0.5],
    }
    assert clusters(components, rows, similarity)["survivor"].to_pylist() == [100, 100, 100, 101, 101]


def test_equal_signatures_of_different_sets_are_told_apart_by_exact_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All values the same: every text looks like every other.
    monkeypatch.setattr(
        near,
        "signatures",
        lambda values, offsets, num_perm, seed: np.zeros((len(offsets) - 1, num_perm), np.uint32),
    )
    texts = ["a b c d", "p q r s", "a b c d", "a b c e", "p q r s"]
    how = NearSettings(0.6, num_perm=16, shingling=SHORT, verify="exact")
    _, lines = found_by(tmp_path, texts, 2, how)
    assert [(row, survivor) for _, row, survivor, _ in lines] == [
        (10, 10),
        (14, 10),
        (16, 10),
        (12, 12),
        (18, 12),
    ]
