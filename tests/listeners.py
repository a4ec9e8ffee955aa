"""Listeners that keep what they hear."""

from __future__ import annotations

import lookahead_data as la


class Warnings(la.Listener):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warned(self, message: str) -> None:
        self.texts.append(message)
