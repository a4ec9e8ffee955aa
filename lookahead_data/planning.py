"""From what the user named to a plan: find, digest, recognize and divide the input."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from lookahead_data.config import CUTS_ANSWERS, CUTS_ANSWERS_REMEDY, Settings
from lookahead_data.curation.where import Condition
from lookahead_data.errors import InputError, SettingsError
from lookahead_data.model.load import Model, load_model
from lookahead_data.plan import InputFile, Plan, Unit
from lookahead_data.sink.publish import sha256_of
from lookahead_data.source import readers
from lookahead_data.source.conversations import Shape, assumed_shape, detect_shape
from lookahead_data.source.discover import TEXT_FORMATS, check_encoding, discover
from lookahead_data.source.readers import columnar
from lookahead_data.source.records import Record, open_bytes

SAMPLES = 20
"""Records that are looked at to recognize the shape."""

_HEAD = 1 << 20


def plan_job(files: Sequence[InputFile], settings: Settings) -> tuple[Plan, Model]:
    """Plan a conversion and load the model that it needs.

    Raises:
        LookaheadError: an input, a setting, the tokenizer or the template cannot be used.
    """
    shape, warnings = recognize(files, settings)
    size = sum(file.size for file in files)
    model = load_model(settings, shape.kind, size=size)
    if model.template is not None and model.template.uses_date and not settings.template_date:
        settings = settings.replace(template_date=datetime.date.today().isoformat())
        model = load_model(settings, shape.kind, size=size)
    template = {"name": model.template.name, "sha256": model.template.sha256} if model.template else None
    plan = replace(
        plan_corpus(files, settings, shape),
        tokenizer={"name": model.tokenizer.name, "sha256": model.tokenizer.sha256},
        template=template,
        warnings=(*warnings, *model.warnings),
    )
    return plan, model


def plan_corpus(files: Sequence[InputFile], settings: Settings, shape: Shape) -> Plan:
    """Plan passes over a corpus that need no model.

    Args:
        shape: of the corpus, as `recognize` finds it.

    Raises:
        LookaheadError: an input or a condition cannot be used.
    """
    for condition in settings.where:
        Condition(condition)  # refuse what is none before the work, not during it
    digested = tuple(replace(file, sha256=_digest(file)) for file in files)
    return Plan(
        settings=settings,
        inputs=digested,
        units=divide(digested, settings),
        shape=asdict(shape),
        tokenizer={},
        template=None,
        evaluation=_evaluation(settings),
    )


def _evaluation(settings: Settings) -> tuple[InputFile, ...]:
    """The files of evaluation items."""
    if not settings.decontaminate:
        return ()
    return tuple(replace(file, sha256=_digest(file)) for file in discover(settings.decontaminate))


def recognize(files: Sequence[InputFile], settings: Settings) -> tuple[Shape, list[str]]:
    """The corpus's shape, and what was noticed while looking at the files.

    Raises:
        InputError: a file is not what its name says, or the files do not go together.
    """
    shape: Shape | None = None
    unreadable: tuple[str, Record] | None = None
    warnings: list[str] = []
    for file in files:
        if file.format in TEXT_FORMATS:
            with open_bytes(file) as stream:
                check_encoding(stream.read(_HEAD), file.name)
        names = readers.fields(file)
        records = _samples(file, settings)
        if not records:
            warnings.append(f"{file.name} holds no rows")
        samples = [record.value for record in records if isinstance(record.value, dict)]
        if records and not samples and unreadable is None:
            unreadable = (file.name, records[0])
        if names is not None and not samples:
            samples = [dict[str, Any].fromkeys(names)]
        if not samples:
            continue
        if shape is None:
            shape = detect_shape(samples, settings, file.name)
            if shape.kind == "text" and settings.mode != "none":
                raise SettingsError(
                    f"{file.name} is plain text, which has no prompt to put a preview in",
                    remedy="Use --mode none for text, or name the prompt with --input-field.",
                )
        else:
            _check_fields(file, shape, samples)
        if settings.packing == "concat" and shape.kind != "text":
            raise SettingsError(CUTS_ANSWERS, where=file.name, remedy=CUTS_ANSWERS_REMEDY)
        _check_types(file, shape)
    if shape is None and unreadable and settings.shape == "auto" and not settings.input_field:
        raise InputError(
            f"none of the first rows can be read (row {unreadable[1].row}: {unreadable[1].value})",
            where=unreadable[0],
            remedy="Is it the format that its name says? To go on anyway, name the shape with --shape.",
        )
    return shape or assumed_shape(settings), warnings


def divide(files: Sequence[InputFile], settings: Settings) -> tuple[Unit, ...]:
    """The units of all files, in order."""
    places = [(at, part) for at, file in enumerate(files) for part in readers.split(file, settings.unit_size)]
    return tuple(
        Unit(index, at, part.start, part.stop, part.first_row, part.size)
        for index, (at, part) in enumerate(places)
    )


def _samples(file: InputFile, settings: Settings) -> list[Record]:
    """The first records of a file."""
    records = readers.read_all(file, max_line_size=settings.max_line_size)
    return list(itertools.islice(records, SAMPLES))


def _check_fields(file: InputFile, shape: Shape, samples: Sequence[Mapping[str, Any]]) -> None:
    present = {name for sample in samples for name in sample}
    for name in shape.fields:
        if name not in present:
            raise InputError(
                f"row 1 has no field {name!r}, which the files before it have; "
                f"its fields are: {', '.join(sorted(present)) or 'none'}",
                where=file.name,
                remedy="Convert corpora of different shapes by themselves.",
            )


def _check_types(file: InputFile, shape: Shape) -> None:
    """Typed columns that can never hold what the shape needs are the file's fault, not each row's."""
    if file.format not in ("parquet", "arrow"):
        return
    schema = columnar.schema(file)
    for name in shape.fields:
        kind = schema.field(name).type
        while pa.types.is_dictionary(kind):
            kind = kind.value_type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        if not text and not pa.types.is_nested(kind) and not pa.types.is_null(kind):
            raise InputError(
                f"the column {name!r} is of type {kind}, not text",
                where=file.name,
                remedy="Name another column with --input-field and --output-field, or cast it to text.",
            )


def _digest(file: InputFile) -> str:
    try:
        return sha256_of(file.path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=file.name) from None
