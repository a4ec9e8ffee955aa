"""Where reading stands in an epoch: what a checkpoint keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lookahead_data.errors import SettingsError
from lookahead_data.reading.order import Shuffle
from lookahead_data.reading.spans import Spans, union

VERSION = 1


@dataclass(frozen=True)
class Position:
    """What one rank, or all of them, have still to read of an epoch.

    Attributes:
        corpus: the digest of the corpus.
        shuffle: the epoch and its order.
        rank, world_size: whose position this is; 0 of 1 is that of all.
        left: the places of the order that are still to be read.
    """

    corpus: str
    shuffle: Shuffle
    rank: int
    world_size: int
    left: Spans

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON holds too."""
        return {
            "version": VERSION,
            "corpus": self.corpus,
            "order": self.shuffle.to_dict(),
            "rank": self.rank,
            "world_size": self.world_size,
            "left": [list(span) for span in self.left],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Position:
        """
        Raises:
            SettingsError: this is no state, or one of another version.
        """
        try:
            if state["version"] != VERSION:
                raise SettingsError(
                    f"the state has the version {state['version']}, and this one reads {VERSION}"
                )
            left = tuple((int(start), int(stop)) for start, stop in state["left"])
            order = Shuffle(**state["order"])
            return cls(str(state["corpus"]), order, int(state["rank"]), int(state["world_size"]), left)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"this is not a state of a reader of lookahead_data: {type(error).__name__}: {error}",
                remedy="Give what state_dict() or merge_states() returned.",
            ) from None


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The states of all ranks as one, from which any number of ranks can go on.

    Args:
        states: the `state_dict()` of each rank, in any order, all taken at the same point of training.

    Raises:
        SettingsError: a rank is missing or is there twice, or they do not belong together.
    """
    positions = [Position.from_dict(state) for state in states]
    if not positions:
        raise SettingsError("there are no states to merge")
    first = positions[0]
    for other in positions:
        if (other.corpus, other.shuffle, other.world_size) != (first.corpus, first.shuffle, first.world_size):
            raise SettingsError(
                f"the states of rank {first.rank} and rank {other.rank} are of different corpora, epochs, "
                "orders or numbers of ranks",
                remedy="Merge what all ranks saved at the same point of one training.",
            )
    ranks = sorted(position.rank for position in positions)
    if ranks != list(range(first.world_size)):
        raise SettingsError(
            f"these are the states of the ranks {ranks}, and there were {first.world_size} ranks",
            remedy="Merge the states of all ranks, each once.",
        )
    try:
        left = union(position.left for position in positions)
    except ValueError as error:
        raise SettingsError(f"the states do not belong together: {error}") from None
    return dataclasses.replace(first, rank=0, world_size=1, left=left).to_dict()
