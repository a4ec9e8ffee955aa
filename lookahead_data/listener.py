"""What a caller may be told while a job runs."""

from __future__ import annotations

from collections.abc import Sequence


class Listener:
    """Hears of a job's progress. Override what you need; each method does nothing by itself."""

    def looking(self, what: str, size: int) -> None:
        """A pass over all rows begins, before they are converted or behind that: what it does, and how much work
        that is, mostly bytes."""

    def looked(self, rows: int, size: int) -> None:
        """Rows that the pass has read, and work that it has done, since the last call."""

    def planned(self, *, size: int, units: int, shape: str) -> None:
        """The job is planned: bytes of input still to be converted, their units, the shapes of the inputs."""

    def recognized(self, fields: Sequence[str]) -> None:
        """Which fields of the rows are read as what, and which are not read, in words: a line for each shape of the
        inputs."""

    def warned(self, message: str) -> None:
        """Something was noticed that does not stop the job."""

    def advanced(self, rows: int, tokens: int, size: int) -> None:
        """Rows read, tokens written and bytes of input since the last call."""

    def finished(self) -> None:
        """All is done."""
