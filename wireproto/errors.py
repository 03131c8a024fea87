"""Every error, its wire code and what it means for the request, in one tree and one table.

    WireprotoError
    ├── ConfigurationError        settings, files or arguments that cannot work
    └── RequestError              a request was not answered with OK, MISS or CONFLICT
        ├── ProtocolError    PROTO      ├── BusyError         BUSY       ├── CorruptError   CORRUPT
        ├── VerbError        VERB       ├── NodeDownError     DOWN       ├── ValueTypeError TYPE
        ├── ArgumentError    ARG        ├── DeadlineError     LATE       ├── ClosingError   CLOSING
        ├── TooBigError      TOOBIG     ├── NodeTimeoutError  TIMEOUT    ├── InternalError  INTERNAL
        ├── AuthError        AUTH       ├── LostError         LOST
        ├── ExpiredError     EXPIRED    ├── NotReplicatedError NOSYNC
        ├── DeniedError      DENIED     └── ConflictError     (no code: the status CONFLICT)
        └── LimitError       LIMIT

A request error answers two questions: did the request take effect, and is it safe to send it again?
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Effect(Enum):
    """Did a failed request change anything?"""

    NO = "no"
    YES = "yes"
    MAYBE = "maybe"


class WireprotoError(Exception):
    """The root of every error that this package raises on purpose."""


class ConfigurationError(WireprotoError):
    """Settings, files or arguments that cannot work. The text names the source, the key and the reason."""


class RequestError(WireprotoError):
    """A request that failed.

    `code` is the word on the wire, `took_effect` says whether anything was changed, and `retryable` whether the same
    request may be sent again as it is (after `retry_after` seconds, where that is given).
    """

    code: ClassVar[str] = ""
    took_effect: ClassVar[Effect] = Effect.NO
    retryable: ClassVar[bool] = False

    def __init__(self, text: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(text or (self.__doc__ or "").split("\n", maxsplit=1)[0])
        self.retry_after = retry_after


class ProtocolError(RequestError):
    """The bytes are not a frame; the stream cannot be trusted any more."""

    code = "PROTO"


class VerbError(RequestError):
    """There is no such verb."""

    code = "VERB"


class ArgumentError(RequestError):
    """Wrong number of arguments, a bad option, or an empty or too long key."""

    code = "ARG"


class TooBigError(RequestError):
    """The value is over the limit; nothing was stored."""

    code = "TOOBIG"


class AuthError(RequestError):
    """Not authenticated, or the credential is wrong."""

    code = "AUTH"


class ExpiredError(RequestError):
    """The connection's token has run out."""

    code = "EXPIRED"


class DeniedError(RequestError):
    """The token's scope does not allow this."""

    code = "DENIED"


class LimitError(RequestError):
    """A quota of the client is used up."""

    code = "LIMIT"
    retryable = True


class BusyError(RequestError):
    """The server or the node's queue is full."""

    code = "BUSY"
    retryable = True


class NodeDownError(RequestError):
    """The node that owns the key, or the server itself, cannot be reached; the request was not sent to it."""

    code = "DOWN"
    retryable = True


class DeadlineError(RequestError):
    """The request's deadline passed before it was sent to its node."""

    code = "LATE"
    retryable = True


class NodeTimeoutError(RequestError):
    """The request was sent and no answer came in time."""

    code = "TIMEOUT"
    took_effect = Effect.MAYBE


class LostError(RequestError):
    """The connection broke after the request was sent."""

    code = "LOST"
    took_effect = Effect.MAYBE


class NotReplicatedError(RequestError):
    """Written on the master, but too few replicas confirmed in time."""

    code = "NOSYNC"
    took_effect = Effect.YES
    retryable = True


class CorruptError(RequestError):
    """The stored value cannot be opened."""

    code = "CORRUPT"


class ValueTypeError(RequestError):
    """The value is not of the type that the verb needs."""

    code = "TYPE"


class ClosingError(RequestError):
    """The server is draining: nothing new is taken."""

    code = "CLOSING"
    retryable = True


class InternalError(RequestError):
    """A bug in the server, logged under the id in the text."""

    code = "INTERNAL"
    took_effect = Effect.MAYBE


class ConflictError(RequestError):
    """A condition of the request did not hold; nothing was written."""


ERROR_CLASSES: tuple[type[RequestError], ...] = (
    ProtocolError,
    VerbError,
    ArgumentError,
    TooBigError,
    AuthError,
    ExpiredError,
    DeniedError,
    LimitError,
    BusyError,
    NodeDownError,
    DeadlineError,
    NodeTimeoutError,
    LostError,
    NotReplicatedError,
    CorruptError,
    ValueTypeError,
    ClosingError,
    InternalError,
)

BY_CODE: dict[str, type[RequestError]] = {cls.code: cls for cls in ERROR_CLASSES}
