"""Names and kinds of files, before any of them is opened."""

from __future__ import annotations

import os
import re
from stat import S_ISREG

from lookahead_data.errors import InputError, LookaheadError


def check_name(path: str) -> str:
    """`path`, if its name is text.

    Raises:
        InputError: it holds bytes that are not UTF-8.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "the name is not UTF-8, so no manifest can hold it",
            where=os.fsencode(path).decode("utf-8", "backslashreplace"),
            remedy="Rename the file.",
        ) from None
    return path


def check_regular(path: str, error_type: type[LookaheadError] = InputError) -> os.stat_result:
    """What the system says of a file.

    Raises:
        LookaheadError: of the given type: it cannot be read, or is no regular file: reading a pipe or a device could hang or never end.
    """
    try:
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        raise error_type(f"cannot be read: {getattr(error, 'strerror', error)}", where=path) from None
    if not S_ISREG(stat.st_mode):
        raise error_type(
            "is not a regular file (it is a folder, a pipe, a socket or a device)",
            where=path,
            remedy="Write the data to a file, and name that.",
        )
    return stat


def masked(address: str) -> str:
    """An address without the credentials that it may hold."""
    address = re.sub(r"(?<=://)[^/@\s]*@", "***@", address)
    return re.sub(r"\?.*$", "?***", address)
