"""A hash of which rows went where. It does not depend on their order, so that parts add up to the whole.

Counts alone do not tell that one row was lost and another doubled; these hashes do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1
FILE_BITS = 40
"""A file's rows are numbered below this bit, the files above it."""


def hash_rows(rows: npt.ArrayLike, file: npt.ArrayLike) -> int:
    """The sum modulo 2**64 of the rows' mixed numbers: 0 for no rows.

    Args:
        rows: places in the file, shape (rows,).
        file: the place of their file among the inputs, or of each row's file.
    """
    return int(mixed(numbers_of(rows, file)).sum(dtype=np.uint64))


def numbers_of(rows: npt.ArrayLike, file: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """The numbers of rows in the whole corpus, no two equal, of the same shape (see `hash_rows`)."""
    files = np.asarray(file, np.uint64) << np.uint64(FILE_BITS)
    numbers: npt.NDArray[np.uint64] = np.asarray(rows, np.int64).astype(np.uint64) + files
    return numbers


def mixed(numbers: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint64]:
    """Each number through splitmix64 (Steele, Lea and Flood, 2014), of the same shape: a bijection of 64 bits in
    which each bit of the input changes half of the output."""
    # The increment is added first, else 0 would become 0: row 0 of file 0 would count nothing.
    found = numbers.astype(np.uint64)
    found += np.uint64(0x9E3779B97F4A7C15)
    found ^= found >> np.uint64(30)
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


@dataclass(frozen=True)
class RowsHash:
    """`hash_rows` of the rows that were read, written (each copy counts) and rejected, and of the copies beyond the
    first that were written."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    repeated: int = 0

    def __add__(self, other: RowsHash) -> RowsHash:
        return RowsHash(
            (self.read + other.read) & _MASK,
            (self.written + other.written) & _MASK,
            (self.rejected + other.rejected) & _MASK,
            (self.repeated + other.repeated) & _MASK,
        )

    @property
    def balanced(self) -> bool:
        """Whether the rows read are those that were written or rejected, each once, but for the copies."""
        return (self.read + self.repeated) & _MASK == (self.written + self.rejected) & _MASK

    def to_dict(self) -> dict[str, str]:
        """As hexadecimal digits, since not every JSON reader holds whole numbers of 64 bits."""
        return {name: f"{value:016x}" for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, digits: dict[str, str]) -> RowsHash:
        return cls(**{name: int(text, 16) for name, text in digits.items()})
