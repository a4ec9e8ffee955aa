"""Which shape each file of a corpus has: what the settings name, or what the file's first rows tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from lookahead_data.conditions import fields_in
from lookahead_data.config import CUTS_ANSWERS, CUTS_ANSWERS_REMEDY, Settings
from lookahead_data.errors import InputError, SettingsError
from lookahead_data.plan import InputFile
from lookahead_data.source import guess, readers
from lookahead_data.source.discover import TEXT_FORMATS, check_encoding
from lookahead_data.source.fields import (
    FieldsRead,
    check_conditions,
    fields_read,
    has_key,
    refuse_pairs,
    refuse_preferences,
)
from lookahead_data.source.names import as_object, is_empty, is_verdict, value_at
from lookahead_data.source.readers import columnar
from lookahead_data.source.records import open_bytes
from lookahead_data.source.shapes import Shape

SAMPLES = 20
"""Records that are looked at to recognize a file's shape."""

_OPTIONS = ("system_field", "context_fields")
"""The attributes of a shape that name fields which need not be there."""

_HEAD = 1 << 20


@dataclass(frozen=True)
class Recognition:
    """What the first rows of a corpus tell.

    Attributes:
        shapes: of the files, in order.
        warnings: what was noticed while looking at them.
        fields: which fields are read as what, for each shape.
    """

    shapes: list[Shape]
    warnings: list[str]
    fields: list[FieldsRead]


def recognize(files: Sequence[InputFile], settings: Settings) -> Recognition:
    """The shape of each file, in order, and what was noticed while looking at them.

    What the settings name holds for all files. For the rest each file is recognized by itself, by its
    first rows, so that its rows become what they would become without the other files, in whatever
    order these are named. The other files decide only what a file's own rows leave open:

    - An optional field (a system prompt, Alpaca's `input`) that the first rows do not have is read all
      the same where another file with the same required fields has it: later rows may have it too.
    - A file without rows, or whose first rows cannot be read or tell no shape, takes that of the nearest
      file before it that tells one which could be its own too; else of the nearest such file behind it.

    A file that has the fields of another one's shape besides those of its own is among what was noticed.

    Raises:
        InputError: a file is not what its name says, has no known shape, lacks a named field, or the
            files do not go together.
        SettingsError: the settings do not go with a file's shape.
    """
    looks = [_look(file, settings) for file in files]
    warnings = [f"{look.file.name} holds no rows" for look in looks if not look.has_rows]
    shapes = _told(looks)
    for option, name in _named_fields(settings):
        _check_optional(looks, shapes, option, name)
    _check_keys(looks, shapes, settings)
    _check_kinds(looks, shapes, settings)
    warnings += _doubts(looks, shapes)
    shapes = _with_options(looks, shapes)
    if not shapes:
        _refuse_unread(looks, settings)
    conditions = _conditions(looks, settings)
    found = []
    for at, look in enumerate(looks):
        shape = shapes.get(at) or _neighbours_shape(at, look, shapes)
        if shape is None:
            shape = guess.shape_of({}, settings) or guess.named_shape(settings, {})
        if shapes and at not in shapes and look.has_rows:
            warnings.append(f"the first rows of {look.file.name} tell no shape; it is taken for {shape}")
        _check_types(look.file, shape)
        shape = _with_conditions(replace(shape, flag_field=settings.safety_field), conditions)
        refuse_preferences(look.file.name, look.samples, shape)
        found.append(shape)
    account = fields_read([(shape, look.samples) for shape, look in zip(found, looks, strict=True)])
    return Recognition(found, warnings, account)


def _named_fields(settings: Settings) -> list[tuple[str, str | None]]:
    """The options that name a field which some file must have."""
    return [
        ("--system-field", settings.system_field),
        ("--history-field", settings.history_field),
        ("--reasoning-field", settings.reasoning_field),
        ("--tools-field", settings.tools_field),
        ("--safety-field", settings.safety_field),
        *(("--context-field", name) for name in settings.context_field),
    ]


def _conditions(looks: Sequence[_Look], settings: Settings) -> tuple[str, ...]:
    """The fields that the conditions of the settings name."""
    named = {text: fields_in(text) for text in settings.where}
    if any(look.names is not None for look in looks):
        present = dict.fromkeys(name for look in looks for name in look.seen)
        deeper = {name for names in named.values() for name in names if any(look.has(name) for look in looks)}
        check_conditions(named, [*present, *sorted(deeper - set(present))])
    return tuple(dict.fromkeys(name for names in named.values() for name in names))


