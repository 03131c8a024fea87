"""What each verb takes: its arguments, its options, and whether it may be used before AUTH.

This table is the only place where a verb is declared; the parser's limits, the option checks and HELP come from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Verb(IntEnum):
    """The verbs, numbered for cheap comparison."""

    AUTH = 0
    READ = 1
    WRITE = 2
    DELETE = 3
    TOUCH = 4
    PING = 5
    WHERE = 6
    STATS = 7
    HELP = 8
    QUIT = 9


class Argument(Enum):
    """The kinds of arguments. Each has its own limit and its own error when it is passed."""

    KEY = "key"
    VALUE = "value"
    CREDENTIAL = "credential"
    PAYLOAD = "payload"


MAX_TTL_SECONDS: Final = 10_000_000_000
"""317 years. Redis adds the time to live to the clock in milliseconds and refuses what overflows 64 bits."""

FLAG: Final[range] = range(1, 1)
"""An option without a value."""

OPTIONS: Final[Mapping[str, range]] = {
    "ttl": FLAG,
    "trace": FLAG,
    "keepttl": FLAG,
    "nx": FLAG,
    "xx": FLAG,
    "replica": FLAG,
    "ex": range(1, MAX_TTL_SECONDS + 1),
    "px": range(1, MAX_TTL_SECONDS * 1000 + 1),
    "sync": range(9),
    "deadline": range(1, 3_600_001),
}
"""Every option and the whole numbers it takes."""

EXCLUSIVE: Final = (("ex", "px", "keepttl"), ("nx", "xx"))
"""At most one of each group."""


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """One verb: `required` of `arguments` must be there, `options` may be, and so may `deadline` and `trace`."""

    verb: Verb
    arguments: tuple[Argument, ...]
    required: int
    options: frozenset[str]
    before_auth: bool
    example: str
    summary: str
    permission: str = ""
    """What an API key must allow for it (`access.PERMISSIONS`); empty if nothing."""
    needs_one_of: tuple[str, ...] = ()
    weight: int = 1
    """What it costs the server's own CPU, in units of the cheapest verb (about 3 us)."""


HEAVY: Final = 32
"""The weight of AUTH (40-100 us for the signature), STATS and HELP (long replies to a short request)."""


def _spec(
    verb: Verb,
    arguments: tuple[Argument, ...],
    example: str,
    summary: str,
    *,
    optional: int = 0,
    options: tuple[str, ...] = (),
    permission: str = "",
    before_auth: bool = False,
    needs_one_of: tuple[str, ...] = (),
    weight: int = 1,
) -> VerbSpec:
    return VerbSpec(
        verb=verb,
        arguments=arguments,
        required=len(arguments) - optional,
        options=frozenset((*options, "deadline", "trace")),
        before_auth=before_auth,
        example=example,
        summary=summary,
        permission=permission,
        needs_one_of=needs_one_of,
        weight=weight,
    )


_KEY, _VALUE = Argument.KEY, Argument.VALUE

SPECS: Final[tuple[VerbSpec, ...]] = (
    _spec(
        Verb.AUTH,
        (Argument.CREDENTIAL,),
        'auth "wp_..."',
        "log in with an API key or a bearer token",
        before_auth=True,
        weight=HEAVY,
    ),
    _spec(
        Verb.READ,
        (_KEY,),
        'read "my_key" ttl',
        "the value of a key; ttl: and its time left in ms; replica: may be a little old",
        options=("ttl", "replica"),
        permission="read",
    ),
    _spec(
        Verb.WRITE,
        (_KEY, _VALUE),
        'write "my_key" "my_value" ex=60',
        "store a value; ex=<s> px=<ms> keepttl; nx: only if absent; xx: only if present;"
        " sync=<n>: answered when n replicas have it, else NOSYNC",
        options=("ex", "px", "keepttl", "nx", "xx", "sync"),
        permission="write",
    ),
    _spec(
        Verb.DELETE,
        (_KEY,),
        'delete "my_key"',
        "remove a key; sync=<n>: as with write",
        options=("sync",),
        permission="delete",
    ),
    _spec(
        Verb.TOUCH,
        (_KEY,),
        'touch "my_key" ex=60',
        "a new time to live: ex=<s> or px=<ms>",
        options=("ex", "px"),
        permission="write",
        needs_one_of=("ex", "px"),
    ),
    _spec(Verb.PING, (Argument.PAYLOAD,), 'ping "hello"', "is the server there", optional=1, before_auth=True),
    _spec(Verb.WHERE, (_KEY,), 'where "my_key"', "the node that serves a key", permission="read"),
    _spec(Verb.STATS, (), "stats", "counters, as JSON", permission="stats", weight=HEAVY),
    _spec(Verb.HELP, (), "help", "this text", before_auth=True, weight=HEAVY),
    _spec(Verb.QUIT, (), "quit", "answer everything before it, then close", before_auth=True),
)

BY_NAME: Final[Mapping[bytes, VerbSpec]] = {spec.verb.name.encode(): spec for spec in SPECS} | {
    alias: next(spec for spec in SPECS if spec.verb is verb)
    for alias, verb in ((b"GET", Verb.READ), (b"SET", Verb.WRITE), (b"DEL", Verb.DELETE))
}
"""Verbs and aliases in upper case."""


def check_options(spec: VerbSpec, given: Mapping[str, str | None]) -> tuple[dict[str, int], str]:
    """The options of a request as numbers (1 for a flag), and what is wrong with them ("" if nothing)."""
    options: dict[str, int] = {}
    for name, text in given.items():
        if name not in spec.options:
            return options, f"{spec.verb.name} takes no such option"
        allowed = OPTIONS[name]
        if allowed == FLAG:
            if text is not None:
                return options, f"option {name} takes no value"
            options[name] = 1
        else:
            if text is None or not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) not in allowed:
                return options, f"option {name} takes a whole number from {allowed.start} to {allowed.stop - 1}"
            options[name] = int(text)
    for group in EXCLUSIVE:
        if len(options.keys() & set(group)) > 1:
            return options, f"at most one of {' '.join(group)}"
    if spec.needs_one_of and not options.keys() & set(spec.needs_one_of):
        return options, f"{spec.verb.name} needs one of {' '.join(spec.needs_one_of)}"
    return options, ""


def help_text() -> str:
    """What HELP answers: each verb with an example to type."""
    width = max(len(spec.example) for spec in SPECS)
    lines = [f"  {spec.example:<{width}}  {spec.summary}" for spec in SPECS]
    return "\n".join(
        (
            "An argument is length:bytes, or quoted for hands. Options come after the arguments.",
            "A #tag before the verb comes back on the reply, which may then overtake others.",
            *lines,
            f"  {'any verb':<{width}}  deadline=<ms>: give up unless sent in time; trace: where the time went",
        )
    )
