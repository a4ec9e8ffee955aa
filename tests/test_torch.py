"""PyTorch reads a finished folder through the dataset and the loader (where it is installed)."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import PAIRS, READ, in_all_profiles, read_rows

import lookahead_data as la
from lookahead_data.errors import OutputError, SettingsError, TokenizerError
from lookahead_data.sink.profiles import documents_of

torch = pytest.importorskip("torch")

from lookahead_data.torch import Batch, ShardDataset, ShardLoader, merge_states  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*worker processes in total:UserWarning"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One corpus in all profiles, in several shards."""
    return in_all_profiles(tmp_path_factory.mktemp("torch"), count=300, repeats=7, unit_size=5000)


def dataset_of(folder: Path, **options: Any) -> ShardDataset:
    return ShardDataset(folder, **({"batch_size": 8, "buffer_tokens": 2000, "seed": 3} | options))


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(left, right, strict=True)
    )


def documents_in(batch: Batch) -> Iterator[tuple[list[int], list[int]]]:
    """Ids and labels of each document of a batch, with its filling."""
    for at in range(len(batch["input_ids"])):
        ids, labels = batch["input_ids"][at].tolist(), batch["labels"][at].tolist()
        if "position_ids" in batch:
            yield from documents_of(
                {"input_ids": ids, "labels": labels, "position_ids": batch["position_ids"][at].tolist()}
            )
        else:
            length = int(batch["attention_mask"][at].sum())
            yield ids[:length], labels[:length]


@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize("profile", READ)
def test_all_documents_come_once_and_as_they_are(folders: Path, profile: str, padding_free: bool) -> None:
    expected = sorted(document for row in read_rows(folders / profile) for document in documents_of(row))
    found = []
    for rank in range(3):
        dataset = dataset_of(
            folders / profile, rank=rank, world_size=3, pad_id=10**6, padding_free=padding_free
        )
        batches = list(ShardLoader(dataset, num_workers=rank))
        assert len(batches) == len(dataset)
        for batch in batches:
            assert {values.dtype for values in batch.values()} == {torch.int64}
            assert ("attention_mask" in batch) == (profile == "sft" and not padding_free)
            found += [(ids, labels) for ids, labels in documents_in(batch) if ids[0] != 10**6]
            assert not padding_free or 10**6 not in batch["input_ids"]
    assert sorted(found) == expected


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_loader_goes_on_exactly_from_every_step(folders: Path, workers: int) -> None:
    whole = list(dataset_of(folders / "sft", rank=1, world_size=2))
    assert len(whole) > 10
    loader = ShardLoader(dataset_of(folders / "sft", rank=1, world_size=2), num_workers=workers)
    states = [loader.state_dict()]
    read = []
    for batch in loader:
        read.append(batch)
        states.append(loader.state_dict())
    assert same(read, whole)
    for at, state in enumerate(json.loads(json.dumps(states))):
        # New workers for each step take their time, so most steps go without.
        other = ShardLoader(
            dataset_of(folders / "sft", rank=1, world_size=2),
            num_workers=(workers + 1) % 3 if at % 5 == 0 else 0,
        )
        other.load_state_dict(state)
        assert same(list(other), whole[at:])


def test_other_ranks_and_workers_go_on_without_loss(folders: Path) -> None:
    expected = sorted(tuple(row["input_ids"]) for row in read_rows(folders / "sft"))
    found: list[tuple[int, ...]] = []
    state = None
    for ranks, workers, steps in ((1, 2, 3), (3, 1, 4), (2, 2, 10**6)):
        loaders = [
            ShardLoader(dataset_of(folders / "sft", rank=rank, world_size=ranks), num_workers=workers)
            for rank in range(ranks)
        ]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
            for _, batch in zip(range(steps), loader, strict=False):
                found += [tuple(ids) for ids, _ in documents_in(batch)]
        state = merge_states(loader.state_dict() for loader in loaders)
    assert sorted(found) == expected


def test_epochs_have_orders_of_their_own(folders: Path) -> None:
    loader = ShardLoader(dataset_of(folders / "packed-hf"), num_workers=1)
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        assert loader.epoch == epoch
        epochs.append(list(loader))
    assert not same(*epochs)
    loader.set_epoch(0)
    assert same(list(loader), epochs[0])
    for _ in loader:
        break
    assert same(list(loader), epochs[0])  # begun anew
    loader.load_state_dict(loader.state_dict())
    assert list(loader) == []


