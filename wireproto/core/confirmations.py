"""Whether replicas have what a master has executed: WAIT, over connections of its own.

WAIT blocks its connection, so it must not stand in the way of other requests. It is not about time but about a place in
the master's stream of changes, which all connections share: a change that is made *now*, over any connection, has its
place behind everything that the master has answered before. So a request with `sync` is executed in its order, like any
other; and when it is answered, these three commands travel over another connection:

    PUBLISH     goes to the replicas like a write and stores nothing: the place in the stream
    WAIT        how many replicas are as far as that place
    INFO        whether the stream is still the one that the request was executed in

What is executed while a question is on its way is part of the next one, which asks for all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from wireproto.core.bundle import Asker, Batch, Bundle
from wireproto.core.commands import ASK_FOR_HISTORY, encode_command, history_of
from wireproto.core.node_pipeline import NodePipeline

CHANNEL: Final = b"wireproto:sync"
"""Of the PUBLISH. Nobody listens to it."""
_COMMANDS: Final = 3
_SHORTEST_WAIT: Final = 0.001
"""Seconds; a WAIT of 0 is one for ever."""


class _Question(NamedTuple):
    """An entry of a bundle that is executed, and waits to be confirmed."""

    asker: Asker
    bundle: Bundle
    entry: int
    line: bytes
    history: bytes
    asked_at: float


class ShardConfirmations:
    """The questions of all clients about one shard.

    `open_pipeline` opens a connection to the shard's master for questions about so many replicas; those about more are
    not to hold up those about fewer. Replicas have `timeout` seconds.
    """

    def __init__(self, open_pipeline: Callable[[int], NodePipeline], timeout: float) -> None:
        self._open_pipeline = open_pipeline
        self._timeout = timeout
        self._lines: dict[int, _Line] = {}

    def ask(self, asker: Asker, bundle: Bundle, index: int, line: bytes, needed: int, now: float) -> None:
        """Have `asker` told whether so many replicas have what this entry of a bundle has written."""
        found = self._lines.get(needed)
        if found is None:
            found = self._lines[needed] = _Line(self._open_pipeline(needed), needed, self._timeout)
        history = b"" if bundle.pipeline is None else bundle.pipeline.history
        found.ask(_Question(asker, bundle, index, line, history, now))


class _Line:
    """The questions about so many replicas, of which one is on its way at a time."""

    def __init__(self, pipeline: NodePipeline, needed: int, timeout: float) -> None:
        self._pipeline = pipeline
        self._needed = needed
        self._timeout = timeout
        self._waiting: list[_Question] = []
        self._asked: list[_Question] = []
        self._bundle: Bundle | None = None
        self._replies: list[object] = []

    def ask(self, question: _Question) -> None:
        """Ask soon."""
        if self._bundle is None:
            self._waiting.append(question)
            self._send(question.asked_at)
        elif not self._bundle.sent_at:
            # The PUBLISH is still to come, so its place will be behind this one's too.
            self._asked.append(question)
        else:
            self._waiting.append(question)

    def _send(self, now: float) -> None:
        self._asked, self._waiting = self._waiting, []
        self._replies = []
        left = self._timeout - (now - self._asked[0].asked_at)
        milliseconds = round(max(_SHORTEST_WAIT, left) * 1000)
        bundle = self._bundle = Bundle(self, Batch(), now)
        bundle.commands = [
            encode_command(b"PUBLISH", CHANNEL, b""),
            encode_command(b"WAIT", b"%d" % self._needed, b"%d" % milliseconds),
            ASK_FOR_HISTORY,
        ]
        bundle.kinds, bundle.slots = [0] * _COMMANDS, list(range(_COMMANDS))
        self._pipeline.submit(bundle)

    # -- what the pipeline tells the owner of a bundle

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        """Take replies of the node."""
        self._replies += replies
        if len(self._replies) == _COMMANDS:
            published, count, info = self._replies
            self._tell(self._problem(published, count), history_of(info), now)

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        """There will be no answer."""
        self._tell(f"nobody can say which replicas have it: {text}", b"", bundle.received_at)

    def give_up(self, error: Exception) -> None:
        """An asker has failed and has been told so; for the others it is a question without an answer."""
        self._tell("nobody can say which replicas have it", b"", 0.0)

    def _problem(self, published: object, count: object) -> str:
        # Without the PUBLISH it would be the place of an older one that replicas have reached, or of none.
        if type(published) is not int or type(count) is not int:
            return "the node does not say which replicas have it"
        if count < self._needed:
            return f"{count} of {self._needed} replicas have it"
        return ""

    def _tell(self, problem: str, history: bytes, now: float) -> None:
        """Tell all who asked, and ask for those who came after them."""
        asked, self._asked, self._bundle = self._asked, [], None
        for question in asked:
            found = problem
            if not found and (not history or history != question.history):
                found = "the master has changed since"
                if question.bundle.pipeline is not None:
                    question.bundle.pipeline.ask_for_history()
            try:
                question.asker.confirm(question.bundle, question.entry, question.line, found, now)
            except Exception as error:
                question.bundle.owner.give_up(error)
        if self._waiting and self._bundle is None:
            self._send(max(now, self._waiting[0].asked_at))
