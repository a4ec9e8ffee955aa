"""From what the user named to a plan: find, digest, recognize and divide the input."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace

from lookahead_data.config import MIB, Settings
from lookahead_data.curation.classes import module_digest
from lookahead_data.curation.mixing import check_sources
from lookahead_data.curation.where import Condition
from lookahead_data.errors import InputError
from lookahead_data.listener import Listener
from lookahead_data.model.load import Model, load_model
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.sink.publish import sha256_of
from lookahead_data.source import readers
from lookahead_data.source.discover import discover
from lookahead_data.source.recognize import Recognition, recognize
from lookahead_data.source.records import Split


def plan_job(
    files: Sequence[InputFile], settings: Settings, listener: Listener | None = None
) -> tuple[Plan, Model]:
    """Plan a conversion and load the model that it needs.

    Args:
        listener: told of the pass over a large input.

    Raises:
        LookaheadError: an input, a setting, the tokenizer or the template cannot be used.
    """
    settings = sized(settings, files)
    seen = recognize(files, settings)
    shapes = seen.shapes
    kinds = frozenset(shape.kind for shape in shapes)
    size = sum(file.size for file in files)
    if settings.overlength == "auto":
        cuts = settings.pack is not None and kinds == {"text"}
        settings = settings.replace(overlength="split" if cuts else "drop")
    model = load_model(settings, kinds, size=size)
    if model.template is not None and model.template.uses_date and not settings.template_date:
        settings = settings.replace(template_date=datetime.date.today().isoformat())
        model = load_model(settings, kinds, size=size)
    template = {"name": model.template.name, "sha256": model.template.sha256} if model.template else None
    plan = replace(
        plan_corpus(files, settings, seen, listener),
        tokenizer={
            "name": model.tokenizer.name,
            "sha256": model.tokenizer.sha256,
            "guarded": list(model.tokenizer.guarded),
        },
        template=template,
        warnings=(*seen.warnings, *model.warnings),
    )
    return plan, model


def plan_corpus(
    files: Sequence[InputFile],
    settings: Settings,
    seen: Recognition,
    listener: Listener | None = None,
) -> Plan:
    """Plan passes over a corpus that need no model.

    Args:
        seen: what `recognize` tells of the files.
        listener: told of the pass over a large input.

    Raises:
        LookaheadError: an input or a condition cannot be used.
    """
    settings = sized(settings, files)
    for condition in settings.where:
        Condition(condition)  # refuse what is none before the work, not during it
    check_sources(settings, [file.name for file in files])
    listener = listener or Listener()
    size = sum(file.size for file in files)
    if size >= TOLD_FROM:
        listener.looking("reading the inputs", size)
    else:
        listener = Listener()
    surveyed = [_surveyed(file, settings, listener) for file in files]
    return Plan(
        settings=settings,
        inputs=tuple(file for file, _ in surveyed),
        units=_numbered([parts for _, parts in surveyed]),
        shapes=tuple(asdict(shape) for shape in seen.shapes),
        fields=tuple(fields.to_dict() for fields in seen.fields),
        tokenizer={},
        template=None,
        evaluation=_evaluation(settings),
        function=settings.safety_function and module_digest(settings.safety_function),
    )


def _evaluation(settings: Settings) -> tuple[InputFile, ...]:
    """The files of evaluation items."""
    if not settings.decontaminate:
        return ()
    return tuple(replace(file, sha256=_digest(file)) for file in discover(settings.decontaminate))


TOLD_FROM = 64 * MIB
"""Bytes of input that may take longer than a second to read."""

WANTED_UNITS = 48
"""Enough that all cores stay busy to the end, and few enough that what each unit costs does not matter."""
SMALLEST_UNIT, LARGEST_UNIT = 4 * MIB, 64 * MIB
"""The smallest is one batch. A larger one than the largest would only lose more work when a job is stopped."""
_BYTES_A_TOKEN = 4
PACKED_ROWS = 1024
"""Rows are packed within units, so each unit may leave a row that is not full: this many keep that below 0.1 %."""


def sized(settings: Settings, files: Sequence[InputFile]) -> Settings:
    """The settings with a unit size, which follows from the input's size unless the user gave one.

    It depends on nothing but the input and the settings, so that the same command divides the same input in the
    same way on any machine.
    """
    if settings.unit_size is not None:
        return settings
    share = sum(file.size for file in files) // WANTED_UNITS
    packed = 0 if settings.pack is None else settings.pack * PACKED_ROWS * _BYTES_A_TOKEN
    size = min(max(share, packed, SMALLEST_UNIT), LARGEST_UNIT)
    return settings.replace(unit_size=-(-size // MIB) * MIB)


def divide(files: Sequence[InputFile], settings: Settings) -> tuple[Unit, ...]:
    """The units of all files, in order."""
    size = _unit_size(sized(settings, files))
    return _numbered([readers.split(file, size) for file in files])


def _unit_size(settings: Settings) -> int:
    assert settings.unit_size is not None  # `sized` has given one
    return settings.unit_size


def _numbered(parts: Sequence[Sequence[Split]]) -> tuple[Unit, ...]:
    """Units, given the parts of each file."""
    places = [(at, part) for at, found in enumerate(parts) for part in found]
    return tuple(
        Unit(index, at, part.start, part.stop, part.first_row, part.size)
        for index, (at, part) in enumerate(places)
    )


def _surveyed(file: InputFile, settings: Settings, listener: Listener) -> tuple[InputFile, list[Split]]:
    """A file with its SHA-256, and its parts. A file that is searched for line breaks is read once for both."""
    digest = hashlib.sha256()
    read = 0

    def seen(block: bytes) -> None:
        nonlocal read
        digest.update(block)
        read += len(block)
        listener.looked(0, len(block))

    parts = readers.split(file, _unit_size(settings), seen)
    if read != file.size:
        digested = replace(file, sha256=_digest(file))
        listener.looked(0, file.size - read)
        return digested, parts
    return replace(file, sha256=digest.hexdigest()), parts


def _digest(file: InputFile) -> str:
    try:
        digests = [sha256_of(path) for path in (file.path, *file.parts)]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=file.name) from None
