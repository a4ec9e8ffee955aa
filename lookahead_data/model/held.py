"""What values of a template hold other values, and templates that would lose the origin of a text.

Text of a message must not pass for the template's own, wherever a template keeps it in between: as the key
of a dict, in a namespace, in a view. Of a value of unknown kind all that is printed counts as message text.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, KeysView, ValuesView
from itertools import chain
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.utils import Namespace

_PLAIN = (str, bool, int, float, complex, type(None), jinja2.Undefined)
_HOLDING = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)


def inner_values(value: Any) -> Iterable[Any]:
    """The values that a value of a known kind holds."""
    if isinstance(value, Namespace):
        value = object.__getattribute__(value, "_Namespace__attrs")
    if isinstance(value, dict):
        return chain(value.keys(), value.values())
    return value if isinstance(value, _HOLDING) else ()


def is_known(value: Any) -> bool:
    """Whether a value holds no more than `inner_values` tells."""
    return isinstance(value, (*_PLAIN, *_HOLDING, dict, Namespace))


def check_source(environment: jinja2.Environment, source: str) -> None:
    """Refuse a template whose text cannot be traced.

    Raises:
        jinja2.TemplateSyntaxError: it is not valid, or escapes what it prints.
    """
    tree = environment.parse(source)
    for node in tree.find_all((nodes.EvalContextModifier, nodes.ScopedEvalContextModifier)):
        raise jinja2.TemplateSyntaxError(
            "{% autoescape %} is not supported: it would escape the text of messages", node.lineno
        )
