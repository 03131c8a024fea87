"""What each verb takes: its arguments, its options, and whether it may be used before AUTH.

This table is the only place where a verb is declared; the parser's limits, the option checks and HELP come from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final, NamedTuple


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
    INCR = 10


class Argument(Enum):
    """The kinds of arguments. Each has its own limit and its own error when it is passed."""

    KEY = "key"
    VALUE = "value"
    CREDENTIAL = "credential"
    PAYLOAD = "payload"


MAX_TTL_SECONDS: Final = 10_000_000_000
"""317 years. Redis adds the time to live to the clock in milliseconds and refuses what overflows 64 bits."""


class Form(Enum):
    """What an option takes that does not take a whole number."""

    FLAG = "nothing"
    OPAQUE = "opaque"
    """What a server has given out: a version, or a lease."""


FLAG: Final = Form.FLAG
OPAQUE: Final = Form.OPAQUE
MAX_DIGITS: Final = 20
"""Of a number in an option, its sign among them."""
MAX_TOKEN: Final = 64
"""Characters of a token. Servers give out shorter ones."""
MAX_LEASE_MS: Final = 3_600_000
"""One hour. For as long can a filler that has died keep others waiting."""

OPTIONS: Final[Mapping[str, range | Form]] = {
    "ttl": FLAG,
    "ver": FLAG,
    "trace": FLAG,
    "keepttl": FLAG,
    "nx": FLAG,
    "xx": FLAG,
    "replica": FLAG,
    "ex": range(1, MAX_TTL_SECONDS + 1),
    "px": range(1, MAX_TTL_SECONDS * 1000 + 1),
    "stale": range(1, MAX_TTL_SECONDS + 1),
    "lease": range(1, MAX_LEASE_MS + 1),
    "early": range(1, 86_400_001),
    "by": range(-(2**63), 2**63),
    "sync": range(9),
    "deadline": range(1, 3_600_001),
}
"""Every option and what it takes: whole numbers of a range, or another form. Some verbs take a token instead."""

EXCLUSIVE: Final = (("ex", "px", "keepttl"), ("nx", "xx", "ver", "lease"))
"""At most one of each group in a request that changes something."""
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {"stale": ("ex", "px"), "early": ("lease",)}
"""What an option needs one of beside it."""


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """One verb: `required` of `arguments` must be there, `options` may be, and so may `deadline` and `trace`."""

    verb: Verb
    arguments: tuple[Argument, ...]
    required: int
    options: Mapping[str, range | Form]
    """By name, with what each takes."""
    before_auth: bool
    example: str
    summary: str
    permission: str = ""
    """What an API key must allow for it (`access.PERMISSIONS`); empty if nothing."""
    option_permissions: Mapping[str, str] = field(default_factory=dict)
    """What it must allow besides for an option."""
    needs_one_of: tuple[str, ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Options of which there may be at most one of each group."""
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options that need one of others beside them."""
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
    tokens: tuple[str, ...] = (),
    permission: str = "",
    option_permissions: Mapping[str, str] | None = None,
    before_auth: bool = False,
    needs_one_of: tuple[str, ...] = (),
    exclusive: tuple[tuple[str, ...], ...] = EXCLUSIVE,
    weight: int = 1,
) -> VerbSpec:
    forms = {name: OPTIONS[name] for name in (*options, "deadline", "trace")} | dict.fromkeys(tokens, OPAQUE)
    groups = [tuple(name for name in group if name in forms) for group in exclusive]
    return VerbSpec(
        verb=verb,
        arguments=arguments,
        required=len(arguments) - optional,
        options=forms,
        before_auth=before_auth,
        example=example,
        summary=summary,
        permission=permission,
        option_permissions=option_permissions or {},
        needs_one_of=needs_one_of,
        exclusive=tuple(group for group in groups if len(group) > 1),
        needed={name: others for name, others in NEEDED.items() if name in forms},
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
        "the value of a key; ttl: and its time left in ms; ver: and its version; replica: may be a little old;"
        " lease=<ms>: if there is none, the right to load it; early=<ms>: so long before its end too",
        options=("ttl", "ver", "replica", "lease", "early"),
        permission="read",
        # Who holds a lease keeps others waiting.
        option_permissions={"lease": "write"},
        exclusive=(),
    ),
    _spec(
        Verb.WRITE,
        (_KEY, _VALUE),
        'write "my_key" "my_value" ex=60',
        "store a value; ex=<s> px=<ms> keepttl; stale=<s>: so long it may be served then;"
        " only nx: if absent, xx: if present, ver=<x>: if unchanged, lease=<x>: if the lease holds;"
        " sync=<n>: answered when n replicas have it, else NOSYNC",
        options=("ex", "px", "keepttl", "stale", "nx", "xx", "sync"),
        tokens=("ver", "lease"),
        permission="write",
    ),
    _spec(
        Verb.DELETE,
        (_KEY,),
        'delete "my_key"',
        "remove a key; ver=<x>: if unchanged; lease=<x>: give the lease back; sync=<n>: as with write",
        options=("sync",),
        tokens=("ver", "lease"),
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
    _spec(
        Verb.INCR,
        (_KEY,),
        'incr "my_counter" by=1 ex=60',
        "add to a counter of 64 bits, which begins at 0; by=<n>: so much instead of 1, also less than 0;"
        " ex=<s> px=<ms>: if it begins",
        options=("by", "ex", "px", "sync"),
        permission="write",
    ),
)

BY_NAME: Final[Mapping[bytes, VerbSpec]] = {spec.verb.name.encode(): spec for spec in SPECS} | {
    alias: next(spec for spec in SPECS if spec.verb is verb)
    for alias, verb in ((b"GET", Verb.READ), (b"SET", Verb.WRITE), (b"DEL", Verb.DELETE))
}
"""Verbs and aliases in upper case."""


class Options(NamedTuple):
    """The options of a request, and what is wrong with them."""

    numbers: dict[str, int]
    """Those that were given: the number, or 1 where it is none."""
    tokens: dict[str, bytes]
    """The values of those that take a token."""
    fault: str
    """Empty if nothing is."""


def check_options(spec: VerbSpec, given: Mapping[str, str | None]) -> Options:
    """The options of a request, held against what its verb takes."""
    numbers: dict[str, int] = {}
    tokens: dict[str, bytes] = {}
    for name, text in given.items():
        if name not in spec.options:
            return Options(numbers, tokens, f"{spec.verb.name} takes no such option")
        form = spec.options[name]
        number = 1
        if form is FLAG:
            if text is not None:
                return Options(numbers, tokens, f"option {name} takes no value")
        elif isinstance(form, range):
            if not _is_number(text, form):
                fault = f"option {name} takes a whole number from {form.start} to {form.stop - 1}"
                return Options(numbers, tokens, fault)
            number = int(text or "")
        elif text is None or len(text) > MAX_TOKEN:
            return Options(numbers, tokens, f"option {name} takes what the server gave out, at most {MAX_TOKEN} bytes")
        else:
            tokens[name] = text.encode("ascii")
        numbers[name] = number
    return Options(numbers, tokens, contradiction(spec, numbers))


def _is_number(text: str | None, allowed: range) -> bool:
    """Whether it is one of these numbers. Python's `int` takes more than the protocol does."""
    if text is None or len(text) > MAX_DIGITS:
        return False
    digits = text[1:] if text[0] == "-" and allowed.start < 0 else text
    return digits.isascii() and digits.isdigit() and int(text) in allowed


def contradiction(spec: VerbSpec, names: Collection[str]) -> str:
    """What is wrong with having these options together; empty if nothing is."""
    if len(names) > 1:
        for group in spec.exclusive:
            if sum([name in names for name in group]) > 1:
                return f"at most one of {' '.join(group)}"
    for name, others in spec.needed.items():
        if name in names and not any(other in names for other in others):
            return f"option {name} needs {' or '.join(others)}"
    if spec.needs_one_of and not any(name in names for name in spec.needs_one_of):
        return f"{spec.verb.name} needs one of {' '.join(spec.needs_one_of)}"
    return ""


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
