"""What native code does to a text that it cannot cope with: one error for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lookahead_data.errors import TokenizerError

PANIC = "PanicException"
"""The class of what native code raises when it panics: a `BaseException`, and of no module."""


class EncodingError(TokenizerError):
    """The tokenizer broke on a text, whichever way it did."""


@contextmanager
def failing() -> Iterator[None]:
    """Raise `EncodingError` for whatever the binding raises, a panic in its native code included."""
    try:
        yield
    except MemoryError:
        raise EncodingError("the tokenizer ran out of memory on a text") from None
    except Exception as error:  # the binding raises plain Exception
        raise EncodingError(f"the tokenizer broke on a text: {error}") from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise EncodingError(f"the tokenizer broke on a text: {error}") from None
