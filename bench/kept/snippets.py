"""Ways to write the inner lines of the hot loop, in nanoseconds: `python -m bench.kept.snippets`."""

from __future__ import annotations

import re
import timeit
from collections.abc import Mapping
from dataclasses import dataclass

import hiredis

from bench.micro.blocks import Benchmark, Result, measure
from bench.table import Row, aligned
from wireproto.core import answers, commands, ring
from wireproto.core.limits import Limits
from wireproto.core.request_wire import RequestParser

SECONDS = 0.15
"""For each way."""
TOGETHER = 50
"""Requests that come in one read, or replies."""
LF, COLON, ZERO = b"\n:0"

KEY = b"key:00000000"
LENGTH = len(KEY)
VALUE = b"v" * 100
LONG_VALUE = b"v" * 65536
REQUESTS = b"READ 12:key:00000000\n" * TOGETHER
REPLIES = b"$100\r\n%b\r\n" % VALUE * TOGETHER
READ_HEADS = commands.namespace_commands("default").read_heads
HIT_HEADS, BULK_HEADS, BRACE = answers.HIT_HEADS, commands.BULK_HEADS, ring.BRACE
PREFIXED_KEY = b"default:" + KEY

# -- requests read

ONE_EXPRESSION = re.compile(
    rb"(?:#([A-Za-z0-9_-]{1,16}) )?(READ|GET|WRITE|SET|DELETE|DEL) "
    rb"([1-9][0-9]{0,3}):([^ \n]*)(?:\n| (0|[1-9][0-9]{0,8}):)"
)
LENGTHS = tuple(b"%d" % length for length in range(1025))


def by_cursor(data: bytes) -> list[bytes]:
    """The keys of plain READs, each byte of a head looked at once. The hot loop reads like this."""
    keys = []
    position, end = 0, len(data)
    while position < end:
        if data[position : position + 5] != b"READ ":
            break
        cursor = position + 6
        length = data[cursor - 1] - ZERO
        while 0 <= (digit := data[cursor] - ZERO) < 10:
            length = length * 10 + digit
            cursor += 1
        if digit != COLON - ZERO:
            break
        start = cursor + 1
        position = start + length
        if data[position] != LF:
            break
        keys.append(data[start:position])
        position += 1
    return keys


def by_expression(data: bytes) -> list[bytes]:
    """The same with one regular expression for the whole request. The length is compared with what was found."""
    keys = []
    position, end, match = 0, len(data), ONE_EXPRESSION.match
    while position < end and (found := match(data, position)):
        _, verb, length, key, value_length = found.groups()
        if verb != b"READ" or value_length is not None or LENGTHS[len(key)] != length:
            break
        keys.append(key)
        position = found.end()
    return keys


def by_full_parser(data: bytes) -> list[bytes]:
    """The same with the parser that knows the whole grammar."""
    parser, keys = RequestParser(Limits()), []
    position, end = 0, len(data)
    while position < end:
        frame, position = parser.read(data, position)
        assert frame is not None
        keys.append(frame.arguments[0])
    return keys


# -- what is kept of each request until its reply is there


def two_lists(kind: int = 1) -> None:
    """Kind and slot in a list each; then all are looked at."""
    kinds: list[int] = []
    slots: list[int] = []
    for place in range(TOGETHER):
        kinds.append(kind)
        slots.append(place)
    for _kind, _slot in zip(kinds, slots):  # noqa: B905 - `strict` costs 150 ns, so the code leaves it out
        pass


def one_list_of_tuples(kind: int = 1, tag: bytes = b"") -> None:
    """The same with a tuple for each request."""
    entries: list[tuple[int, int, bytes]] = []
    for place in range(TOGETHER):
        entries.append((kind, place, tag))
    for _kind, _slot, _tag in entries:
        pass


# -- replies of a node

NOT_ENOUGH = object()
READER = hiredis.Reader(notEnoughData=NOT_ENOUGH)


def replies_by_iterator() -> list[object]:
    """All replies of one read, without a line of Python for each."""
    READER.feed(REPLIES)
    return [*iter(READER.gets, NOT_ENOUGH)]


def replies_one_by_one() -> list[object]:
    """The same in a loop."""
    READER.feed(REPLIES)
    replies: list[object] = []
    while (reply := READER.gets()) is not NOT_ENOUGH:
        replies.append(reply)
    return replies


# -- commands and answers, joined


def two_pieces_each() -> bytes:
    """Commands for a node: a list of heads and keys."""
    pieces: list[bytes] = []
    for _ in range(TOGETHER):
        pieces.append(READ_HEADS[LENGTH])
        pieces.append(KEY)
    return b"".join(pieces)


def one_piece_each() -> bytes:
    """Commands for a node: a list of commands."""
    pieces: list[bytes] = []
    for _ in range(TOGETHER):
        pieces.append(READ_HEADS[LENGTH] + KEY)
    return b"".join(pieces)


