"""One record to one row, looking at each of its fields: the oracle of all quick readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookahead_data.errors import RowError
from lookahead_data.source import names
from lookahead_data.source.calls import parsed, template_arguments, tool_definitions
from lookahead_data.source.names import as_object, is_empty, path_of, value_at
from lookahead_data.source.parts import Path, said_in
from lookahead_data.source.roles import role_of
from lookahead_data.source.rows import Row, check
from lookahead_data.source.shapes import Shape
from lookahead_data.source.turns import Turns, kind_of, weight_of

TALKS = ("messages", "sharegpt")
"""Kinds of shapes whose one field holds the conversation."""


def to_row(record: Mapping[str, Any], shape: Shape) -> Row:
    """What a record holds, every field with a known meaning read.

    Raises:
        RowError: a field is missing, null, not text or empty; a role is unknown; a message or a field
            carries what cannot be learned as text; nobody answers, or no answer is to be learned.
    """
    return _usual(record, shape) or _Reader(record, shape).row()


def _usual(record: Mapping[str, Any], shape: Shape) -> Row | None:
    """A prompt and an answer of text, with nothing beside them that means something; None for any other row."""
    if not shape.is_plain_pair:
        return None
    known = shape.meanings
    for name, value in record.items():
        if value is not None and value != "" and known.get(name, names.CONTEXT) is not None:
            return None
    prompt, answer = record.get(shape.input_field), record.get(str(shape.output_field))
    system = record.get(shape.system_field) if shape.system_field else None
    if type(prompt) is not str or type(answer) is not str or system or not answer.strip():
        return None
    if any(record.get(name) for name in shape.context_fields) or not (prompt.isascii() and answer.isascii()):
        return None
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    asked, said = (shape.input_field,), (str(shape.output_field),)
    return Row(messages, [(asked, asked), (said, said)])


class _Reader:
    def __init__(self, record: Mapping[str, Any], shape: Shape) -> None:
        self._record = record
        self._shape = shape
        self._turns = Turns(shape.rules)
        self._meant: dict[str, list[str]] = {}
        self._has_empty_tools = False
        known = shape.meanings
        for name, value in names.flattened(record, shape.all_fields) if shape.opened else record.items():
            if name not in known:
                known[name] = _meaning(name, shape)
            meaning = known[name]
            if meaning is None:
                continue
            if not is_empty(value):
                self._meant.setdefault(meaning, []).append(name)
            elif meaning == names.TOOLS and value == []:
                self._has_empty_tools = True

    def row(self) -> Row:
        shape, turns = self._shape, self._turns
        if self._meant:
            self._refuse_media()
        tools = args = None
        if shape.kind == "text":
            turns.add("assistant", self._text(shape.input_field))
        else:
            if self._meant:
                self._refuse_verdicts()
            self._system()
            head = len(turns.messages)
            if name := self._one(names.HISTORY, shape.history_field):
                turns.read(value_at(self._record, name), name, path_of(self._record, name))
            self._talk()
            self._drop_same_system(head)
            if self._meant or shape.reasoning_field or shape.train_field:
                self._reasoning()
                self._weights()
            tools, args = self._tools(), self._template_args()
        row = Row(turns.messages, turns.places, tools, args, turns.looked_inside)
        check(row)
        return row

    def _talk(self) -> None:
        shape = self._shape
        if shape.kind in TALKS:
            self._turns.read(self._there(shape.input_field), shape.input_field, self._path(shape.input_field))
        elif shape.kind == "segments":
            self._segments()
        else:
            self._prompt()
            self._answer()

    def _prompt(self) -> None:
        shape, turns = self._shape, self._turns
        name = shape.input_field
        value = self._opened(name)
        if isinstance(as_object(value), list | Mapping) and not _is_texts(value):
            # TRL's conversational prompt, or a conversation with its answer beside it.
            if isinstance(value, Mapping) and "role" not in value and "from" not in value:
                self._text(name)
            turns.read([value] if isinstance(value, Mapping) else value, name, self._path(name))
            return
        if _is_texts(value):
            turns.read(value, name, self._path(name))
            return
        text, place = self._text(name), self._path(name)
        last: Path = place
        for context in self._contexts():
            more, last = self._joined(context)
            text = f"{text}\n{more}"
        turns.add("user", text, (place, last))

    def _opened(self, name: str) -> Any:
        """The value of a field; the messages in it, where it has them as JSON."""
        value = value_at(self._record, name)
        if self._shape.as_json and isinstance(value, str) and value.lstrip().startswith("[{"):
            return parsed(value)
        return value

    def _contexts(self) -> list[str]:
        """The fields that continue the prompt of this record."""
        shape, record = self._shape, self._record
        found = [name for name in shape.context_fields if not is_empty(value_at(record, name))]
        return found + self._meant.get(names.CONTEXT, [])

    def _joined(self, name: str) -> tuple[str, Path]:
        """The text of a context, or its texts a line each; and where the last stands."""
        value = value_at(self._record, name)
        if _is_texts(value):
            return "\n".join(value), (*self._path(name), len(value) - 1)
        if not isinstance(value, str):
            raise RowError(
                "not_text",
                f"the field {name!r} holds {kind_of(value)}, not text; name another context with "
                f"--context-field, or pass --ignore-field {name}",
            )
        return value, self._path(name)

    def _answer(self) -> None:
        shape, turns = self._shape, self._turns
        name = str(shape.output_field)
        value = as_object(self._opened(name))
        if isinstance(value, Mapping) and ("role" in value or "from" in value):
            value = [value]
        if not isinstance(value, list):
            turns.add("assistant", self._text(name), (self._path(name), self._path(name)))
            return
        answer = Turns(shape.rules)
        answer.read(value, name, self._path(name))
        asked = [at for at, message in enumerate(answer.messages) if message["role"] == "user"]
        mine = [message["content"] for message in turns.messages if message["role"] == "user"]
        skip = 0
        turns.looked_inside |= bool(asked and mine)
        if asked and mine and answer.messages[asked[-1]]["content"] == mine[-1]:
            skip = asked[-1] + 1  # the wanted side of a preference pair, with its prompt
        turns.messages += answer.messages[skip:]
        turns.places += answer.places[skip:]
        turns.looked_inside |= answer.looked_inside

    def _segments(self) -> None:
        """Axolotl's pieces of text: those that are learned are the assistant's, all others the user's."""
        name = self._shape.input_field
        pieces = self._there(name)
        if not isinstance(pieces, list):
            raise RowError("not_text", f"the field {name!r} holds {kind_of(pieces)}, not a list of segments")
        for at, piece in enumerate(map(as_object, pieces)):
            text = piece.get("text") if isinstance(piece, Mapping) else None
            if not isinstance(text, str) or not isinstance(piece.get("label"), bool):
                raise RowError(
                    "not_text", f"{name}[{at}] is no segment, with a text and a label (true or false)"
                )
            role = "assistant" if piece["label"] else "user"
            place = (*self._path(name), at, "text")
            messages = self._turns.messages
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += text
                first = self._turns.places[-1]
                self._turns.places[-1] = (first[0] if first else place, place)
            else:
                self._turns.add(role, text, (place, place))

    def _system(self) -> None:
        name = self._one(names.SYSTEM, self._shape.system_field)
        if name is None:
            return
        value = as_object(value_at(self._record, name))
        if isinstance(value, Mapping):
            value = next((value[key] for key in ("parts", "content", "text") if value.get(key)), value)
        if isinstance(value, list):
            value = said_in(value, name, ()).text
        if not isinstance(value, str):
            if name != self._shape.system_field and isinstance(value, int | float):
                return  # a number is no prompt
            raise RowError("not_text", f"the field {name!r} holds {kind_of(value)}, not text")
        if value:
            self._turns.add("system", value)

    def _drop_same_system(self, head: int) -> None:
        """A system prompt that stands in a field and again in the messages is one."""
        messages = self._turns.messages
        if head == 1 and len(messages) > 1 and messages[1]["role"] == "system":
            self._turns.looked_inside = True
            if (messages[1]["content"] or "").strip() == messages[0]["content"].strip():
                del messages[0], self._turns.places[0]

    def _reasoning(self) -> None:
        """The reasoning that a field gives belongs to the last answer."""
        shape = self._shape
        if shape.kind in TALKS and not shape.reasoning_field:
            return
        found = [
            name
            for name in (shape.reasoning_field, *self._meant.get(names.REASONING, ()))
            if name and not is_empty(value_at(self._record, name)) and not self._switches(name)
        ]
        found = list(dict.fromkeys(found))
        texts = {
            value_at(self._record, name) for name in found if isinstance(value_at(self._record, name), str)
        }
        if len(texts) > 1:
            raise self._two(found, "--reasoning-field")
        if not found:
            return
        self._turns.looked_inside = True
        text = self._text(found[0])
        answer = next((m for m in reversed(self._turns.messages) if m["role"] == "assistant"), None)
        inline = bool(answer) and text.strip() in str(answer["content"])  # type: ignore[index]
        if answer is not None and not answer.get("reasoning_content") and not inline:
            answer["reasoning_content"] = text

    def _switches(self, name: str) -> bool:
        """Whether a field of reasoning tells only whether there is any."""
        value = value_at(self._record, name)
        if isinstance(value, str):
            self._turns.looked_inside = True
            return value.strip().casefold() in names.REASONING_SWITCHES
        return not isinstance(value, list | Mapping) and name != self._shape.reasoning_field

    def _weights(self) -> None:
        """Weights of the whole row, and the role that NeMo masks."""
        shape, record = self._shape, self._record
        weight = 1.0
        if shape.train_field and not is_empty(value := value_at(record, shape.train_field)):
            weight = weight_of(value, f"the field {shape.train_field!r}")
            self._turns.looked_inside = True
        for name in self._meant.get(names.WEIGHT, ()):
            if name != shape.train_field:
                raise RowError(
                    "unsupported_content",
                    f"the field {name!r} may weigh the row; name it with --train-field {name}, or pass "
                    f"--ignore-field {name}",
                )
        for name in self._meant.get(names.MASK, ()) if shape.kind in TALKS else ():
            self._turns.looked_inside = True
            role = role_of(value, shape.roles) if isinstance(value := value_at(record, name), str) else None
            if role is None:
                raise RowError(
                    "unsupported_content",
                    f"the field {name!r} holds {value!r}, and not the role that is not learned; if it "
                    f"does not matter, pass --ignore-field {name}",
                )
            weight = 0.0 if role == "assistant" else weight
        if weight != 1:
            for message in self._turns.messages:
                if message["role"] == "assistant":
                    message["weight"] = min(weight, message.get("weight", weight))

    def _tools(self) -> list[Any] | None:
        name = self._one(names.TOOLS, self._shape.tools_field)
        if name is None:
            # An empty list is kept: some templates treat it otherwise than none.
            return (
                self._turns.tools
                if self._turns.tools is not None
                else ([] if self._has_empty_tools else None)
            )
        return tool_definitions(value_at(self._record, name), name)

    def _template_args(self) -> dict[str, Any] | None:
        name = self._one(names.TEMPLATE_ARGS, None)
        return None if name is None else template_arguments(value_at(self._record, name), name)

    def _refuse_media(self) -> None:
        for name in self._meant.get(names.MEDIA, ()):
            raise RowError(
                "media",
                f"the field {name!r} holds an image, audio or video, and only text is learned; if it does not "
                f"matter, pass --ignore-field {name}",
            )

    def _refuse_verdicts(self) -> None:
        chosen = any(names.is_chosen(name) for name in self._shape.fields)
        for name in self._meant.get(names.PREFERENCE, ()):
            if names.is_verdict(name):
                value = value_at(self._record, name)
                self._turns.looked_inside |= isinstance(value, str)
                if names.judges(value):
                    raise RowError("preference", f"the field {name!r} {VERDICT_REMEDY.format(name=name)}")
            elif not chosen:
                raise RowError("preference", f"the field {name!r} {PAIR_REMEDY.format(name=name)}")

    def _one(self, meaning: str, named: str | None) -> str | None:
        """The field that holds something of a meaning; the one that the shape names, or any by its name.

        Raises:
            RowError: two fields say different things.
        """
        if not named and meaning not in self._meant:
            return None
        record = self._record
        found = [named] if named and not is_empty(value_at(record, named)) else []
        found += [name for name in self._meant.get(meaning, ()) if name != named]
        if meaning == names.SYSTEM:
            found = [
                name for name in found if name == named or not isinstance(value_at(record, name), int | float)
            ]
        if len(found) > 1 and any(value_at(record, n) != value_at(record, found[0]) for n in found[1:]):
            raise self._two(found, _OPTIONS[meaning])
        return found[0] if found else None

    def _two(self, found: list[str], option: str) -> RowError:
        both = " and ".join(map(repr, found[:2]))
        return RowError(
            "ambiguous_fields",
            f"the fields {both} say different things of one kind; choose with {option}, and pass "
            f"--ignore-field for the other",
        )

    def _path(self, name: str) -> Path:
        return path_of(self._record, name)

    def _there(self, name: str) -> Any:
        value = value_at(self._record, name)
        if value is None or (isinstance(value, float) and is_empty(value)):
            absent = name.partition(".")[0] not in self._record
            raise RowError("missing_field", f"the field {name!r} is {'missing' if absent else 'null'}")
        return value

    def _text(self, name: str) -> str:
        value = self._there(name)
        if not isinstance(value, str):
            raise RowError("not_text", f"the field {name!r} holds {kind_of(value)}, not text")
        return value


