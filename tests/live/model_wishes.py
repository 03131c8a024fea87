"""What the model test asks for: requests in which tokens are named by where they come from, until they are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.live.model_requests import Request
from wireproto.core.reply_wire import Reply

KEYS = (b"a", b"with space\r\n\x00\xff", b"k" * 1024)
VALUES = (
    *(b"", b"v", b"OK 1:v\n", b"v" * 70_000),
    *(b"0", b"-1", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"05", b"-0", b"1e3"),
    # What begins like a stored form of this cache.
    *(b"\xff", b"\xff\x00", b"\xff\x00\xffv", b"\xff\x01\x03new", b"\xffE" + b"0" * 80, b"\xffV" + b"0" * 30),
)
MADE_UP = ("x", "0" * 16, "0" * 14, "q" * 16, "z" * 64, "........", "a.b-c+d_", "-1")
SHORT, LONG = 40, 3_600_000
"""Times in ms: one that runs out within the test, and one that does not."""
BY = (1, 41, -1, 0, 2**62, 2**63 - 1, -(2**63))

Options = dict[str, int | str | None]


@dataclass(frozen=True)
class Wish:
    """A request but for its tokens: `source` tells which to take."""

    request: Request
    source: str = ""

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """How hypothesis shows it: in one line."""
        printer.text(f"<{self.request} from {self.source}>")


@dataclass
class Tokens:
    """The versions and leases that were told for each key, the newest last."""

    told: dict[tuple[bytes, str], list[str]] = field(default_factory=dict)
    latest: tuple[bytes, str, str] | None = None
    """What was told last: for which key, a version or a lease, and the token."""

    def learn(self, key: bytes, reply: Reply) -> None:
        """Remember those of a reply."""
        for name in ("ver", "lease"):
            if token := reply.options.get(name):
                self.told.setdefault((key, name), []).append(token)
                self.latest = (key, name, token)

    def using_latest(self, wish: Wish) -> list[Request]:
        """The request, for the key for which something was told last, under that condition; none if nothing was."""
        if self.latest is None:
            return []
        key, name, token = self.latest
        return [replace(wish.request, key=key, options={**wish.request.options, name: token})]

    def request(self, wish: Wish) -> Request:
        """The request that is wished for, with a token that was told or is made up.

        A WRITE that wants the newest has no condition where there is none.
        """
        request = wish.request
        options = dict(request.options)
        for name in ("ver", "lease"):
            if options.get(name) != "":
                continue
            if request.verb == "WRITE" and wish.source == "newest" and (request.key, name) not in self.told:
                del options[name]
            else:
                options[name] = self._token(request.key, name, wish.source)
        return Request(request.verb, request.key, request.value, options)

    def _token(self, key: bytes, name: str, source: str) -> str:
        own = self.told.get((key, name), [])
        if source == "newest" and own:
            return own[-1]
        if source == "older" and len(own) > 1:
            return own[-2]
        if source == "foreign":
            other = [tokens[-1] for place, tokens in self.told.items() if place != (key, name)]
            if other:
                return other[-1]
        return source if source in MADE_UP else MADE_UP[0]


SOURCES = st.sampled_from(("newest",) * 5 + ("older", "foreign"))
TIMES: st.SearchStrategy[Options] = st.sampled_from(
    ({}, *[{"px": SHORT}] * 3, {"px": LONG}, {"ex": LONG // 1000}, {"px": 3 * SHORT}, {"keepttl": None})
)
FLAGS: st.SearchStrategy[Options] = st.sampled_from(({}, {}, {}, {}, {"trace": None}, {"deadline": 60_000}))
"""Options that are to change nothing, but take other ways through the server."""


@st.composite
def wishes(draw: st.DrawFn, key: bytes) -> Wish:
    """Any request for a key."""
    verb = draw(st.sampled_from(("READ",) * 5 + ("WRITE",) * 4 + ("DELETE",) * 2 + ("INCR", "INCR", "TOUCH")))
    options, value = _OPTIONS[verb](draw), None
    if verb == "WRITE":
        value = draw(st.one_of(st.sampled_from(VALUES), st.binary(max_size=20)))
    source = draw(st.one_of(SOURCES, st.sampled_from(MADE_UP)) if draw(st.integers(0, 9)) == 0 else SOURCES)
    return Wish(Request(verb, key, value, options | draw(FLAGS)), source)


def _read_options(draw: st.DrawFn) -> Options:
    options: Options = {name: None for name in ("ttl", "ver", "replica") if draw(st.integers(0, 3)) == 0}
    if draw(st.booleans()):
        options["lease"] = draw(st.sampled_from((SHORT, 3 * SHORT, LONG)))
        if draw(st.integers(0, 2)) == 0:
            options["early"] = draw(st.sampled_from((1, SHORT // 2, LONG + 1, 86_400_000)))
    return options


def _life(draw: st.DrawFn) -> Options:
    options: Options = dict(draw(TIMES))
    if ("ex" in options or "px" in options) and draw(st.integers(0, 2)):
        options["stale"] = draw(st.sampled_from((1, 3600)))
    return options


def _write_options(draw: st.DrawFn) -> Options:
    options = _life(draw)
    condition = draw(st.sampled_from(("", "", "nx", "xx", "ver", "ver", "lease", "lease", "lease")))
    if condition:
        options[condition] = "" if condition in ("ver", "lease") else None
    return options | draw(_SYNC)


def _delete_options(draw: st.DrawFn) -> Options:
    condition = draw(st.sampled_from(("", "", "ver", "lease")))
    return ({condition: ""} if condition else {}) | draw(_SYNC)


def _touch_options(draw: st.DrawFn) -> Options:
    return draw(st.sampled_from(({"px": SHORT}, {"px": LONG}, {"ex": 1})))


def _incr_options(draw: st.DrawFn) -> Options:
    options: Options = dict(draw(st.sampled_from(({}, {"px": SHORT}, {"px": LONG}, {"ex": 1}))))
    if draw(st.booleans()):
        options["by"] = draw(st.sampled_from(BY))
    return options | draw(_SYNC)


_SYNC: st.SearchStrategy[Options] = st.sampled_from(({}, {}, {}, {"sync": 0}))
_OPTIONS = {
    "READ": _read_options,
    "WRITE": _write_options,
    "DELETE": _delete_options,
    "TOUCH": _touch_options,
    "INCR": _incr_options,
}


@st.composite
def uses(draw: st.DrawFn) -> Wish:
    """A change for which there may be a version or a lease."""
    verb = draw(st.sampled_from(("WRITE", "WRITE", "WRITE", "DELETE")))
    value = draw(st.sampled_from(VALUES)) if verb == "WRITE" else None
    options = _life(draw) if verb == "WRITE" else {}
    return Wish(Request(verb, b"", value, options | draw(FLAGS)), "latest")


@st.composite
def packets(draw: st.DrawFn) -> list[Wish]:
    """Requests that are sent together, most of them for one key."""
    main = draw(st.sampled_from(KEYS))
    keys = st.sampled_from((main,) * 6 + KEYS)
    return draw(st.lists(keys.flatmap(wishes), min_size=1, max_size=6))