def test_pytorchs_own_loader_reads_each_row_once_too(folders: Path) -> None:
    dataset = dataset_of(folders / "sft")
    for _ in zip(range(3), dataset, strict=False):
        pass
    whole = list(dataset_of(folders / "sft"))
    for workers in (2, 0):
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
        assert same(list(loader), whole)


def test_workers_that_are_spawned_read_the_same(folders: Path) -> None:
    dataset = dataset_of(folders / "sft")
    spawned = ShardLoader(
        dataset, num_workers=1, multiprocessing_context=multiprocessing.get_context("spawn")
    )
    assert same(list(spawned), list(dataset_of(folders / "sft")))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
def test_torchdatas_stateful_loader_goes_on_too(folders: Path) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    whole = list(dataset_of(folders / "sft"))
    for workers, stop in ((0, 7), (1, 0), (2, 7), (2, len(whole))):

        def loader(workers: int = workers) -> Any:
            return loaders.StatefulDataLoader(
                dataset_of(folders / "sft"), batch_size=None, num_workers=workers
            )

        first, second = loader(), loader()
        read = [batch for _, batch in zip(range(stop), first, strict=False)]
        second.load_state_dict(first.state_dict())
        assert same(read + list(second), whole)


def test_the_rank_is_that_of_the_process_group_or_of_the_environment(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place() -> tuple[int, int]:
        state = dataset_of(folders / "sft").state_dict()
        return state["rank"], state["world_size"]

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert place() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == (2, 4)
    group = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    torch.distributed.init_process_group("fake", store=group.FakeStore(), rank=5, world_size=6)
    try:
        assert place() == (5, 6)
    finally:
        torch.distributed.destroy_process_group()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(SettingsError, match="RANK=first and WORLD_SIZE=4"):
        place()
    with pytest.raises(SettingsError, match="go together"):
        dataset_of(folders / "sft", rank=0)


def test_even_ranks_have_as_many_batches(folders: Path) -> None:
    rows = len(read_rows(folders / "sft"))
    ranks = [dataset_of(folders / "sft", rank=rank, world_size=5, even=True) for rank in range(5)]
    assert len({tuple(len(batch["labels"]) for batch in dataset) for dataset in ranks}) == 1
    assert ranks[0].left_out == rows % 5 > 0
    assert dataset_of(folders / "sft", rank=0, world_size=5).left_out == 0


def test_rows_are_filled_up_with_the_tokenizers_token(
    folders: Path, llama_like: Path, tmp_path: Path
) -> None:
    dataset = dataset_of(folders / "sft", pad_to_multiple_of=16)
    for batch in dataset:
        assert batch["labels"].shape[1] % 16 == 0
        assert (batch["input_ids"][batch["attention_mask"] == 0] == dataset.pad_id).all()
    moved = llama_like.rename(tmp_path / "moved")
    la.convert(PAIRS, tmp_path / "out", tokenizer=str(moved), chat_template="none")
    moved.rename(llama_like)
    with pytest.raises(TokenizerError, match="pad_id="):
        dataset_of(tmp_path / "out")
    # Nothing is to be filled up here.
    assert len(list(dataset_of(tmp_path / "out", batch_size=1))) == len(PAIRS)
    assert len(list(dataset_of(tmp_path / "out", padding_free=True))) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of=0"),
        ({"pad_to_multiple_of": 8, "padding_free": True}, "which pads nothing"),
        ({"rank": 2, "world_size": 2}, "no rank 2"),
        ({"buffer_tokens": 1 << 31}, "buffer_tokens"),
    ],
)
def test_arguments_that_cannot_be_used(folders: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        dataset_of(folders / "sft", **options)


@pytest.mark.parametrize("option", ["batch_size", "collate_fn", "shuffle", "persistent_workers"])
def test_a_loader_takes_no_option_that_changes_the_batches(folders: Path, option: str) -> None:
    with pytest.raises(SettingsError, match=option):
        ShardLoader(dataset_of(folders / "sft"), **{option: True})
    with pytest.raises(SettingsError, match="in_order"):
        ShardLoader(dataset_of(folders / "sft"), in_order=False)


def test_what_is_wrong_with_a_folder_is_told_through_workers_too(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no manifest\.json"):
        dataset_of(tmp_path)
    la.convert(PAIRS, tmp_path / "out", tokenizer="builtin")
    loader = ShardLoader(dataset_of(tmp_path / "out"), num_workers=1)
    la.Manifest.load(tmp_path / "out").shards[0].unlink()
    with pytest.raises(OutputError, match="is missing"):
        list(loader)
