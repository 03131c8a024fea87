"""A client's side of one connection: log in, renew, and give every reply to whoever asked.

    start ──> AUTH ──> READY: submit ──> data_to_send         receive ──> (waiter, reply) ...
                         │                                       │
                         └── RETIRED: no more is submitted       └── CLOSED: `failure` says why; `lose` what is left

A waiter is whatever the shell wants to find again. It leaves the session only with its own reply or by `lose`, whether
or not anybody still waits: a caller who gave up leaves his place, and the reply that comes for it goes to no one else.

Every request carries a tag, a number that this connection never uses again. So a reply is known by what it says, not
by when it comes: one too many or too few is noticed, and ends the conversation instead of shifting the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, Generic, TypeVar

from wireproto.core.credentials import RENEW_AT, Credentials
from wireproto.core.reply_wire import ERR, OK, Reply, ReplyParser
from wireproto.core.request_encoding import encode_request
from wireproto.core.verbs import Verb
from wireproto.errors import (
    AuthError,
    BusyError,
    DeadlineError,
    ExpiredError,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    ProtocolError,
    RequestError,
)

W = TypeVar("W")

_RETIRING: Final = frozenset({"AUTH", "EXPIRED", "CLOSING"})
"""Errors after which this connection can do nothing for anybody, while a new one may."""
_UNASKED: Final = -1
_NOBODY: Final = (None, _UNASKED)


class SessionState(Enum):
    """Where a conversation stands."""

    FRESH = "fresh"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    RETIRED = "retired"
    CLOSED = "closed"


class ClientSession(Generic[W]):
    """One connection's conversation. Times are seconds of a monotonic clock."""

    def __init__(self, credentials: Credentials) -> None:
        self.state = SessionState.FRESH
        self.failure: RequestError | None = None
        """Why the conversation ended, once it has."""
        self.in_flight = 0
        """How many requests are not answered yet."""
        self.in_flight_bytes = 0
        """Bytes of the requests that are not answered yet."""
        self._credentials = credentials
        self._parser = ReplyParser()
        self._waiting: dict[bytes, tuple[W | None, int]] = {}
        """By tag: who waits, and how many bytes he sent; nobody waits for an AUTH. In the order sent."""
        self._tags = 0
        self.output: list[bytes] = []
        """What is to be written; `data_to_send` takes it."""
        self._unsent = 0
        """How many of the youngest requests are still in `output`."""
        self._shown: bytes | None = None
        """The credential of the AUTH under way."""
        self._renew_at = float("inf")
        self._has_heard = False

    # -- what the shell asks

    @property
    def is_ready(self) -> bool:
        """Whether requests may be submitted."""
        return self.state is SessionState.READY

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed: it has failed, or is retired and owed nothing."""
        return self.state is SessionState.CLOSED or (self.state is SessionState.RETIRED and not self.in_flight)

    def waiters(self) -> list[W]:
        """Those whose requests are not answered yet."""
        return [waiter for waiter, _size in self._waiting.values() if waiter is not None]

    def data_to_send(self) -> bytes:
        """What is to be written now. It counts as sent from here on."""
        data = b"".join(self.output)
        self.output.clear()
        self._unsent = 0
        return data

    # -- requests

    def start(self, now: float) -> None:
        """Log in, if there is anything to log in with. `state` is READY when that is done."""
        credential = self._credentials.best(now)
        if credential is None:
            self.state = SessionState.READY
        else:
            self.state = SessionState.AUTHENTICATING
            self._show(credential)

    def _show(self, credential: bytes) -> None:
        self._shown = credential
        self._tags += 1
        self.in_flight += 1
        tag = b"%d" % self._tags
        self._waiting[tag] = (None, 0)
        self.output += (b"#%b " % tag, encode_request(Verb.AUTH, (credential,)))

    def submit(self, request: bytes, waiter: W, now: float) -> None:
        """Queue a request (`request_encoding`). The token is renewed before it runs out, in front of the request.

        It counts first. So whoever is interrupted in between leaves a conversation that says that it owes something,
        and never one whose next reply the next caller could take for his own.
        """
        if now >= self._renew_at:
            self._renew(now)
        size = len(request)
        self._tags += 1
        self.in_flight += 1
        self.in_flight_bytes += size
        tag = b"%d" % self._tags
        self._waiting[tag] = (waiter, size)
        self.output += (b"#%b " % tag, request)
        self._unsent += 1

    def submit_all(self, requests: Sequence[bytes], waiters: Iterable[W], now: float) -> None:
        """Queue many, each with its waiter, as `submit` does with one: the loop is here for its speed."""
        if now >= self._renew_at:
            self._renew(now)
        number, waiting, output = self._tags, self._waiting, self.output
        self._tags += len(requests)
        self.in_flight += len(requests)
        self.in_flight_bytes += sum(map(len, requests))
        for request, waiter in zip(requests, waiters, strict=True):
            number += 1
            tag = b"%d" % number
            waiting[tag] = (waiter, len(request))
            output += (b"#%b " % tag, request)
        self._unsent += len(requests)

    def _renew(self, now: float) -> None:
        self._renew_at = float("inf")
        credential = self._credentials.best(now)
        if credential is not None:
            self._show(credential)

    # -- replies

    def receive(self, data: bytes, now: float) -> list[tuple[W, Reply]]:
        """The replies in `data` with their waiters. What cannot be understood ends the conversation: see `is_over`."""
        if self.state is SessionState.CLOSED:
            return []
        replies: list[Reply] = []
        answers: list[tuple[W, Reply]] = []
        fault: RequestError | None = None
        try:
            self._parser.receive(data, replies)
        except ProtocolError as error:
            fault = error
        answered, pop = 0, self._waiting.pop  # bytes; both counts fall at the end, see `submit`
        try:
            for reply in replies:
                waiter, size = pop(reply.tag, _NOBODY)
                if waiter is None:
                    self._take_special(reply, size, now)
                    continue
                answered += size
                answers.append((waiter, reply))
                if reply.status == ERR:
                    self._note_error(reply.code)
        except RequestError as error:
            fault = error
        self.in_flight -= len(answers)
        self.in_flight_bytes -= answered
        if answers:
            self._has_heard = True
        if fault is not None:
            self.close(fault)
        return answers

    def _take_special(self, reply: Reply, size: int, now: float) -> None:
        """Take the reply to AUTH, or one that nobody asked for. Raises the RequestError that ends the conversation."""
        if size == _UNASKED:
            if reply.status == ERR and not reply.tag:
                # An error without a tag is about the connection.
                raise reply.error()
            raise ProtocolError("the server answered something that was not asked")
        self.in_flight -= 1
        self._has_heard = True
        self._take_login(reply, now)

    def _note_error(self, code: str) -> None:
        if code == "PROTO":
            raise ProtocolError("the server cannot trust this connection any more")
        if code in _RETIRING and self._credentials.api_key is not None and self.state is SessionState.READY:
            self.state = SessionState.RETIRED
            if code != "CLOSING":
                self._credentials.forget()

    # -- logging in

    def _take_login(self, reply: Reply, now: float) -> None:
        """Take the reply to AUTH. Raises the RequestError that ends the conversation."""
        shown, self._shown = self._shown, None
        assert shown is not None
        if reply.status == OK:
            self._logged_in(reply, shown, now)
            return
        if reply.status != ERR:
            raise ProtocolError("AUTH was answered with neither OK nor an error")
        error = reply.error()
        is_refused = isinstance(error, AuthError | ExpiredError)
        if is_refused:
            self._credentials.forget()
        if self.state is not SessionState.AUTHENTICATING:
            # The old token holds for what is in flight; what comes next logs in anew and hears the reason.
            self.state = SessionState.RETIRED
        elif is_refused and self._credentials.api_key not in (None, shown):
            self._show(self._credentials.api_key or b"")
        elif isinstance(error, ExpiredError):
            raise AuthError("the token that was given in place of an API key has run out")
        else:
            raise error

    def _logged_in(self, reply: Reply, shown: bytes, now: float) -> None:
        ttl = reply.options.get("ttl") or ""
        if len(reply.arguments) > 1 or not (ttl.isdigit() and len(ttl) < 10):
            raise ProtocolError("AUTH was answered without a time to live, or with more than a token")
        if reply.arguments:
            self._credentials.keep(reply.arguments[0], int(ttl), now)
        # A token that the user brought along is all there is: there is nothing to renew it with.
        if shown != self._credentials.api_key or reply.arguments:
            self._renew_at = now + RENEW_AT * int(ttl)
        if self.state is SessionState.AUTHENTICATING:
            self.state = SessionState.READY

    # -- the end

    def close(self, failure: RequestError) -> None:
        """End the conversation. What ended it first stands."""
        if self.state is not SessionState.CLOSED:
            self.state = SessionState.CLOSED
            self.failure = failure

    def lose(self) -> list[tuple[W, RequestError]]:
        """The waiters that will get no reply, each with its error; for a conversation that is closed."""
        failure = self.failure
        assert failure is not None
        waiters = self.waiters()
        first_unsent = len(waiters) - self._unsent
        answers = [(waiter, self._loss(failure, sent=index < first_unsent)) for index, waiter in enumerate(waiters)]
        self._waiting.clear()
        self.output.clear()
        self._unsent = self.in_flight = self.in_flight_bytes = 0
        return answers

    def _loss(self, failure: RequestError, *, sent: bool) -> RequestError:
        """The error of a request that will get no reply."""
        is_late = isinstance(failure, NodeTimeoutError)
        if not sent:
            return DeadlineError(f"not sent: {failure}") if is_late else NodeDownError(f"not sent: {failure}")
        if is_late:
            return NodeTimeoutError(str(failure))
        if isinstance(failure, BusyError) and not self._has_heard:
            # A server over its limit says so at once and reads nothing.
            return BusyError(str(failure), retry_after=failure.retry_after)
        return LostError(f"the connection ended before the answer: {failure}")
