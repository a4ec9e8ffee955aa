"""The account of fields: which ones are read as what, and which ones are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookahead_data.conditions import TEXTS, TURNS
from lookahead_data.errors import InputError, SettingsError
from lookahead_data.source import names
from lookahead_data.source.calls import parsed
from lookahead_data.source.names import as_object, flattened, is_empty, last_of, meaning_of
from lookahead_data.source.roles import role_of
from lookahead_data.source.shapes import Shape
from lookahead_data.source.strict import TALKS, is_context
from lookahead_data.source.turns import CAREFUL, READ, pair_in

Records = Sequence[Mapping[str, Any]]

_WORDS = {
    names.SYSTEM: "system prompt",
    names.HISTORY: "history",
    names.REASONING: "reasoning of the answer",
    names.TOOLS: "tool definitions",
    names.TEMPLATE_ARGS: "template arguments",
    names.WEIGHT: "loss weight",
    names.MEDIA: "image, audio or video (such rows are quarantined)",
    names.MASK: "role that is not learned",
    names.PREFERENCE: "preference (such rows are quarantined)",
}
"""What fields are read as, for people."""
_KINDS = {"text": "text", "segments": "segments"}


@dataclass(frozen=True)
class FieldsRead:
    """What became of the fields of the files of one shape, as far as their first rows show.

    Attributes:
        shape: in words.
        read: what each field is read as.
        unread: fields that are not read.
        ignored: fields that would have a meaning, and that `--ignore-field` passes over.
    """

    shape: str
    read: Mapping[str, str]
    unread: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = ", ".join(f"{name} ({meaning})" for name, meaning in self.read.items())
        parts = [
            f"read {told}",
            f"not read: {', '.join(self.unread)}" if self.unread else "no field is left unread",
        ]
        if self.ignored:
            parts.append(f"ignored: {', '.join(self.ignored)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "shape": self.shape,
            "read": dict(self.read),
            "unread": list(self.unread),
            "ignored": list(self.ignored),
        }


def in_words_of(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """What `FieldsRead.to_dict` gave, in words."""
    return [
        str(FieldsRead(entry["shape"], entry["read"], tuple(entry["unread"]), tuple(entry["ignored"])))
        for entry in documents
    ]


def fields_read(found: Sequence[tuple[Shape, Records]]) -> list[FieldsRead]:
    """The account of files, one for each shape among them.

    Args:
        found: the shape and the first rows of each file.
    """
    by_shape: dict[str, list[tuple[Shape, Records]]] = {}
    for shape, records in found:
        by_shape.setdefault(str(shape), []).append((shape, records))
    return [_account(words, group) for words, group in by_shape.items()]


def _account(words: str, group: Sequence[tuple[Shape, Records]]) -> FieldsRead:
    read: dict[str, str] = {}
    unread: dict[str, None] = {}
    ignored: dict[str, None] = {}
    for shape, records in group:
        values: dict[str, list[Any]] = {}
        for record in records:
            for name, value in flattened(record, shape.all_fields):
                values.setdefault(name, []).append(value)
        for name, several in values.items():
            if name in shape.ignored and name not in shape.condition_fields:
                ignored[name] = None
                continue
            meaning = _read_as(name, several, shape)
            if meaning:
                read[name] = meaning
            elif name not in shape.ignored and not _nothing_of_a_meaning(name, several, shape):
                unread[name] = None
        for name in _unread_keys(records, shape):
            unread[name] = None
    return FieldsRead(words, read, tuple(name for name in unread if name not in read), tuple(ignored))


def _read_as(name: str, values: Sequence[Any], shape: Shape) -> str | None:
    """What a field is read as, None for a field that is not read."""
    found = [words for words in (_by_shape(name, shape), _by_name(name, values, shape)) if words][:1]
    if name == shape.flag_field:
        found.append("class safety")
    if name in shape.condition_fields:
        found.append("condition")
    return " and ".join(found) or None


def _by_shape(name: str, shape: Shape) -> str | None:
    if name == shape.input_field:
        return "messages" if shape.kind in TALKS else _KINDS.get(shape.kind, "prompt")
    roles: dict[str | None, str] = {
        shape.output_field: "answer",
        shape.system_field: _WORDS[names.SYSTEM],
        shape.history_field: _WORDS[names.HISTORY],
        shape.reasoning_field: _WORDS[names.REASONING],
        shape.tools_field: _WORDS[names.TOOLS],
        shape.train_field: _WORDS[names.WEIGHT],
        **dict.fromkeys(shape.context_fields, "context"),
    }
    return roles.get(name)


def _by_name(name: str, values: Sequence[Any], shape: Shape) -> str | None:
    """What the name of a field tells, where its values agree."""
    if name in shape.ignored or all(map(is_empty, values)):
        return None
    said = [value for value in values if not is_empty(value)]
    meaning = meaning_of(last_of(name))
    if shape.kind == "text":
        return _WORDS[names.MEDIA] if meaning == names.MEDIA else None
    if is_context(name, shape):
        return "context"
    if meaning == names.REASONING:
        told = any(
            not isinstance(v, str) or v.strip().casefold() not in names.REASONING_SWITCHES for v in said
        )
        return _WORDS[meaning] if told and shape.kind not in TALKS else None
    if meaning == names.MASK and shape.kind not in TALKS:
        return None
    if meaning == names.SYSTEM and all(isinstance(value, int | float) for value in said):
        return None
    if meaning == names.PREFERENCE and names.is_verdict(name):
        return _WORDS[meaning] if any(map(names.judges, said)) else None
    if meaning == names.PREFERENCE and any(map(names.is_chosen, shape.fields)):
        return "unwanted answer, not learned"
    return _WORDS.get(meaning) if meaning else None


def _nothing_of_a_meaning(name: str, values: Sequence[Any], shape: Shape) -> bool:
    """Whether a field with a known meaning holds nothing in all of these rows."""
    return meaning_of(last_of(name)) is not None and all(map(is_empty, values))


def _unread_keys(records: Records, shape: Shape) -> list[str]:
    """Keys of messages that are not read, with the field of these before them."""
    known = {*READ, shape.role_field, shape.content_field, shape.train_field}
    found: dict[str, None] = {}
    for field, item in _messages(records, shape):
        mine = {*known, "system", *(pair_in(item) or ()), *(("label",) if shape.kind == "segments" else ())}
        for key, value in item.items():
            nothing = key in CAREFUL and is_empty(value)
            if key not in mine and not nothing and not _is_role(key, item):
                found[f"{field}[].{key}"] = None
    return list(found)


def _messages(records: Records, shape: Shape) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The messages of rows as they stand there, each with its field."""
    for field in (shape.input_field, shape.output_field, shape.history_field):
        for record in records if field and shape.kind != "text" else ():
            value = as_object(parsed(names.value_at(record, str(field))))
            items = value if isinstance(value, list) else [value]
            for item in map(as_object, map(parsed, items)):
                if isinstance(item, Mapping):
                    yield str(field), item


