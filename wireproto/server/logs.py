"""The log: each record is one line that nobody can forge, and none holds what only a client may know.

What a line is made of may come from clients, nodes and Sentinels, so control characters are escaped, whatever is
logged. An exception's traceback stays as many lines, all of them indented, and tells where it was and of which type:
its text is left out unless it is known to be ours. `UnicodeDecodeError` quotes bytes, `KeyError` the key, and
`int()` what it was given.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from wireproto.errors import WireprotoError

LONGEST_LINE: Final = 4000
"""Characters of a record, without its traceback."""
MOST_FRAMES: Final = 60
"""Of a traceback, the last: a recursion that did not end has a thousand."""
_SECRETS: Final = re.compile(
    r"wp_[a-z2-7]{8}_[a-z2-7]{40}(?:_[0-9a-f]{8})?"  # an API key that was made here
    r"|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"  # a token
    r"|(?<=://)[^/@\s]*:[^/\s]+(?=@)"  # user and password of a URL
    r"|(?<=[?&]password=)[^&\s]+"
)

log = logging.getLogger("wireproto.server")


def one_line(text: str) -> str:
    """Text as one line: what is not printable is escaped, and what looks like a credential is not shown."""
    text = _SECRETS.sub("(hidden)", text)
    if len(text) > LONGEST_LINE:
        text = text[:LONGEST_LINE] + "..."
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def kind_of(error: BaseException) -> str:
    """What an exception is, without what others may have put into it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, WireprotoError):
        return f"{name}: {one_line(str(error))}"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"{name}: {one_line(error.strerror)}"
    return name


def told(error: BaseException, seen: frozenset[int] = frozenset()) -> Iterator[str]:
    """The lines of a traceback, with those of the exceptions that led to it, and without their texts."""
    seen |= {id(error)}
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from told(earlier, seen)
        yield "  which led to:"
    for frame in traceback.format_tb(error.__traceback__, -MOST_FRAMES):
        yield from (f"  {one_line(line)}" for line in frame.splitlines())
    yield f"  {kind_of(error)}"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from (f"  {line}" for line in told(part, seen))


class LineFormatter(logging.Formatter):
    """Makes a line of a record. `worker` is the number of this process among the workers, if it is one of them."""

    def __init__(self, worker: int | None = None) -> None:
        label = "" if worker is None else f" [worker {worker}]"
        super().__init__(f"%(asctime)s %(levelname)s %(name)s{label}: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overridden
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - overridden
        return "\n".join(told(ei[1])) if ei[1] is not None else ""

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - overridden
        return "\n".join(f"  {one_line(line)}" for line in stack_info.splitlines())


def set_up_logging(level: str, worker: int | None = None) -> None:
    """Log to standard error from `level` on (`debug`, `info`, `warning`, `error`), and uncaught exceptions too.

    Libraries log from `warning` on, whatever the level: what they say at others is not ours to vouch for.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(worker))
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]), handlers=[handler])
    logging.getLogger("wireproto").setLevel(level.upper())
    # Else a record that cannot be written is printed with its arguments, and past the formatter.
    logging.raiseExceptions = False
    sys.excepthook = _uncaught
    threading.excepthook = lambda thread: _uncaught(thread.exc_type, thread.exc_value, thread.exc_traceback)
    sys.unraisablehook = lambda ignored: _uncaught(ignored.exc_type, ignored.exc_value, ignored.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        log.critical("uncaught %s", kind.__name__, exc_info=error)


def log_loop_problem(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What an event loop does with an exception that nobody has taken: by itself it prints the objects around it."""
    error = context.get("exception")
    message = str(context.get("message", "a problem of the event loop"))
    # Behind the words there may be a call with its arguments, or an object with what is in it.
    words = re.match(r"[\w .:,]*", message)
    log.error("%s", words[0].rstrip() if words else "", exc_info=error if isinstance(error, BaseException) else None)
