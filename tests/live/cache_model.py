"""A plain model of the verbs of docs/PROTOCOL.md, section 3: what may a server answer, given what it has answered?

It is pure: a request, its reply and the times when the one was sent and the other heard are arguments, so the clock
is anybody's. When in between a request took effect is not known, and neither is to the instant when a time to live
ends. So the model holds for each key all states that it may be in. Each reply leaves those that explain it, and a reply
that none explains is wrong. It is the same where the page leaves two answers open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from tests.live.cache_states import ABSENT, COUNTS, FOREVER, NEVER, Held, Phase, Span, is_count
from tests.live.model_requests import Request
from wireproto.core.reply_wire import Reply

ROUNDING: Final = 0.002
"""Seconds by which a time that is told in whole ms may differ from the true one."""
MOST_STATES: Final = 100
LONGEST_TOKEN: Final = 64
_TRACE: Final = {"node", "role", "queue_us", "node_us"}


_ENDING: Final = ("WRITE", "DELETE", "INCR")


class DisagreementError(AssertionError):
    """The server has answered what the page does not allow."""


class CacheModel:
    """The keys of one namespace. `slack`: seconds by which other clocks may be off, or be read too early or late.

    `tokens` are the versions and leases that have been given out, perhaps shared with the models of other namespaces.
    """

    def __init__(self, *, encrypted: bool = False, slack: float = 0.0, tokens: set[str] | None = None) -> None:
        self.tokens: set[str] = set() if tokens is None else tokens
        self._encrypted = encrypted
        self._slack = slack
        self._keys: dict[bytes, frozenset[Held]] = {}

    def states(self, key: bytes) -> frozenset[Held]:
        """What a key may hold."""
        return self._keys.get(key, frozenset((ABSENT,)))

    def take(self, request: Request, reply: Reply, sent: float, heard: float, behind: Sequence[Request] = ()) -> None:
        """Learn what a request was answered that was sent then and heard then; those of a key in the order sent.

        `behind`: those for the same key that were sent behind it before it was answered.
        Raises DisagreementError for an answer that the page does not allow.
        """
        moment = Span(sent - self._slack, heard + self._slack)
        exchange = _Exchange(request, reply, moment, self.tokens, self._encrypted, behind)
        before = self.states(request.key)
        settled = {state for held in before for state in held.at(moment)}
        after = frozenset(state.at_any_moment() for held in settled for state in exchange.explanations(held))
        if not after or not exchange.has_its_trace:
            raise DisagreementError(_complaint(request, reply, settled, sent, heard))
        assert len(after) <= MOST_STATES, "the model has lost its view"
        self._keys[request.key] = after
        self.tokens |= exchange.told_tokens()


class _Exchange:
    """One request and its reply: which states of its key before it explain the reply, and what becomes of them."""

    def __init__(
        self,
        request: Request,
        reply: Reply,
        moment: Span,
        tokens: set[str],
        encrypted: bool,
        behind: Sequence[Request],
    ) -> None:
        self._request = request
        self._wanted = request.options
        self._reply = reply
        self._moment = moment
        self._tokens = tokens
        self._encrypted = encrypted
        self._behind = behind
        self._told = dict(reply.options)
        self.has_its_trace = "trace" not in self._wanted or reply.status == "ERR" or self._told.keys() >= _TRACE
        if "trace" in self._wanted:
            self._told = {name: value for name, value in self._told.items() if name not in _TRACE}

    def explanations(self, held: Held) -> Iterator[Held]:
        """What the key holds afterwards, if it held this before; nothing if the reply does not fit."""
        return {
            "READ": self._read,
            "WRITE": self._write,
            "DELETE": self._delete,
            "TOUCH": self._touch,
            "INCR": self._incr,
        }[self._request.verb](held)

    def told_tokens(self) -> set[str]:
        """The version and the lease in the reply."""
        return {token for name in ("ver", "lease") if (token := self._told.get(name))}

    def _is(self, status: str, value: bytes | None = None, *names: str) -> bool:
        """Whether the reply is this, with exactly these options."""
        reply = self._reply
        arguments = () if value is None else (value,)
        return (reply.status, reply.arguments) == (status, arguments) and self._told.keys() == set(names)

    def _new_token(self, name: str) -> str | None:
        """The token in the reply, if it is one that was never told before."""
        token = self._told.get(name)
        return token if token and token not in self._tokens and len(token) <= LONGEST_TOKEN else None

    def _end_told(self, name: str) -> Span:
        """The end of the time that the reply tells."""
        text = self._told[name] or ""
        end = self._moment.after(int(text)) if text.isdigit() else Span(FOREVER, -FOREVER)
        return Span(end.earliest - ROUNDING, end.latest + ROUNDING)

    # -- READ

    def _read(self, held: Held) -> Iterator[Held]:
        if held.is_fresh:
            may_be_early, must_be_early = self._early(held)
            if not must_be_early or held.is_leased:
                yield from self._read_value(held, leased=False)
            if may_be_early and not held.is_leased:
                yield from self._read_value(held, leased=True)
        elif "lease" not in self._wanted:
            if self._is("MISS"):
                yield held
        elif held.phase is Phase.STALE:
            yield from self._lease(held, "OK", held.value, "stale")
        else:
            yield from self._lease(held, "MISS", None)

    def _early(self, held: Held) -> tuple[bool, bool]:
        """Whether the value may be, and whether it must be, so near to its end that a lease is given."""
        if "early" not in self._wanted:
            return False, False
        early, end, now = self._request.number("early") / 1000, held.fresh_until, self._moment
        may = end.earliest - now.latest < early + ROUNDING
        return may, may and end.latest - now.earliest < early - ROUNDING

    def _read_value(self, held: Held, *, leased: bool) -> Iterator[Held]:
        expires = held.fresh_until.latest < FOREVER
        names = {"ttl": "ttl" in self._wanted and expires, "ver": "ver" in self._wanted, "lease": leased}
        if not self._is("OK", held.value, *(name for name, there in names.items() if there)):
            return
        if names["ttl"]:
            end = held.fresh_until.within(self._end_told("ttl"))
            if end is None:
                return
            held = replace(held, fresh_until=end)
        if names["ver"]:
            version = held.version if held.version == self._told["ver"] else self._new_token("ver")
            if version is None or held.version not in (None, version):
                return
            held = replace(held, version=version)
        if leased:
            yield from self._with_new_lease(held)
        else:
            yield held

    def _lease(self, held: Held, status: str, value: bytes | None, *names: str) -> Iterator[Held]:
        """A READ that finds nothing fresh: somebody has the lease already, or it is given."""
        if not held.is_leased:
            if self._is(status, value, *names, "lease"):
                yield from self._with_new_lease(held)
            yield from self._overtaken(held, status, value, *names)
        elif self._is(status, value, *names, "held"):
            end = held.lease_until.within(self._end_told("held"))
            if end is not None:
                yield replace(held, lease_until=end)

    def _overtaken(self, held: Held, status: str, value: bytes | None, *names: str) -> Iterator[Held]:
        """Requests for the key are in flight behind it: one may have the lease already, or have ended what is given."""
        if any(other.verb in _ENDING for other in self._behind) and self._is(status, value, *names, "lease"):
            if self._new_token("lease"):
                yield held
        elif self._is(status, value, *names, "held"):
            leases = [other.number("lease") for other in self._behind if _wants_lease(other)]
            if leases and int(self._told["held"] or "") <= max(leases):
                yield held

    def _with_new_lease(self, held: Held) -> Iterator[Held]:
        token = self._new_token("lease")
        if token is not None:
            yield replace(held, lease=token, lease_until=self._moment.after(self._request.number("lease")))

    # -- what changes something

    def _write(self, held: Held) -> Iterator[Held]:
        if not self._condition_holds(held):
            if self._is("CONFLICT"):
                yield held
            return
        version = None
        if "ver" in self._wanted:
            version = self._new_token("ver")
            if version is None or not self._is("OK", None, "ver"):
                return
        elif not self._is("OK"):
            return
        value = self._request.value
        assert value is not None
        end, stale = self._life(held)
        is_counter = not self._encrypted and is_count(value)
        yield Held(value, end, stale, is_counter, version)

    def _condition_holds(self, held: Held) -> bool:
        wanted = self._wanted
        if "ver" in wanted:
            return held.is_fresh and held.version == wanted["ver"]
        if "lease" in wanted:
            return held.is_leased and held.lease == wanted["lease"]
        return not (("nx" in wanted and held.is_fresh) or ("xx" in wanted and not held.is_fresh))

    def _life(self, held: Held) -> tuple[Span, float]:
        """Until when what is written is fresh, and for how many seconds it may then be stale."""
        if "keepttl" in self._wanted:
            return (held.fresh_until, held.stale) if held.is_fresh else (NEVER, 0.0)
        stale = float(self._request.number("stale")) if "stale" in self._wanted else 0.0
        return self._end_wanted(), stale

    def _end_wanted(self) -> Span:
        time_to_live = self._request.time_to_live
        return NEVER if time_to_live is None else self._moment.after(time_to_live)

    def _delete(self, held: Held) -> Iterator[Held]:
        if "lease" in self._wanted:
            holds = self._condition_holds(held)
            if self._is("OK" if holds else "CONFLICT"):
                yield held.without_lease() if holds else held
        elif not held.is_fresh:
            if self._is("MISS"):
                yield held if "ver" in self._wanted else ABSENT
            elif "ver" not in self._wanted and (held.is_leased or held.phase is Phase.STALE) and self._is("OK"):
                yield ABSENT
        elif "ver" in self._wanted and not self._condition_holds(held):
            if self._is("CONFLICT"):
                yield held
        elif self._is("OK"):
            yield ABSENT

    def _touch(self, held: Held) -> Iterator[Held]:
        if self._is("OK" if held.is_fresh else "MISS"):
            yield replace(held, fresh_until=self._end_wanted()) if held.is_fresh else held

    def _incr(self, held: Held) -> Iterator[Held]:
        by = self._request.number("by") if "by" in self._wanted else 1
        count = by
        if held.is_fresh:
            assert held.value is not None
            count = int(held.value) + by if held.is_counter else COUNTS.stop
        if count not in COUNTS:
            if self._reply.code == "TYPE":
                yield held
            return
        value = b"%d" % count
        if self._is("OK", value):
            end = held.fresh_until if held.is_fresh else self._end_wanted()
            yield Held(value, end, is_counter=True)


def _wants_lease(request: Request) -> bool:
    return request.verb == "READ" and "lease" in request.options


def shown(reply: Reply) -> str:
    """A reply for people."""
    words = [reply.status, reply.code, *(repr(argument[:40]) for argument in reply.arguments)]
    words += [name if value is None else f"{name}={value}" for name, value in reply.options.items()]
    return " ".join(filter(None, words))


def _complaint(request: Request, reply: Reply, states: set[Held], sent: float, heard: float) -> str:
    lines = "\n".join(f"  {state}" for state in states)
    return f"{sent:.4f} .. {heard:.4f}: {request} was answered {shown(reply)}, when the key held one of\n{lines}"
