"""From a field that holds a conversation, in whatever form, to its messages.

Known forms: messages with a role and a content (under several names), messages as `{"user": …}`, pairs of
question and answer, texts that take turns, an object of lists, maps of Arrow, and each of these as JSON.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lookahead_data.config import ROLES as KNOWN
from lookahead_data.errors import RowError
from lookahead_data.source.calls import is_call, parsed, tool_calls, tool_definitions
from lookahead_data.source.names import REASONING_KEYS, as_object, is_empty
from lookahead_data.source.parts import MEDIA_KEYS, Path, Said, said_in
from lookahead_data.source.roles import CALLS, ROLES, role_of

Message = dict[str, Any]
Place = tuple[Path, Path]
"""Where the text of a message begins and ends in its row: the first and the last string of it."""

ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value", "parts", "text")
WEIGHTS = ("weight", "train", "trainable", "loss", "loss_mask", "loss_scale", "loss_weight")
"""Keys of a message that tell how much it counts in the loss."""
HOLD_BACK = ("prefix", "masked")
"""Keys that tell, where they hold true, that a message does not count in the loss."""
UNREADABLE = ("train_detail", "mask")
"""Keys that tell it in ways that are not read."""
MEDIA = ("images", "image", "audio", "audios", "video", "videos")
CALL_FIELDS = ("tool_calls", "function_call")
TOOLS = ("tools", "functions")

PAIRS: tuple[tuple[str, str], ...] = (
    ("input", "output"),
    ("human", "assistant"),
    ("human", "gpt"),
    ("human", "bot"),
    ("user", "assistant"),
    ("user", "bot"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("q", "a"),
)
"""Keys of one question and its answer in a list of such pairs."""

READ = (
    *ROLE_KEYS, *CONTENT_KEYS, *REASONING_KEYS, *WEIGHTS, *HOLD_BACK, *CALL_FIELDS, *TOOLS, "refusal", "name",
    "tool_call_id",
)  # fmt: skip
"""Keys of a message that are read."""
CAREFUL = (
    *REASONING_KEYS,
    *WEIGHTS,
    *HOLD_BACK,
    *UNREADABLE,
    *MEDIA,
    *CALL_FIELDS,
    *TOOLS,
    "refusal",
    "name",
    "tool_call_id",
)
"""Keys of a message that quick readers leave to this one."""


_CARRIED = frozenset((*CAREFUL, *MEDIA_KEYS))


@dataclass(frozen=True)
class Rules:
    """What the settings say of messages.

    Attributes:
        roles: further role names, and their roles.
        role_field, content_field, train_field: keys to read, None for the known ones.
        ignored: keys that do not matter.
    """

    roles: tuple[tuple[str, str], ...] = ()
    role_field: str | None = None
    content_field: str | None = None
    train_field: str | None = None
    ignored: tuple[str, ...] = ()


_USUAL = Rules()


class Turns:
    """Reads the conversation of one row.

    Attributes:
        messages, places: the messages, and where their texts stand (None: not in one place).
        tools: definitions that a message carries.
        looked_inside: whether what a text or number says has decided how it is read.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.messages: list[Message] = []
        self.places: list[Place | None] = []
        self.tools: list[Any] | None = None
        self.looked_inside = False

    def add(self, role: str, content: str | None, place: Place | None = None, **more: Any) -> None:
        """Append a message of a known role."""
        self.messages.append({"role": role, "content": content, **more})
        self.places.append(place)

    def read(self, value: Any, name: str, path: Path) -> None:
        """Append the messages of a field.

        Raises:
            RowError: it holds no conversation, or a message cannot be read.
        """
        if isinstance(value, str):
            self.looked_inside = True
            found = parsed(value)
            if isinstance(found, str):
                raise RowError("not_text", f"the field {name!r} holds text, not messages or JSON of messages")
            value = found
        value = as_object(value)
        if isinstance(value, Mapping):
            value = _unpacked(value, self._rules)
        if not isinstance(value, list):
            raise RowError("not_text", f"the field {name!r} holds {kind_of(value)}, not a list of messages")
        if value and all(isinstance(item, str) for item in value):
            self._texts(value, name, path)
            return
        usual = self._rules == _USUAL
        for at, item in enumerate(value):
            if not (usual and type(item) is dict and self._is_usual(item, path, at)):
                self._item(as_object(item), f"{name}[{at}]", (*path, at))

    def _is_usual(self, item: dict[str, Any], path: Path, at: int) -> bool:
        """Append a message of a role and a text alone; False for any other item."""
        role, content = item.get("role"), item.get("content")
        if type(role) is not str or type(content) is not str or not _CARRIED.isdisjoint(item):
            return False
        known = role_of(role)
        if known is None or known == CALLS[0]:
            return False
        place = (*path, at, "content")
        self.messages.append({"role": known, "content": content})
        self.places.append((place, place))
        return True

    def _texts(self, texts: list[str], name: str, path: Path) -> None:
        messages = [parsed(text) for text in texts]
        self.looked_inside = True
        if all(isinstance(message, Mapping) for message in messages):
            for at, message in enumerate(messages):
                self._item(message, f"{name}[{at}]", (*path, at))
            return
        for at, text in enumerate(texts):
            place = (*path, at)
            self.add("assistant" if at % 2 else "user", text, (place, place))

    def _item(self, item: Any, where: str, path: Path) -> None:
        role_keys = self._role_keys
        if isinstance(item, Mapping) and any(key in item for key in role_keys):
            self._message(item, where, path)
        elif isinstance(item, list) and len(item) == 2 and all(isinstance(x, str | None) for x in item):
            self._pair(item, (0, 1), {}, path)
        elif not isinstance(item, Mapping):
            raise RowError("not_text", f"{where} holds {kind_of(item)}, not a message")
        elif (pair := pair_in(item)) is not None:
            system = item.get("system")
            if isinstance(system, str) and system:
                self.add("system", system)
            self._pair(item, pair, self._extras(item, where, "assistant"), path)
        elif (role := _only_role(item)) is not None:
            self._message({"role": role, "content": item[role]}, where, path, said=role)
        else:
            self._message(item, where, path)

    def _pair(self, item: Any, keys: tuple[Any, Any], extras: Message, path: Path) -> None:
        """A question and its answer; one that is null or empty was not said."""
        for role, key in zip(("user", "assistant"), keys, strict=True):
            text = item[key]
            if not is_empty(text):
                place = (*path, key)
                more = extras if role == "assistant" else {}
                if not isinstance(text, str):
                    raise RowError("not_text", f"{path[0]} holds {kind_of(text)} where a text must stand")
                self.add(role, text, (place, place), **more)

    @property
    def _role_keys(self) -> tuple[str, ...]:
        return (self._rules.role_field,) if self._rules.role_field else ROLE_KEYS

    def _message(self, item: Mapping[str, Any], where: str, path: Path, said: str | None = None) -> None:
        named = next((key for key in self._role_keys if key in item), self._role_keys[0])
        role = item.get(named)
        known = role_of(role, self._rules.roles) if isinstance(role, str) else None
        if known is None:
            raise RowError(
                "unknown_role",
                f"{where} has the role {role!r}; known roles are {', '.join(ROLES)}. "
                f"Map it with --role {str(role).strip() or 'NAME'}=ROLE, of {', '.join(KNOWN)}.",
            )
        key = said or self._content_key(item, named)
        content = item.get(key if said is None else "content")
        place = (*path, key)
        extras = self._extras(item, where, known)
        if known == CALLS[0]:
            self._call_as_text(content, where, place, extras)
            return
        if isinstance(content, Mapping):
            content = [content]
        if isinstance(content, list):
            self._parts(said_in(content, where, place), content, known, where, extras)
            return
        if not content and isinstance(item.get("refusal"), str) and item["refusal"]:
            content, place = item["refusal"], (*path, "refusal")
        elif not is_empty(item.get("refusal")) and "refusal" not in self._rules.ignored:
            raise RowError("unsupported_content", f"{where} has a content and a refusal beside it")
        if content is None and not extras.get("tool_calls"):
            raise RowError("missing_field", f"{where} has no {key!r}")
        if content is not None and not isinstance(content, str):
            raise RowError("not_text", f"{where}.{key} holds {kind_of(content)}, not text")
        self.add(known, content, None if content is None else (place, place), **extras)

    def _content_key(self, item: Mapping[str, Any], named: str) -> str:
        if self._rules.content_field:
            return self._rules.content_field
        usual = "value" if named == "from" else "content"
        if item.get(usual) is not None:
            return usual
        given = (key for key in (usual, *CONTENT_KEYS) if item.get(key) is not None)
        return next(given, usual)

    def _parts(self, said: Said, content: list[Any], role: str, where: str, extras: Message) -> None:
        for result in said.results:
            self.add(result.pop("role"), result.pop("content"), None, **result)
        if said.reasoning:
            extras.setdefault("reasoning_content", "".join(said.reasoning))
        if said.calls:
            extras["tool_calls"] = [*extras.get("tool_calls", []), *said.calls]
        if said.results and not said.text:
            return
        filled = [path for text, path in said.texts if text] or [path for _, path in said.texts]
        place = (filled[0], filled[-1]) if filled else None
        missing = not said.texts and extras.get("tool_calls")
        if not said.texts and content and not missing and not said.reasoning:
            raise RowError("missing_field", f"{where} has no text among its parts")
        self.add(role, None if missing else said.text, place, **extras)

    def _call_as_text(self, content: Any, where: str, place: Path, extras: Message) -> None:
        """A message whose role says that it is a call of a tool."""
        self.looked_inside = True
        if isinstance(content, str) and not is_call(content):
            self.add("assistant", content, (place, place), **extras)
            return
        calls = tool_calls(content, where)
        if not calls:
            raise RowError("missing_field", f"{where} has the role of a tool call, and holds none")
        self.add("assistant", None, None, **{**extras, "tool_calls": calls})

    def _extras(self, item: Mapping[str, Any], where: str, role: str) -> Message:
        """What a message carries beside its text."""
        carried = [key for key in item if key in _CARRIED and item[key] is not None]
        if not carried and self._rules.train_field is None:
            return {}
        ignored = self._rules.ignored
        extras: Message = {}
        thought = {
            key: item[key] for key in REASONING_KEYS if isinstance(item.get(key), str) and key not in ignored
        }
        for key, text in sorted(thought.items(), key=lambda pair: not pair[1]):
            if text or key == REASONING_KEYS[0]:
                extras["reasoning_content"] = text
                break
        for key in (*MEDIA, *MEDIA_KEYS):
            if key not in ignored and not is_empty(item.get(key)):
                raise RowError("media", f"{where} carries {key!r}, and only text is learned")
        calls = [
            call
            for key in CALL_FIELDS
            if key not in ignored and not is_empty(item.get(key))
            for call in tool_calls(item[key], where)
        ]
        if calls:
            extras["tool_calls"] = calls
        for key in ("tool_call_id", "name"):
            if key not in ignored and isinstance(value := item.get(key), str | int) and value != "":
                extras[key] = str(value)
        for key in TOOLS:
            if key not in ignored and not is_empty(item.get(key)):
                self.looked_inside = True
                self.tools = tool_definitions(item[key], key)
        weight = self._weight(item, where)
        if weight is not None and role in ("assistant", CALLS[0]):
            extras["weight"] = weight
        return extras

    def _weight(self, item: Mapping[str, Any], where: str) -> float | None:
        """How much a message counts in the loss; None where it says nothing, or that it counts."""
        rules = self._rules
        found: list[float] = []
        keys = (rules.train_field,) if rules.train_field and rules.train_field in item else WEIGHTS
        for key in keys:
            if key in rules.ignored or is_empty(item.get(key)):
                continue
            self.looked_inside = True
            found.append(weight_of(item[key], f"{where}.{key}"))
        found += [0.0 for key in HOLD_BACK if item.get(key) is True and key not in rules.ignored]
        for key in UNREADABLE:
            if not is_empty(item.get(key)) and key not in rules.ignored:
                raise RowError(
                    "unsupported_content",
                    f"{where} says with {key!r} what is learned of it, which is not read; name a field of "
                    f"weights with --train-field, or pass --ignore-field {key}",
                )
        weight = min(found, default=1.0)
        return None if weight == 1 else weight