def _with_conditions(shape: Shape, named: tuple[str, ...]) -> Shape:
    """The shape with the fields of conditions; a verdict that a condition asks for is no reason to refuse."""
    asked = [name for name in named if is_verdict(name)]
    return replace(shape, condition_fields=named, ignored=tuple(dict.fromkeys((*shape.ignored, *asked))))


@dataclass(frozen=True)
class _Look:
    """What the beginning of a file shows.

    Attributes:
        names: the fields that its first rows have or the file declares; None: no row can be read.
        shape: of its first rows, if they tell it.
        has_rows: whether there are any.
        fault: what is wrong with the first row, if none of the first can be read.
        samples: the first rows that can be read.
    """

    file: InputFile
    names: tuple[str, ...] | None
    shape: Shape | None
    has_rows: bool
    fault: str
    samples: tuple[Mapping[str, Any], ...] = ()

    @property
    def seen(self) -> tuple[str, ...]:
        """The fields that are known, in order."""
        return self.names or ()

    @property
    def there(self) -> str:
        """The fields that are known, in words."""
        return ", ".join(self.seen) or "none"

    def may_be(self, shape: Shape) -> bool:
        """Whether the file has all that the shape requires, as far as can be seen."""
        return self.names is None or all(map(self.has, shape.fields))

    def has(self, name: str) -> bool:
        """Whether there is a field of this name, which may be dotted."""
        if name in self.seen or "." not in name:
            return name in self.seen
        *above, last = name.split(".")
        found = (as_object(value_at(sample, ".".join(above))) for sample in self.samples)
        return any(isinstance(value, Mapping) and last in value for value in found)


def _look(file: InputFile, settings: Settings) -> _Look:
    if file.format in TEXT_FORMATS:
        with open_bytes(file) as stream:
            check_encoding(stream.read(_HEAD), file.name)
    declared = readers.fields(file)
    records = list(itertools.islice(readers.read_all(file, max_line_size=settings.max_line_size), SAMPLES))
    samples = [record.value for record in records if isinstance(record.value, dict)]
    fault = f"row {records[0].row + 1}: {records[0].value}" if records and not samples else ""
    if declared is not None and not samples:
        samples = [dict[str, Any].fromkeys(declared)]
    if not samples:
        return _Look(file, None, None, bool(records), fault)
    present: dict[str, Any] = {}
    for sample in samples:
        for name, value in sample.items():
            if name not in present or (is_empty(present[name]) and value is not None):
                present[name] = value
    shape = guess.shape_of(present, settings)
    return _Look(file, tuple(present), shape, bool(records), fault, tuple(samples) if records else ())


def _told(looks: Sequence[_Look]) -> dict[int, Shape]:
    """The shapes of the files that tell their own, by place; what files without rows declare counts only
    where no file has any."""
    told = {at: look.shape for at, look in enumerate(looks) if look.shape and look.may_be(look.shape)}
    return {at: shape for at, shape in told.items() if looks[at].has_rows} or told


def _with_options(looks: Sequence[_Look], shapes: Mapping[int, Shape]) -> dict[int, Shape]:
    """The shapes, each with the optional fields of all that require the same fields.

    A field that a file was seen to have is left as it was found there: a `system` of numbers is no prompt.
    """
    options: dict[tuple[str, ...], dict[str, Any]] = {}
    for shape in shapes.values():
        mine = {option: getattr(shape, option) for option in _OPTIONS}
        options.setdefault(shape.fields, {}).update({k: name for k, name in mine.items() if name})

    def lacks(at: int, value: str | tuple[str, ...]) -> bool:
        return not any(name in looks[at].seen for name in ([value] if isinstance(value, str) else value))

    return {
        at: replace(shape, **{k: v for k, v in options[shape.fields].items() if lacks(at, v)})
        for at, shape in shapes.items()
    }


def _doubts(looks: Sequence[_Look], shapes: Mapping[int, Shape]) -> Iterator[str]:
    """Where a file has all the fields of another one's shape, and its own shape passes them over; each pair
    of shapes is told once."""
    first: dict[tuple[str, ...], int] = {}
    for at, shape in shapes.items():
        first.setdefault(shape.fields, at)
    told: set[tuple[Shape, int]] = set()
    for at, shape in shapes.items():
        for other in first.values():
            passed_over = set(shapes[other].fields) - set(shape.all_fields)
            if passed_over and looks[at].may_be(shapes[other]) and (shape, other) not in told:
                told.add((shape, other))
                yield (
                    f"{looks[at].file.name} is read as {shape}, though it also has the fields by which "
                    f"{looks[other].file.name} is read as {shapes[other]}; to have it otherwise, convert it by "
                    "itself and name the fields"
                )


