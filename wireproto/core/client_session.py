"""A client's side of one connection: log in, renew, and give every reply to whoever asked.

    start ──> AUTH ──> READY: submit ──> data_to_send         receive ──> batches that are complete
                         │                                       │
                         └── RETIRED: no more is submitted       └── CLOSED: `failure` says why; `lose` what is left

A batch (`waiting`) is what one caller submitted together; its owner is whatever the shell wants to find again. Its
requests leave the session only with their own replies or by `lose`, whether or not anybody still waits: a caller who
gave up leaves his batch, and the replies that come for it go to no one else.

Every request carries a tag, a number that this connection never uses again. So a reply is known by what it says, not
by when it comes: one too many or too few is noticed, and ends the conversation instead of shifting the others.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Generic, TypeVar

from wireproto.core.credentials import RENEW_AT, Credentials
from wireproto.core.reply_wire import ERR, OK, Reply, ReplyParser
from wireproto.core.request_encoding import encode_request
from wireproto.core.verbs import Verb
from wireproto.core.waiting import Batch, Waiting
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


_LAST_DIGITS: Final = [b"%02d " % number for number in range(100)]
"""How a tag ends. 100 tags that are put together of two take 2 us less than 100 that are written as numbers."""


class SessionState(Enum):
    """Where a conversation stands."""

    FRESH = "fresh"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    RETIRED = "retired"
    CLOSED = "closed"


_READY: Final = SessionState.READY
_RETIRED: Final = SessionState.RETIRED
_CLOSED: Final = SessionState.CLOSED
"""In Python 3.11 to look up a member of an enumeration takes a Python function."""


class ClientSession(Generic[W]):
    """One connection's conversation. Times are seconds of a monotonic clock."""

    def __init__(self, credentials: Credentials) -> None:
        self.state = SessionState.FRESH
        self.failure: RequestError | None = None
        """Why the conversation ended, once it has."""
        self._credentials = credentials
        self._parser = ReplyParser()
        self._waiting: Waiting[W] = Waiting()
        self._hundred = 0
        self._tag_head = b""
        """The tags of this hundred without their last two digits."""
        self._number = 0
        """Of the last request, AUTH or other."""
        self._sent = 0
        """Of the last request that has left `output`."""
        self.output: list[bytes] = []
        """What is to be written; `data_to_send` takes it."""
        self._login = 0
        """The number of the AUTH under way, or 0: nobody waits for it but the session."""
        self._shown: bytes | None = None
        """The credential of the AUTH under way."""
        self._renew_at = float("inf")
        self._has_heard = False

    # -- what the shell asks

    @property
    def in_flight(self) -> int:
        """How many requests are not answered yet."""
        return len(self._waiting.batches) + (self._login > 0)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of the requests that are not answered yet."""
        return self._waiting.size

    @property
    def is_ready(self) -> bool:
        """Whether requests may be submitted."""
        return self.state is _READY

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed: it has failed, or is retired and owed nothing."""
        return self.state is _CLOSED or (self.state is _RETIRED and not self.in_flight)

    def waiting(self) -> list[Batch[W]]:
        """The batches that are not complete."""
        return list(dict.fromkeys(self._waiting.batches.values()))

    def data_to_send(self) -> bytes:
        """What is to be written now. It counts as sent from here on."""
        data = b"".join(self.output)
        self.output.clear()
        self._sent = self._number
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
        self._number += 1
        self._login = self._number
        self.output += (self._tag(self._number), encode_request(Verb.AUTH, (credential,)))

    def submit(self, requests: list[bytes], owner: W, now: float) -> Batch[W]:
        """Queue requests (`request_encoding`). The token is renewed before it runs out, in front of them.

        They are counted first. So whoever is interrupted in between leaves a conversation that says that it owes
        something, and never one whose next reply the next caller could take for his own.
        """
        if now >= self._renew_at:
            self._renew(now)
        number, output = self._number, self.output
        batch = Batch(requests, owner, number + 1)
        self._number = number + len(requests)
        self._waiting.add(batch)
        for request in requests:
            number += 1
            output.append(self._tag(number))
            output.append(request)
        return batch

    def _tag(self, number: int) -> bytes:
        """The tag of a request, with the space behind it. A hundred tags have one beginning, which is kept."""
        hundred = number // 100
        if not hundred:
            return b"#%d " % number
        if hundred != self._hundred:
            self._tag_head = b"#%d" % hundred
            self._hundred = hundred
        return self._tag_head + _LAST_DIGITS[number % 100]

    def _renew(self, now: float) -> None:
        self._renew_at = float("inf")
        credential = self._credentials.best(now)
        if credential is not None:
            self._show(credential)

    # -- replies

    def receive(self, data: bytes, now: float) -> list[Batch[W]]:
        """The batches that `data` completes. What cannot be understood ends the conversation: see `is_over`."""
        done: list[Batch[W]] = []
        if self.state is _CLOSED:
            return done
        parser, waiting = self._parser, self._waiting
        parser.feed(data)
        try:
            if parser.is_between:
                parser.position = waiting.take_plain(parser.data, parser.position, done)
                self._has_heard = self._has_heard or parser.position > 0
            while (reply := parser.next()) is not None:
                self._take(reply, now, done)
                parser.position = waiting.take_plain(parser.data, parser.position, done)
        except RequestError as fault:
            self.close(fault)
        return done

    def _take(self, reply: Reply, now: float, done: list[Batch[W]]) -> None:
        """Take any reply. Raises the RequestError that ends the conversation."""
        number = _number_of(reply.tag)
        if number and number == self._login:
            self._login = 0
            self._has_heard = True
            self._take_login(reply, now)
        elif self._waiting.take(number, reply, done):
            self._has_heard = True
            if reply.status == ERR:
                self._note_error(reply.code)
        elif reply.status == ERR and not reply.tag:
            # An error without a tag is about the connection.
            raise reply.error()
        else:
            raise ProtocolError("the server answered something that was not asked")

    def _note_error(self, code: str) -> None:
        if code == "PROTO":
            raise ProtocolError("the server cannot trust this connection any more")
        if code in _RETIRING and self._credentials.can_log_in and self.state is _READY:
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
        if self.state is not _CLOSED:
            self.state = SessionState.CLOSED
            self.failure = failure

    def lose(self) -> list[Batch[W]]:
        """The batches that were not complete, with errors for what will get no reply; for a conversation that is
        closed."""
        failure = self.failure
        assert failure is not None
        done: list[Batch[W]] = []
        for number in list(self._waiting.batches):
            self._waiting.take(number, self._loss(failure, sent=number <= self._sent), done)
        self.output.clear()
        self._login = 0
        return done

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


def _number_of(tag: bytes) -> int:
    """The number that a tag is; 0 if it is none of ours."""
    return int(tag) if tag.isdigit() and not tag.startswith(b"0") else 0
