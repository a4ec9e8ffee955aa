"""Which shape each file of a corpus has: what the settings name, or what the file's first rows tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from lookahead_data.config import CUTS_ANSWERS, CUTS_ANSWERS_REMEDY, Settings
from lookahead_data.errors import InputError, SettingsError
from lookahead_data.plan import InputFile
from lookahead_data.source import readers
from lookahead_data.source.conversations import Shape
from lookahead_data.source.discover import TEXT_FORMATS, check_encoding
from lookahead_data.source.readers import columnar
from lookahead_data.source.records import open_bytes

KNOWN_PAIRS: tuple[tuple[str, str], ...] = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("instruction", "response"),
    ("instruction", "completion"),
    ("input", "output"),
)
"""Fields that name a prompt and its completion, the first pair that is there wins."""

SAMPLES = 20
"""Records that are looked at to recognize a file's shape."""

_OPTIONS = ("system_field", "extra_field")
"""The attributes of a shape that name fields which need not be there."""

_HEAD = 1 << 20


def recognize(files: Sequence[InputFile], settings: Settings) -> tuple[list[Shape], list[str]]:
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
    for option, name in (
        ("--system-field", settings.system_field),
        ("--safety-field", settings.safety_field),
    ):
        _check_optional(looks, shapes, option, name)
    _check_kinds(looks, shapes, settings)
    warnings += _doubts(looks, shapes)
    shapes = _with_options(looks, shapes)
    if not shapes:
        _refuse_unread(looks, settings)
    found = []
    for at, look in enumerate(looks):
        shape = shapes.get(at) or _neighbours_shape(at, look, shapes) or _named_shape(settings, {})
        if shapes and at not in shapes and look.has_rows:
            warnings.append(f"the first rows of {look.file.name} tell no shape; it is taken for {shape}")
        _check_types(look.file, shape)
        found.append(replace(shape, flag_field=settings.safety_field))
    return found, warnings


@dataclass(frozen=True)
class _Look:
    """What the beginning of a file shows.

    Attributes:
        names: the fields that its first rows have or the file declares; None: no row can be read.
        shape: of its first rows, if they tell it.
        has_rows: whether there are any.
        fault: what is wrong with the first row, if none of the first can be read.
    """

    file: InputFile
    names: tuple[str, ...] | None
    shape: Shape | None
    has_rows: bool
    fault: str

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
        return self.names is None or set(shape.fields) <= set(self.names)


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
            if present.get(name) is None:
                present[name] = value
    return _Look(file, tuple(present), _shape_of(present, settings), bool(records), fault)


def _shape_of(present: Mapping[str, Any], settings: Settings) -> Shape | None:
    """The shape of rows with these fields, and a value of each that is not null if there is one."""
    shape = _named_shape(settings, present) if _is_named(settings) else _guess(present)
    if shape is None or shape.kind == "text":
        return shape
    # A null is no reason to pass over the field: later rows may fill it.
    own = "system" if isinstance(present.get("system", 0), str | None) else None
    return replace(shape, system_field=settings.system_field or own)


def _is_named(settings: Settings) -> bool:
    return settings.shape != "auto" or bool(settings.input_field or settings.output_field)


def _named_shape(settings: Settings, present: Mapping[str, Any]) -> Shape:
    """The shape that the settings name, of rows with these fields."""
    kind = "prompt-completion" if settings.shape == "auto" else settings.shape
    given, answer = settings.input_field, settings.output_field
    if settings.shape == "auto" and given and not answer and isinstance(present.get(given), list):
        return Shape(_kind_of_turns(present[given]), given)
    if kind == "prompt-completion":
        pairs = [
            pair
            for pair in KNOWN_PAIRS
            if given in (None, pair[0]) and answer in (None, pair[1]) and set(pair) <= set(present)
        ]
        pair = pairs[0] if pairs else KNOWN_PAIRS[0]
        return Shape(kind, given or pair[0], answer or pair[1])
    if kind == "alpaca":
        extra = "input" if "input" in present else None
        return Shape(kind, given or "instruction", answer or "output", extra_field=extra)
    default = {"messages": "messages", "sharegpt": "conversations", "text": "text"}[kind]
    return Shape(kind, given or default)


def _guess(present: Mapping[str, Any]) -> Shape | None:
    for name in ("messages", "conversations", "conversation"):
        value = present.get(name)
        if isinstance(value, list):
            return Shape(_kind_of_turns(value), name)
    if "instruction" in present and "output" in present:
        extra = "input" if "input" in present else None
        return Shape("alpaca", "instruction", "output", extra_field=extra)
    for prompt, completion in KNOWN_PAIRS:
        if prompt in present and completion in present:
            return Shape("prompt-completion", prompt, completion)
    return Shape("text", "text") if "text" in present else None


def _kind_of_turns(turns: list[Any]) -> str:
    first = turns[0] if turns else None
    return "sharegpt" if isinstance(first, Mapping) and "from" in first else "messages"


def _told(looks: Sequence[_Look]) -> dict[int, Shape]:
    """The shapes of the files that tell their own, by place; what files without rows declare counts only
    where no file has any."""
    told = {at: look.shape for at, look in enumerate(looks) if look.shape and look.may_be(look.shape)}
    return {at: shape for at, shape in told.items() if looks[at].has_rows} or told


def _with_options(looks: Sequence[_Look], shapes: Mapping[int, Shape]) -> dict[int, Shape]:
    """The shapes, each with the optional fields of all that require the same fields.

    A field that a file was seen to have is left as it was found there: a `system` of numbers is no prompt.
    """
    options: dict[tuple[str, ...], dict[str, str]] = {}
    for shape in shapes.values():
        mine = {option: getattr(shape, option) for option in _OPTIONS}
        options.setdefault(shape.fields, {}).update({k: name for k, name in mine.items() if name})
    return {
        at: replace(shape, **{k: v for k, v in options[shape.fields].items() if v not in looks[at].seen})
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
        raise InputError(
            f"the corpus's shape is not known; row 1 has the fields: {look.there}",
            where=look.file.name,
            remedy="Name the fields with --input-field and --output-field, or the shape with --shape.",
        )
    raise _missing(look, next(name for name in look.shape.fields if name not in look.names))


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
    if talk and settings.packing == "concat":
        raise SettingsError(CUTS_ANSWERS, where=talk, remedy=CUTS_ANSWERS_REMEDY)


def _check_optional(
    looks: Sequence[_Look], shapes: Mapping[int, Shape], option: str, name: str | None
) -> None:
    """Refuse a named field that no file has: not every one need have it, but then it is misspelt."""
    if name and shapes and not any(name in looks[at].seen for at in shapes):
        raise _missing(looks[min(shapes)], name, option)


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
        if not text and not pa.types.is_nested(kind) and not pa.types.is_null(kind):
            raise InputError(
                f"the column {name!r} is of type {kind}, not text",
                where=file.name,
                remedy="Name another column with --input-field and --output-field, or cast it to text.",
            )
