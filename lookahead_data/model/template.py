"""Chat templates: Jinja as Hugging Face runs it, with the origin of every character kept."""

from __future__ import annotations

import datetime
import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from lookahead_data.errors import RowError, TemplateError
from lookahead_data.model.dialogue import RESERVED, Dialogue, Message, bare, leaves, roped, with_contents
from lookahead_data.model.held import check_source
from lookahead_data.model.limits import LimitError, length_of, limited
from lookahead_data.model.rope import Rope, concat, pieces_of
from lookahead_data.model.sandbox import Refusal, plain_environment, tracing_environment

BUILTIN = ("alpaca", "chatml", "gemma", "llama3")
"""Names of the templates that ship with the package."""


class ChatTemplate:
    """A compiled chat template.

    Attributes:
        source: the Jinja text.
        name: where it came from, for people.
        sha256: of the Jinja text.
        uses_date: whether the rendering depends on the day.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str,
        variables: Mapping[str, Any] | None = None,
        today: datetime.date | None = None,
    ) -> None:
        """Compile `source`.

        Args:
            variables: what the template may use beside the messages: `bos_token`, `eos_token`, and
                the user's own arguments.
            today: the day that `strftime_now` gives.

        Raises:
            TemplateError: the template is not valid Jinja.
        """
        self.source = source
        self.name = name
        self.sha256 = hashlib.sha256(source.encode()).hexdigest()
        self.uses_date = "strftime_now" in source
        self._variables = dict(variables or {})
        self._as_parts = False
        day = today or datetime.date.today()
        try:
            environment = tracing_environment(day)
            check_source(environment, source)
            self._traced = environment.from_string(source)
            self._plain = plain_environment(day).from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"is not valid Jinja, line {error.lineno}: {error.message}", where=f"chat template {name}"
            ) from None
        except RecursionError:
            raise TemplateError("is nested too deeply", where=f"chat template {name}") from None
        except (MemoryError, OverflowError, SyntaxError, ValueError) as error:
            raise TemplateError(f"cannot be compiled: {error}", where=f"chat template {name}") from None

    def probe(self) -> None:
        """Find out in which form the template wants content, plain text or a list of parts.

        Some multimodal templates print nothing for plain text, and would swallow it silently.
        """
        probe = [{"role": "user", "content": "probe"}, {"role": "assistant", "content": "answer"}]
        for form in (False, True):
            self._as_parts = form
            try:
                pieces = pieces_of(self.render(probe))
            except RowError:
                continue
            if {piece.slot for piece in pieces} >= {(0, "content"), (1, "content")}:
                return
        self._as_parts = False

    def render(self, dialogue: Dialogue | Sequence[Message], *, add_generation_prompt: bool = False) -> Rope:
        """The conversation as the template writes it, with the origin of every piece.

        Texts that are ropes already (probes, say) are taken as they are.

        Raises:
            RowError: the template refused the conversation or broke on it.
        """
        given = _as_dialogue(dialogue)
        try:
            return concat([self._run(self._traced, given, *roped(given), add_generation_prompt)])
        except RowError as error:
            filled = with_contents(given)
            if error.reason != "template_failed" or filled is given:
                raise
            return concat([self._run(self._traced, filled, *roped(filled), add_generation_prompt)])

    def render_plain(
        self, dialogue: Dialogue | Sequence[Message], *, add_generation_prompt: bool = False
    ) -> str:
        """The same text from Jinja alone: the oracle of `render`."""
        given = _as_dialogue(dialogue)
        try:
            return self._run(self._plain, given, *bare(given), add_generation_prompt)
        except RowError as error:
            filled = with_contents(given)
            if error.reason != "template_failed" or filled is given:
                raise
            return self._run(self._plain, filled, *bare(filled), add_generation_prompt)

    def _run(
        self,
        template: jinja2.Template,
        dialogue: Dialogue,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        add_generation_prompt: bool,
    ) -> str:
        for name in dialogue.arguments:
            if name in RESERVED:
                raise RowError(
                    "template_failed", f"{name!r} is no template argument: the template is always given it"
                )
        for at, message in enumerate(messages):
            if self._as_parts and isinstance(message.get("content"), str):
                message["content"] = [{"type": "text", "text": message["content"]}]
            if "reasoning_content" in message:
                # Templates know it by two names, and transformers offers both.
                messages[at] = {"thinking": message["reasoning_content"], **message}
        given = length_of(leaves([messages, tools, dict(dialogue.arguments)]))
        try:
            with limited(given):
                return template.render(
                    messages=messages,
                    tools=tools,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                    **(self._variables | dict(dialogue.arguments)),
                )
        except LimitError as error:
            raise RowError("template_failed", f"the template takes too much: {error}") from None
        except Refusal as refusal:
            raise RowError("template_refused", str(refusal)) from None
        except RecursionError:
            raise RowError("template_failed", "the template recurses without end") from None
        except Exception as error:
            # A template is a program of its own and may fail in any way at all; whichever it is, it
            # concerns this row alone.
            raise RowError("template_failed", f"{type(error).__name__}: {error}") from None


def _as_dialogue(dialogue: Dialogue | Sequence[Message]) -> Dialogue:
    return dialogue if isinstance(dialogue, Dialogue) else Dialogue(dialogue)


def builtin_template(name: str) -> str:
    """The Jinja text of a built-in template."""
    return importlib.resources.files("lookahead_data.assets.templates").joinpath(f"{name}.jinja").read_text()


def find_template(choice: str, own: str | None, tokenizer: str) -> tuple[str, str] | None:
    """The Jinja text and name that `--chat-template` asks for; None is plain concatenation.

    Args:
        choice: `auto`, `none`, a built-in name or a file.
        own: the tokenizer's own template.
        tokenizer: the tokenizer's name, for people.

    Raises:
        TemplateError: there is no such template.
    """
    if choice == "none":
        return None
    if choice == "auto":
        return None if own is None else (own, f"{tokenizer}'s own")
    if choice in BUILTIN:
        return builtin_template(choice), choice
    path = Path(choice)
    if path.exists() and not path.is_file():  # reading a FIFO may never return, nor a device ever end
        raise TemplateError(
            "is not a regular file (it is a folder, a FIFO, a socket or a device)",
            where=choice,
            remedy="Write the template to a file, and name that.",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(
            f"{choice!r} is neither a built-in chat template nor a readable file ({error})",
            remedy=f"Use auto, none, one of {', '.join(BUILTIN)}, or the path of a Jinja file.",
        ) from None
    return text, path.name
