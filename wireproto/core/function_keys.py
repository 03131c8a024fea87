"""The keys under which the results of a function are kept: one for each set of arguments, and never the same for two.

Without a key of its own a function's key is its module, its name and its arguments, with the defaults filled in:

    cached:shop.prices.price(article='apple',currency='EUR')

Arguments may be None, bool, int, float, str and bytes, and tuples, lists and dictionaries (with str as keys) of these:
exactly these types, whose literals say all there is to say. For any other there has to be a key. Where the text is
long, its digest stands in the place of the arguments.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from wireproto.core.calls import Key
from wireproto.core.request_encoding import shortened
from wireproto.core.wire import MAX_KEY
from wireproto.errors import ArgumentError, ConfigurationError

LONGEST_PLAIN: Final = 200
"""Characters of a key that is kept readable."""
_NAME_BEFORE_DIGEST: Final = 100
_PLAIN: Final = (type(None), bool, int, float, str, bytes)
_SAFE: Final = "@+"
"""What is not percent-encoded in a key made from a template, besides letters, digits and `_.-~`."""

KeyOf = str | Callable[..., Key]


class FunctionKeys:
    """Makes the keys of one function. `key`: a template such as `user:{user_id}` or `user:{0}`, or a function.

    What a template puts in is percent-encoded, so that no argument can pass for the text around it; where the key is
    too long then, its end is a digest. Raises ConfigurationError for what cannot work.
    """

    def __init__(self, function: Callable[..., Any], key: KeyOf | None) -> None:
        if isinstance(function, staticmethod | classmethod):
            raise ConfigurationError(f"@{type(function).__name__} has to stand above @cached")
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as fault:
            raise ConfigurationError(f"this cannot be cached: {fault}") from None
        self._key = key
        module = getattr(function, "__module__", "__main__")
        self._name = f"{module}.{getattr(function, '__qualname__', '<no name>')}"
        if isinstance(key, str):
            _check_template(key, self._signature)
        elif key is None and ("<" in self._name or module == "__main__"):
            # Two programs, or two calls of the function around it, would share what is not the same.
            raise ConfigurationError(f"{self._name} is no name that is the same everywhere: give key=")

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Key:
        """The key of a call. Raises ArgumentError for arguments that need a key of their own, TypeError as the call."""
        if self._key is not None and not isinstance(self._key, str):
            return self._key(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._key is not None:
            made = _Template().vformat(self._key, bound.args, {**bound.arguments, **bound.kwargs})
            encoded = made.encode("utf-8", "surrogatepass")
            return made if len(encoded) < MAX_KEY else shortened(encoded)
        words = [f"{name}={_literal(value, name)}" for name, value in bound.arguments.items()]
        text = f"cached:{self._name}({','.join(words)})"
        if len(text) <= LONGEST_PLAIN:
            return text
        return f"cached:{self._name[:_NAME_BEFORE_DIGEST]}#{hashlib.sha256(text.encode()).hexdigest()}"


def _literal(value: Any, name: str) -> str:
    """A text that no other value has. Its form is ASCII, so that it does not depend on what a Python can print."""
    kind = type(value)
    if kind in _PLAIN:
        return ascii(value)
    if kind is tuple or kind is list:
        words = ",".join(_literal(part, name) for part in value)
        return f"({words},)" if kind is tuple else f"[{words}]"
    if kind is dict and all(type(part) is str for part in value):
        words = ",".join(f"{part!a}:{_literal(value[part], name)}" for part in sorted(value))
        return f"{{{words}}}"
    raise ArgumentError(f"the argument {name} holds a {kind.__name__}, which makes no key: give cached() a key=")


class _Template(string.Formatter):
    """Puts arguments into a key, percent-encoded."""

    def format_field(self, value: Any, format_spec: str) -> str:
        kind: Any = type(value)
        if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
            raise ArgumentError(f"a {kind.__name__} has no text of its own, and makes no key")
        return quote(format(value, format_spec), safe=_SAFE, errors="surrogatepass")


def _check_template(template: str, signature: inspect.Signature) -> None:
    """Raises ConfigurationError for a field that no call will have."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    takes_any_name = inspect.Parameter.VAR_KEYWORD in kinds
    takes_any_place = inspect.Parameter.VAR_POSITIONAL in kinds
    places = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    try:
        fields = [field for _text, field, _spec, _conversion in string.Formatter().parse(template) if field is not None]
    except ValueError as fault:
        raise ConfigurationError(f"the key {template!r} is no template: {fault}") from None
    for place, field in enumerate(fields):
        name = re.split(r"[.\[]", field)[0] or str(place)
        is_known = (
            takes_any_place or int(name) < places
            if name.isdecimal()
            else takes_any_name or name in signature.parameters
        )
        if not is_known:
            raise ConfigurationError(f"the key {template!r} asks for {{{field}}}, which is no argument")
