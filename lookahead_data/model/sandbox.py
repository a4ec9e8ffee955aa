"""The Jinja in which chat templates run: the sandbox of Hugging Face, once plain and once tracing origins.

The environment is that of `transformers.utils.chat_template_utils`: an immutable sandbox with
`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, a `tojson` that
does not escape HTML, and `{% generation %}` blocks.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lookahead_data.model.held import inner_values, is_known
from lookahead_data.model.limits import (
    bounded,
    check_arguments,
    check_format,
    check_join,
    check_made,
    check_operation,
    check_replace,
)
from lookahead_data.model.rope import (
    UNKNOWN,
    Piece,
    RootedDict,
    RootedList,
    Rope,
    Slot,
    concat,
    join,
    pieces_of,
    slot_of,
)
from lookahead_data.model.trace import Probe, length_of_probe, mark_opaque


class Refusal(jinja2.TemplateError):
    """What a template raises by `raise_exception`."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with limits on what is made in it."""

    intercepted_binops = frozenset(("+", "%", "*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        check_arguments((*args, *kwargs.values()))
        # The sandbox wraps `format` in a function of its own.
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        if isinstance(owner, str) and getattr(obj, "__name__", "") == "format":
            check_format(owner)
        if isinstance(owner, str) and getattr(obj, "__name__", "") == "replace":
            check_replace(owner, *args)
        return check_made(super().call(context, obj, *args, **kwargs))

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        return "".join(bounded(pieces))


def plain_environment(today: datetime.date) -> jinja2.Environment:
    """Jinja as Hugging Face runs it.

    Args:
        today: the day that `strftime_now` gives.
    """
    return _environment(_Sandbox, _Generation, today)


def _environment(kind: type[_Sandbox], generation: type[Extension], today: datetime.date) -> _Sandbox:
    environment = kind(trim_blocks=True, lstrip_blocks=True, extensions=[generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    for name, function in environment.filters.items():
        environment.filters[name] = _limited_filter(name, function)
    environment.globals["raise_exception"] = _raise_exception
    midnight = datetime.datetime.combine(today, datetime.time())
    environment.globals["strftime_now"] = midnight.strftime
    return environment


def _limited_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def limited_filter(*args: Any, **kwargs: Any) -> Any:
        check_arguments((*args, *kwargs.values()))
        if name == "replace":
            check_replace(*args[1:])  # the first is Jinja's own
        if name == "join":
            values = [value for value in args if isinstance(value, list | tuple)]
            separators = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, str)]
            for value in values:
                check_join(max(separators, key=str.__len__, default=""), value)
        return check_made(function(*args, **kwargs))

    return limited_filter


def _raise_exception(message: str) -> None:
    raise Refusal(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: marks what the model is to produce."""

    tags = {"generation"}  # noqa: RUF012 (Jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

    def _block(self, caller: Callable[[], str]) -> str:
        return caller()


class _TracedGeneration(_Generation):
    def _block(self, caller: Callable[[], str]) -> str:
        return concat([_marked(caller())])


_blocks = itertools.count(1)


def _marked(block: str) -> Rope:
    # Each block has a number of its own, so that neighbours stay two.
    number = next(_blocks)
    pieces = [piece._replace(generation=number) for piece in pieces_of(block)]
    return (type(block) if isinstance(block, Rope) else Rope)(pieces)


class _TracingGenerator(CodeGenerator):
    """Stock Jinja joins `a ~ b` with `"".join`, which would lose the origins."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat(map(environment.finalize, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        if [operand.op for operand in node.ops] not in (["in"], ["notin"]):
            super().visit_Compare(node, frame)
            return
        self.write("(not " if node.ops[0].op == "notin" else "(")
        self.write("environment.contained(")
        self.visit(node.expr, frame)
        self.write(", ")
        self.visit(node.ops[0].expr, frame)
        self.write("))")


class _TracingEnvironment(_Sandbox):
    code_generator_class = _TracingGenerator

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        result = super().call_binop(context, operator, left, right)
        return _absorbed(result, (left, right)) if type(result) is str else result

    @staticmethod
    def concat(pieces: Iterable[str]) -> Rope:
        return concat(bounded(pieces))

    @staticmethod
    def contained(item: Any, container: Any) -> bool:
        if isinstance(item, Rope) and type(container) is str:
            mark_opaque("in a constant")  # plain strings look at the text without asking the rope
        return item in container

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        of_constant = type(getattr(obj, "__self__", None)) is str
        if of_constant and obj.__name__ == "join" and len(args) == 1:
            return join(obj.__self__, [str(part) for part in args[0]])
        result = super().call(context, obj, *args, **kwargs)
        # What a method of a plain string makes of ropes, such as "{}".format(rope). Jinja hands the
        # variables of loops and blocks along, which are no arguments.
        if type(result) is str:
            named = [value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")]
            return _absorbed(result, (*args, *named))
        if of_constant and any(isinstance(arg, Rope) for arg in args):
            mark_opaque("a method of a constant")
        return result


def tracing_environment(today: datetime.date) -> jinja2.Environment:
    """The same, with the origin of every character kept."""
    environment = _environment(_TracingEnvironment, _TracedGeneration, today)
    environment.finalize = _finalize
    for name, function in environment.filters.items():
        environment.filters[name] = _tracing_filter(function, faithful=name in _FAITHFUL_FILTERS)
    environment.filters["join"] = _join
    for name in ("length", "count"):
        environment.filters[name] = _sized(environment.filters[name])
    environment.tests["in"] = _TracingEnvironment.contained
    return environment


_FAITHFUL_FILTERS = frozenset(("d", "default", "first", "last", "replace", "string", "trim"))
"""Filters that hand a rope on or call its own methods, and so keep all origins."""


def _tracing_filter(function: Callable[..., Any], *, faithful: bool) -> Callable[..., Any]:
    """`function`, with all text that it makes from ropes counted as message text."""

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if faithful and (isinstance(result, Rope) or not isinstance(result, str)):
            return result
        if any(isinstance(arg, Rope) for arg in args):
            mark_opaque("a filter")
        # Markup (from `escape`, `safe`, …) is a string of its own kind, and has lost the pieces too.
        if isinstance(result, str):
            return _absorbed("".join(result), (*args, *kwargs.values()))
        return result

    return traced


def _sized(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter that gives a length, which of a probe is known not to be 0."""

    @functools.wraps(function)
    def sized(value: Any) -> Any:
        return length_of_probe(value) if isinstance(value, Probe) else function(value)

    return sized


@jinja2.pass_eval_context
def _join(context: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        getter = jinja2.filters.make_attrgetter(context.environment, attribute)
        value = map(getter, value)
    parts = [str(part) for part in value]
    check_join(str(d), parts)
    return join(str(d), parts)


def _finalize(value: Any) -> Any:
    """What is printed of a value: of a list with ropes in it, say, text that counts as the messages'."""
    if isinstance(value, str):
        return value
    text = str(value)
    if not is_known(value) and text:
        mark_opaque("a value of unknown kind")
        return Rope([Piece(text, UNKNOWN)])
    return _absorbed(text, (value,))


def _absorbed(text: str, sources: Iterable[Any]) -> str:
    for source in sources:
        found = _first_slot(source, depth=20)
        if found is not None:
            mark_opaque("a text made of several")
            return Rope([Piece(text, found)])
    return text


def _first_slot(value: Any, depth: int) -> Slot | None:
    """The slot of the first text of the messages inside a value."""
    if isinstance(value, Rope):
        return slot_of(value)
    if isinstance(value, RootedDict | RootedList):
        return value.slot
    if depth:
        for item in inner_values(value):
            if (found := _first_slot(item, depth - 1)) is not None:
                return found
    return None
