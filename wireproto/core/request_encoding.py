"""A request as a client writes it.

What the grammar or the limits forbid is refused here, before anything is sent: the caller learns it without a round
trip. One thing is left to the server: how large a value may be is its own setting.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from wireproto.core.verbs import FLAG, MAX_TOKEN, SPECS, Argument, Verb, VerbSpec, contradiction
from wireproto.core.wire import MAX_CREDENTIAL, MAX_KEY, MAX_LENGTH_DIGITS
from wireproto.errors import ArgumentError

_DIGEST: Final = 64
"""Bytes of a digest, in hexadecimal."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._+-]+")
NO_OPTIONS: Final[Mapping[str, int]] = MappingProxyType({})

_BY_VERB: Final[Mapping[int, VerbSpec]] = {spec.verb: spec for spec in SPECS}
_NAMES: Final[Mapping[int, bytes]] = {spec.verb: spec.verb.name.encode("ascii") for spec in SPECS}
_KEY_HEADS: Final[Mapping[int, list[bytes]]] = {
    verb: [b"%b %d:" % (_NAMES[verb], length) for length in range(MAX_KEY + 1)]
    for verb in (Verb.READ, Verb.DELETE, Verb.WHERE)
}
"""What stands before a key, by the key's length: to look it up takes a fifth of the time that it takes to write it."""
_LONGEST: Final[Mapping[Argument, int]] = {
    Argument.KEY: MAX_KEY,
    Argument.VALUE: 10**MAX_LENGTH_DIGITS - 1,
    Argument.CREDENTIAL: MAX_CREDENTIAL,
    Argument.PAYLOAD: MAX_CREDENTIAL,
}


def key_bytes(key: object) -> bytes:
    """A key as it travels: text as UTF-8. Raises ArgumentError for what is no key, is empty or is too long."""
    if isinstance(key, str):
        try:
            key = key.encode()
        except UnicodeEncodeError:
            raise ArgumentError("the key is text that cannot be written as UTF-8") from None
    elif not isinstance(key, bytes):
        raise ArgumentError(f"a key is str or bytes, not {type(key).__name__}")
    if not 0 < len(key) <= MAX_KEY:
        raise ArgumentError("the key is empty" if not key else f"a key has at most {MAX_KEY} bytes")
    return key


def shortened(key: bytes, longest: int = MAX_KEY) -> bytes:
    """A key of `longest` bytes at most, for one of any length; they are more than 64.

    What is as long as that, or longer, keeps its beginning and has a digest for the rest. A shorter key is never
    mistaken for one of those, as it is shorter.
    """
    if len(key) < longest:
        return key
    return key[: longest - _DIGEST] + hashlib.sha256(key).hexdigest().encode()


def encode_key_request(verb: int, key: object) -> bytes:
    """A request of a verb that takes a key alone, without options: the most frequent ones. Raises ArgumentError."""
    if type(key) is not bytes or not 0 < len(key) <= MAX_KEY:
        key = key_bytes(key)
    return _KEY_HEADS[verb][len(key)] + key + b"\n"


def encode_key_requests(verb: int, keys: list[Any]) -> list[Any]:
    """The request of each key, or in its place the ArgumentError that says why there is none."""
    heads, longest = _KEY_HEADS[verb], MAX_KEY
    requests: list[Any] = []
    for key in keys:
        if type(key) is not bytes or not 0 < len(key) <= longest:
            try:
                key = key_bytes(key)
            except ArgumentError as error:
                requests.append(error)
                continue
        requests.append(heads[len(key)] + key + b"\n")
    return requests


def with_options(verb: Verb, requests: list[Any], options: Mapping[str, Any]) -> list[Any]:
    """What `encode_key_requests` gives, with the same options for all. Raises ArgumentError."""
    end = b" ".join((b"", *_option_words(_BY_VERB[verb], options))) + b"\n"
    return [request[:-1] + end if isinstance(request, bytes) else request for request in requests]


def encode_request(verb: Verb, arguments: Sequence[bytes], options: Mapping[str, Any] = NO_OPTIONS) -> bytes:
    """A request without its tag.

    Options by name are whole numbers, 1 for one that takes no value, and text for a token. Raises ArgumentError.
    """
    spec = _BY_VERB[verb]
    if not spec.required <= len(arguments) <= len(spec.arguments):
        raise ArgumentError(f"{verb.name} takes {spec.required} to {len(spec.arguments)} arguments")
    pieces = [_NAMES[verb]]
    for kind, argument in zip(spec.arguments, arguments, strict=False):
        length = len(argument)
        if length > _LONGEST[kind]:
            raise ArgumentError(f"a {kind.value} has at most {_LONGEST[kind]} bytes")
        if not length and kind in (Argument.KEY, Argument.CREDENTIAL):
            raise ArgumentError(f"the {kind.value} is empty")
        pieces.append(b"%d:%b" % (length, argument))
    if options or spec.needs_one_of:
        pieces += _option_words(spec, options)
    return b" ".join(pieces) + b"\n"


def check_options(verb: Verb, options: Mapping[str, Any]) -> None:
    """Raises ArgumentError for options that `encode_request` would refuse."""
    _option_words(_BY_VERB[verb], options)


def _option_words(spec: VerbSpec, options: Mapping[str, Any]) -> list[bytes]:
    """The options as words. Raises ArgumentError, also for what is no number: its type is not checked before."""
    words = []
    for name, value in options.items():
        if name not in spec.options:
            raise ArgumentError(f"{spec.verb.name} takes no option {name}")
        form = spec.options[name]
        if form is FLAG:
            words.append(name.encode("ascii"))
        elif isinstance(form, range):
            if isinstance(value, bool) or not isinstance(value, int) or value not in form:
                raise ArgumentError(f"{name} is a whole number from {form.start} to {form.stop - 1}")
            words.append(b"%b=%d" % (name.encode("ascii"), value))
        elif not isinstance(value, str) or len(value) > MAX_TOKEN or not _TOKEN.fullmatch(value):
            raise ArgumentError(f"{name} is text that the server gave out")
        else:
            words.append(b"%b=%b" % (name.encode("ascii"), value.encode("ascii")))
    if fault := contradiction(spec, options):
        raise ArgumentError(fault)
    return words
