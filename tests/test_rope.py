"""Ropes behave as the strings that they are, and never take a message's text for the template's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.model.rope import Piece, Rope, concat, join, pieces_of, plain

TEXT = st.text(alphabet=" \n\tab<>/é", max_size=8)
PIECES = st.lists(st.builds(Piece, TEXT, st.sampled_from([None, (0, "content"), (1, "content")])), max_size=5)

OPERATIONS: list[tuple[str, tuple[Any, ...]]] = [
    ("strip", ()),
    ("lstrip", ("\n",)),
    ("rstrip", (" a",)),
    ("split", ("b",)),
    ("split", ()),
    ("rsplit", ("b", 1)),
    ("splitlines", ()),
    ("partition", ("<",)),
    ("rpartition", ("a",)),
    ("replace", ("a", "xy")),
    ("replace", ("ab", "")),
    ("replace", ("", "-")),
    ("replace", ("a", "z", 1)),
    ("removeprefix", ("a",)),
    ("removesuffix", ("b",)),
    ("upper", ()),
    ("title", ()),
    ("zfill", (6,)),
    ("__getitem__", (slice(1, 3),)),
    ("__getitem__", (slice(None, None, 2),)),
    ("__mul__", (2,)),
    ("__add__", ("tail",)),
    ("__radd__", ("head",)),
    ("join", (["p", "q", "r"],)),
]


@given(PIECES, st.sampled_from(OPERATIONS))
def test_an_operation_gives_what_it_gives_on_plain_text(pieces: list[Piece], operation: Any) -> None:
    name, arguments = operation
    rope = Rope(pieces)
    text = "".join(piece.text for piece in pieces)
    assert rope == text
    assert plain(rope) == text
    assert type(plain(rope)) is str
    expected = arguments[0] + text if name == "__radd__" else getattr(text, name)(*arguments)
    assert getattr(rope, name)(*arguments) == expected


@given(PIECES, st.sampled_from(OPERATIONS))
def test_message_text_is_never_taken_for_the_templates_own(pieces: list[Piece], operation: Any) -> None:
    # Characters that only messages hold here must never stand in a piece without a slot.
    secret = [
        piece._replace(text=piece.text.translate({ord(c): "Ω" for c in piece.text})) if piece.slot else piece
        for piece in pieces
    ]
    name, arguments = operation
    result = getattr(Rope(secret), name)(*arguments)
    for part in result if isinstance(result, list | tuple) else [result]:
        for piece in pieces_of(part):
            assert piece.slot is not None or "Ω" not in piece.text.upper()


@given(PIECES)
def test_characters_one_by_one_are_the_rope(pieces: list[Piece]) -> None:
    rope = Rope(pieces)
    assert concat(list(rope)) == rope
    assert [rope[at] for at in range(len(rope))] == list(plain(rope))


def test_a_slot_that_comes_to_nothing_keeps_its_place() -> None:
    trimmed = Rope.of("  ", (1, "content")).strip()
    assert pieces_of("<a>" + trimmed + "<b>") == (
        Piece("<a>"),
        Piece("", (1, "content")),
        Piece("<b>"),
    )


def test_joining_and_concatenation_keep_origins() -> None:
    name = Rope.of("x", (0, "content"))
    assert pieces_of(join(", ", ["a", name])) == (Piece("a, "), Piece("x", (0, "content")))
    assert pieces_of(concat(["", name, name])) == (Piece("xx", (0, "content")),)
