"""A server's bytes: the client's session gives each reply to whoever asked, or ends, however the bytes were cut.

The session is held against a plain model: the parser of replies alone, and a table of who waits.
"""

from __future__ import annotations

from typing import Any, Final

from fuzz.cutting import pieces, split
from wireproto.core.client_session import ClientSession
from wireproto.core.credentials import Credentials
from wireproto.core.reply_wire import ERR, OK, Reply, ReplyParser
from wireproto.core.waiting import Batch
from wireproto.errors import ProtocolError, RequestError

_READ: Final = b"READ 1:k\n"
_BATCHES: Final = (1, 3, 7, 1)
"""So many requests are submitted together. They have the tags 1 to 12, or 2 to 13 behind an AUTH."""

WORDS: Final = (
    *(b"#%d " % number for number in (*range(1, 15), 112)),
    *(b"OK", b"OK 1:v\n", b"OK 0:\n", b"MISS\n", b"CONFLICT\n", b"ERR ", b"BUSY retry=50 :full\n", b"PROTO :what\n"),
    *(b" ttl=5", b" 5:value", b" 64:", b" 999999999:", b"\r\n", b"\n", b"ERR CLOSING :bye\n", b"ERR AUTH :no\n"),
    *(b"ERR EXPIRED :late\n", b"#1 OK 5:a.b.c ttl=100\n", b"#01 ", b"#18446744073709551617 ", b" held=50"),
    *(b" ver=q4hT0aYb0000001f", b" lease=q4hT0aYb00000021", b" stale", b" held=4998", b"OK 2:42", b"ERR TYPE :no\n"),
)


def check(data: bytes) -> None:
    """The contract of the client's session."""
    variant, size, stream = split(data)
    api_key = b"key" if variant % 2 else None
    seen = _seen(pieces(stream, size), api_key)
    assert seen == _seen(pieces(stream, 1), api_key), "the answers depend on the cuts"
    if api_key is None:
        assert seen == _modelled(stream)


def _seen(chunks: list[bytes], api_key: bytes | None) -> tuple[bool, list[object]]:
    """Whether the conversation goes on, and who was answered what."""
    credentials = Credentials(api_key)
    session: ClientSession[int] = ClientSession(credentials)
    session.start(0.0)
    session.data_to_send()
    batches = [session.submit([_READ] * count, count, 0.0) for count in _BATCHES]
    session.data_to_send()
    done: list[Batch[int]] = []
    for chunk in chunks:
        done += session.receive(chunk, 0.0)
        session.data_to_send()
    answers = [_told(answer) for batch in batches for answer in batch.answers]
    assert all(batch.missing == batch.answers.count(None) for batch in batches)
    assert sorted(map(id, done)) == sorted(id(batch) for batch in batches if not batch.missing)
    goes_on = session.failure is None
    missing = sum(batch.missing for batch in batches)
    assert session.in_flight_bytes == missing * len(_READ)
    assert goes_on == (not session.is_over or not missing), "only a retired conversation is over without a failure"
    session.close(ProtocolError("the end"))
    done += session.lose()
    assert sorted(map(id, done)) == sorted(map(id, batches)), "each batch is handed out once"
    assert all(answer is not None for batch in batches for answer in batch.answers)
    assert (session.in_flight, session.in_flight_bytes, session.output) == (0, 0, [])
    return goes_on, answers


def _told(answer: Any) -> object:
    """An answer as the full parser tells it, and as the hot loop does, in the same words."""
    if answer is None:
        return None
    if isinstance(answer, bytes):
        return OK, (answer,), {}, "", ""
    assert isinstance(answer, Reply)
    return answer.status, answer.arguments, dict(answer.options), answer.code, answer.text


def _modelled(stream: bytes) -> tuple[bool, list[object]]:
    """The same, without a session."""
    answers: list[object] = [None] * sum(_BATCHES)
    parser = ReplyParser()
    parser.feed(stream)
    try:
        while (reply := parser.next()) is not None:
            number = int(reply.tag) if reply.tag.isdigit() and not reply.tag.startswith(b"0") else 0
            if not 1 <= number <= len(answers) or answers[number - 1] is not None:
                return False, answers
            answers[number - 1] = _told(reply)
            if (reply.status, reply.code) == (ERR, "PROTO"):
                return False, answers
    except RequestError:
        return False, answers
    return True, answers