def _neighbours_shape(at: int, look: _Look, shapes: Mapping[int, Shape]) -> Shape | None:
    """The shape that the file at `at`, which does not tell its own, takes from one beside it; None if
    no file tells any.

    Raises:
        InputError: the file has fields, and no file beside it has a shape of these.
    """
    for other in sorted(shapes, key=lambda other: (other > at, abs(other - at))):
        if look.may_be(shapes[other]) or not look.has_rows:
            return shapes[other]
    if look.names is None:
        return None
    if look.shape is None:
        refuse_pairs(look.file.name, look.samples)
        nested = next(filter(None, map(guess.nested_talk, look.samples)), None)
        remedy = "Name the fields with --input-field and --output-field, or the shape with --shape."
        raise InputError(
            f"the corpus's shape is not known; row 1 has the fields: {look.there}",
            where=look.file.name,
            remedy=f"To read the messages, pass --input-field {nested}." if nested else remedy,
        )
    raise _missing(look, next(name for name in look.shape.fields if not look.has(name)))


def _missing(look: _Look, name: str, option: str = "--input-field and --output-field") -> InputError:
    return InputError(
        f"row 1 has no field {name!r}; its fields are: {look.there}",
        where=look.file.name,
        remedy=f"Name the right one with {option}.",
    )


def _refuse_unread(looks: Sequence[_Look], settings: Settings) -> None:
    """Refuse a corpus of which nothing can be read and nothing is named."""
    unread = next((look for look in looks if look.fault and look.names is None), None)
    if unread is not None and settings.shape == "auto" and not settings.input_field:
        raise InputError(
            f"none of the first rows can be read ({unread.fault})",
            where=unread.file.name,
            remedy="Is it the format that its name says? To go on anyway, name the shape with --shape.",
        )


def _check_kinds(looks: Sequence[_Look], shapes: Mapping[int, Shape], settings: Settings) -> None:
    """Refuse kinds of files that do not go together, or not with the settings."""
    text, talk = (
        next((looks[at].file.name for at, shape in shapes.items() if (shape.kind == "text") is plain), None)
        for plain in (True, False)
    )
    if text and talk:
        raise InputError(
            f"is plain text, and {talk} holds conversations: they are rendered and ended in other ways",
            where=text,
            remedy="Convert text and conversations in jobs of their own.",
        )
    if text and settings.mode != "none":
        raise SettingsError(
            f"{text} is plain text, which has no prompt to put a preview in",
            remedy="Use --mode none for text, or name the prompt with --input-field.",
        )
    pieces = next((looks[at].file.name for at, shape in shapes.items() if shape.kind == "segments"), None)
    if pieces and settings.chat_template != "none":
        raise SettingsError(
            f"{pieces} holds segments of text that a template has been put around already",
            remedy="Put them together as they are with --chat-template none.",
        )
    if talk and settings.packing == "concat":
        raise SettingsError(CUTS_ANSWERS, where=talk, remedy=CUTS_ANSWERS_REMEDY)


def _check_optional(
    looks: Sequence[_Look], shapes: Mapping[int, Shape], option: str, name: str | None
) -> None:
    """Refuse a named field that no file has: not every one need have it, but then it is misspelt."""
    if name and shapes and not any(looks[at].has(name) for at in shapes):
        raise _missing(looks[min(shapes)], name, option)


def _check_keys(looks: Sequence[_Look], shapes: Mapping[int, Shape], settings: Settings) -> None:
    """Refuse a named key of messages that none of the first rows has: what it tells would be passed over."""
    for option, key, of_rows in (
        ("--train-field", settings.train_field, True),
        ("--role-field", settings.role_field, False),
        ("--content-field", settings.content_field, False),
    ):
        if not key or not any(looks[at].samples for at in shapes):
            continue
        if not any(
            has_key(looks[at].samples, shape, key) or (of_rows and looks[at].has(key))
            for at, shape in shapes.items()
        ):
            raise InputError(
                f"no message of the first rows has {key!r}{', nor have the rows' * of_rows}",
                where=looks[min(shapes)].file.name,
                remedy=f"Name the right one with {option}.",
            )


def _check_types(file: InputFile, shape: Shape) -> None:
    """Typed columns that can never hold what the shape needs are the file's fault, not each row's."""
    if file.format not in ("parquet", "arrow"):
        return
    schema = columnar.schema(file)
    for name in shape.fields:
        if name not in schema.names:
            continue  # a file without rows
        kind = schema.field(name).type
        while pa.types.is_dictionary(kind):
            kind = kind.value_type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        other = pa.types.is_nested(kind) or pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType)
        if not text and not other:
            raise InputError(
                f"the column {name!r} is of type {kind}, not text",
                where=file.name,
                remedy="Name another column with --input-field and --output-field, or cast it to text.",
            )