def _head(value: bytes) -> bytes:
    length = len(value)
    return HIT_HEADS[length] if length < len(HIT_HEADS) else b"OK %d:" % length


def answers_in_pieces(value: bytes) -> bytes:
    """Answers for a client: the places of each are filled."""
    answers = [b"", b"", b"\n"] * TOGETHER
    for place in range(0, len(answers), 3):
        answers[place] = _head(value)
        answers[place + 1] = value
    return b"".join(answers)


def answers_in_lines(value: bytes) -> bytes:
    """Answers for a client: each made a line first."""
    answers = [b""] * TOGETHER
    for place in range(TOGETHER):
        answers[place] = _head(value) + value + b"\n"
    return b"".join(answers)


def answers_formatted(value: bytes) -> bytes:
    """The same, each formatted."""
    answers = [b""] * TOGETHER
    for place in range(TOGETHER):
        answers[place] = b"OK %d:%b\n" % (len(value), value)
    return b"".join(answers)


@dataclass(frozen=True)
class Choice:
    """Several ways to do the same, by what they are called; the first is the one that was chosen."""

    name: str
    ways: Mapping[str, str]
    """Statements in the names of this module."""
    operations: int = 1


CHOICES = (
    Choice(
        "a READ, read",
        {
            "cursor": "by_cursor(REQUESTS)",
            "one regular expression": "by_expression(REQUESTS)",
            "the full parser": "by_full_parser(REQUESTS)",
        },
        TOGETHER,
    ),
    Choice(
        "a request, noted and found again",
        {"a list of kinds, a list of slots": "two_lists()", "a list of tuples": "one_list_of_tuples()"},
        TOGETHER,
    ),
    Choice(
        "a GET for Redis, joined with others",
        {
            "head by length and key, two pieces": "two_pieces_each()",
            "head by length + key, one piece": "one_piece_each()",
        },
        TOGETHER,
    ),
    Choice(
        "a GET for Redis, by itself",
        {
            "head by length + key": "READ_HEADS[LENGTH] + KEY",
            "bytes %": r'b"*2\r\n$3\r\nGET\r\n$%d\r\n%b" % (len(PREFIXED_KEY), PREFIXED_KEY)',
            "hiredis.pack_command": 'hiredis.pack_command((b"GET", PREFIXED_KEY))',
        },
    ),
    Choice("the length of a word for Redis", {"BULK_HEADS": "BULK_HEADS[100]", "bytes %": 'b"$%d" % 100'}),
    Choice(
        "a reply of a node, parsed",
        {"iter(reader.gets, sentinel)": "replies_by_iterator()", "reader.gets() in a loop": "replies_one_by_one()"},
        TOGETHER,
    ),
    Choice(
        "an answer of 100 bytes, joined with others",
        {
            "head by length, value, LF: three pieces": "answers_in_pieces(VALUE)",
            "head by length + value + LF": "answers_in_lines(VALUE)",
            "bytes %": "answers_formatted(VALUE)",
        },
        TOGETHER,
    ),
    Choice(
        "an answer of 64 KiB, joined with others",
        {
            "head, value, LF: three pieces": "answers_in_pieces(LONG_VALUE)",
            "head + value + LF": "answers_in_lines(LONG_VALUE)",
            "bytes %": "answers_formatted(LONG_VALUE)",
        },
        TOGETHER,
    ),
    Choice(
        "is there a hash tag",
        {"123 in key": "BRACE in KEY", "key.find(123)": "KEY.find(BRACE)", 'b"{" in key': 'b"{" in KEY'},
    ),
)


def check() -> None:
    """All ways of reading come to the same."""
    assert by_cursor(REQUESTS) == by_expression(REQUESTS) == by_full_parser(REQUESTS) == [KEY] * TOGETHER
    assert replies_by_iterator() == replies_one_by_one() == [VALUE] * TOGETHER
    assert two_pieces_each() == one_piece_each()
    assert answers_in_pieces(VALUE) == answers_in_lines(VALUE) == answers_formatted(VALUE)


def measured(choice: Choice, seconds: float) -> list[Result]:
    """Every way of it, for so many seconds each."""
    return [
        measure(Benchmark(way, timeit.Timer(statement, globals=globals()).timeit, choice.operations), seconds)
        for way, statement in choice.ways.items()
    ]


def main(seconds: float = SECONDS) -> None:
    """Measure and print."""
    check()
    rows: list[Row] = [("what", "how; the first was chosen", "ns, min", "ns, median", "times the first")]
    for choice in CHOICES:
        results = measured(choice, seconds)
        for number, result in enumerate(results):
            words = [f"{result.min_ns:,.0f}", f"{result.median_ns:,.0f}", f"{result.min_ns / results[0].min_ns:.1f}"]
            rows.append((choice.name if number == 0 else "", result.name, *words))
    print(aligned(rows, left=2))


if __name__ == "__main__":
    main()