VERDICT_REMEDY = (
    "tells wanted answers from unwanted ones, and all would be learned; keep the wanted ones with "
    "--where {name}, or pass --ignore-field {name} to learn all"
)
PAIR_REMEDY = (
    "is the unwanted side of a preference pair; take the wanted side with --output-field, or pass "
    "--ignore-field {name} to learn what stands in the other fields"
)
_OPTIONS = {
    names.SYSTEM: "--system-field",
    names.HISTORY: "--history-field",
    names.TOOLS: "--tools-field",
    names.TEMPLATE_ARGS: "--ignore-field",
}


def _meaning(name: str, shape: Shape) -> str | None:
    """What a field means beside those that the shape names; None for nothing."""
    if name in (*shape.fields, *shape.context_fields, *shape.ignored, shape.flag_field):
        return None
    if name not in shape.all_fields and is_context(name, shape):
        return names.CONTEXT
    return names.meaning_of(names.last_of(name))


def is_context(name: str, shape: Shape) -> bool:
    """Whether a field continues the prompts of a shape, by its name."""
    if shape.kind not in ("prompt-completion", "alpaca"):
        return False
    plain = names.plain(names.last_of(name))
    if plain == "input":
        return shape.kind == "alpaca" or names.plain(names.last_of(shape.input_field)) in names.INSTRUCTIONS
    return plain in names.CONTEXTS


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