def weight_of(value: Any, where: str) -> float:
    """A weight of the loss: a number of at least 0, or true or false.

    Raises:
        RowError: it is none.
    """
    if isinstance(value, str):
        words = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
        said = value.strip().casefold()
        with contextlib.suppress(ValueError):
            value = words[said] if said in words else float(said)
    if not isinstance(value, bool | int | float) or not math.isfinite(value) or value < 0:
        raise RowError(
            "unsupported_content", f"{where} is {value!r}, not a loss weight: true, false or a number from 0"
        )
    return float(value)


def pair_in(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """The keys of the question and the answer that an object holds."""
    return next((pair for pair in PAIRS if pair[0] in item and pair[1] in item), None)


def _only_role(item: Mapping[str, Any]) -> str | None:
    """The one key of an object that is not null, if it names a role."""
    given = [key for key, value in item.items() if value is not None]
    return given[0] if len(given) == 1 and role_of(given[0]) is not None else None


def _unpacked(value: Mapping[str, Any], rules: Rules) -> Any:
    """The list of messages that an object of lists stands for; an object that is a message is one."""
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    role = next((key for key in (rules.role_field, *ROLE_KEYS) if key and key in lists), None)
    if role is None:
        return [value] if any(key in value for key in ROLE_KEYS) else value
    count = len(lists[role])
    if any(len(items) != count for items in lists.values()):
        sizes = ", ".join(f"{key} {len(items)}" for key, items in lists.items())
        raise RowError("not_text", f"the lists of messages differ in length: {sizes}")
    return [{key: items[at] for key, items in lists.items()} for at in range(count)]


def looks_like_turns(value: Any) -> bool:
    """Whether a value is a conversation, by its first items."""
    value = as_object(parsed(value))
    if isinstance(value, Mapping):
        return any(isinstance(value.get(key), list) for key in ROLE_KEYS)
    if not isinstance(value, list) or not value:
        return False
    first = as_object(parsed(value[0]))
    if isinstance(first, str):
        return len(value) > 1 and all(isinstance(item, str) for item in value)
    if isinstance(first, list):
        return len(first) == 2 and all(isinstance(text, str | None) for text in first)
    if not isinstance(first, Mapping):
        return False
    return (
        any(key in first for key in ROLE_KEYS) or pair_in(first) is not None or _only_role(first) is not None
    )


def kind_of(value: Any) -> str:
    """What a value is, for people."""
    kinds = {
        bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list",
        dict: "an object", type(None): "null",
    }  # fmt: skip
    return kinds.get(type(value), f"a {type(value).__name__}")