def has_key(records: Records, shape: Shape, key: str) -> bool:
    """Whether any message of these rows has a key."""
    return any(key in item for _, item in _messages(records, shape))


def _is_role(key: str, item: Mapping[str, Any]) -> bool:
    return role_of(key) is not None and not {"role", "from"} & set(item)


def refuse_preferences(where: str, records: Records, shape: Shape) -> None:
    """Refuse rows that tell wanted answers from unwanted ones, since all would be learned.

    Raises:
        InputError: a field says it.
    """
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in flattened(record, shape.fields):
            if meaning_of(last_of(name)) == names.PREFERENCE and not is_empty(value):
                values.setdefault(name, []).append(value)
    for name, said in values.items():
        if name in (*shape.fields, *shape.ignored) or shape.kind == "text":
            continue
        if names.is_verdict(name):
            zero_or_one = all(str(value) in ("0", "1") for value in said) and shape.kind not in TALKS
            if any(map(names.judges, said)) or zero_or_one:
                condition = f"'{name} = 1'" if zero_or_one else name
                raise InputError(
                    f"the field {name!r} tells wanted answers from unwanted ones, and all would be learned",
                    where=where,
                    remedy=f"Keep the wanted ones with --where {condition}, or learn all with --ignore-field {name}.",
                )
        elif not any(map(names.is_chosen, shape.fields)):
            raise InputError(
                f"the field {name!r} is the unwanted side of a preference pair",
                where=where,
                remedy=f"{_take_wanted(records)}, or learn what stands in the other fields with "
                f"--ignore-field {name}.",
            )


def refuse_pairs(where: str, records: Records) -> None:
    """Refuse rows of no known shape that are preference pairs, with the option that takes the wanted side.

    Raises:
        InputError: they are.
    """
    first = records[0] if records else {}
    chosen = next((name for name in first if names.is_chosen(name)), None)
    rejected = any(meaning_of(name) == names.PREFERENCE and not names.is_verdict(name) for name in first)
    if chosen and rejected:
        raise InputError(
            f"holds preference pairs: {', '.join(first)}", where=where, remedy=f"{_take_wanted(records)}."
        )


def _take_wanted(records: Records) -> str:
    """The option that takes the wanted side of preference pairs."""
    first = records[0] if records else {}
    name = next((name for name in first if names.is_chosen(name)), None)
    if name is None:
        return "Take the wanted answers with --output-field"
    value = first[name]
    whole = isinstance(value, list) and len(value) > 1
    prompt = any(names.find(first, other) for other in ("prompt", "question", "instruction", "query"))
    option = "--input-field" if whole or not prompt else "--output-field"
    return f"Take the wanted answers with {option} {name}"


def check_conditions(conditions: Mapping[str, Sequence[str]], present: Sequence[str]) -> None:
    """Refuse a condition that names a field which no row has.

    Args:
        conditions: the fields that each names.

    Raises:
        SettingsError: there is one.
    """
    for text, named in conditions.items():
        for name in named:
            if name not in present:
                raise SettingsError(
                    f"{text!r} names {name!r}, and the first rows have no such field",
                    where="--where",
                    remedy=f"It may name {', '.join((*TEXTS, TURNS))}, and the fields {', '.join(present)}.",
                )
