"""Frames as hostile, confused and merely unusual clients send them: what each is answered, to the byte.

Each is sent whole, byte by byte, behind and in front of good ones, before AUTH and after. `PROTO` ends the connection,
after anything else the next frame is understood (docs/PROTOCOL.md, section 4). `tests/live/test_cuts.py` sends REFUSED
to a real server.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.core.conversation import Conversation
from wireproto.core.limits import Limits
from wireproto.errors import BY_CODE

SMALL = Limits(max_value=1000)
KEY = b"k" * 1024
LOG_IN_FIRST = b'ERR AUTH :log in first: auth "your-api-key"\n'


@dataclass(frozen=True)
class Case:
    """What is sent, and the replies to it after AUTH and before."""

    data: bytes
    replies: bytes
    before: bytes

    def closes(self, replies: bytes) -> bool:
        """Whether these replies are the last."""
        return b"ERR PROTO :" in replies


def refused(data: bytes, code: str, text: str, *, before: str = "") -> Case:
    """A frame that is refused; before AUTH with the same text, or with PROTO and that text."""
    tag = b"#t " if data.startswith(b"#t ") else b""
    reply = tag + f"ERR {code} :{text}\n".encode()
    return Case(data, reply, tag + f"ERR PROTO :{before}\n".encode() if before else reply)


def accepted(*exchanges: tuple[bytes, bytes]) -> Case:
    """Requests with their replies. Without AUTH each is told to log in, but for PING."""
    replies = b"".join(reply for _, reply in exchanges)
    before = b""
    for request, reply in exchanges:
        tag = reply.split()[0] + b" " if reply.startswith(b"#") else b""
        before += reply if not reply or b"PING" in request.upper() else tag + LOG_IN_FIRST
    return Case(b"".join(request for request, _ in exchanges), replies, before)


NO_FRAME = "a frame begins with a verb; is this another protocol?"
NO_WORD = 'an argument is length:bytes or "text", an option name or name=value'
NO_LENGTH = "a length is 1 to 9 digits without sign or leading zero, then a colon"
NO_TAG = "a tag is # and 1 to 16 of A-Z a-z 0-9 - _"
NO_VERB = "no such verb; HELP lists them"
NO_OPTION = "an option is name or name=value, its name in lower case"
NO_ESCAPE = r"a quoted argument takes the escapes \" \\ \n \r \t \xHH"
NOT_CLOSED = "a quoted argument is not closed"
LONGER = "an argument is longer than its length says"
ENDLESS = "more than 512 bytes outside the arguments"
LARGE_BEFORE_AUTH = "a frame before AUTH has at most 8192 bytes"
LONG_KEY = "a key has at most 1024 bytes"
LONG_VALUE = "a value has at most 1000 bytes"
READ_TAKES = 'READ takes key; for example: read "my_key" ttl'
WRITE_TAKES = 'WRITE takes key value; for example: write "my_key" "my_value" ex=60'
EX_TAKES = "option ex takes a whole number from 1 to 10000000000"
PX_TAKES = "option px takes a whole number from 1 to 10000000000000"
DEADLINE_TAKES = "option deadline takes a whole number from 1 to 3600000"
STALE_TAKES = "option stale takes a whole number from 1 to 10000000000"
LEASE_TAKES = "option lease takes a whole number from 1 to 3600000"
EARLY_TAKES = "option early takes a whole number from 1 to 86400000"
BY_TAKES = "option by takes a whole number from -9223372036854775808 to 9223372036854775807"
VER_TAKES = "option ver takes what the server gave out, at most 64 bytes"
A_LEASE = "option lease takes what the server gave out, at most 64 bytes"
WRITE_IF = "at most one of nx xx ver lease"

ACCEPTED: dict[str, Case] = {
    # Lines and the spaces in them.
    "empty lines": accepted((b"\n\n\r\n\n", b""), (b"PING\n", b"OK\n"), (b"\r\n\r\n", b"")),
    "lines of spaces": accepted((b"   \n \r\n", b""), (b"PING\n", b"OK\n")),
    "CRLF": accepted((b"WRITE 1:k 1:v\r\n", b"OK\n"), (b"READ 1:k\r\n", b"OK 1:v\n")),
    "CRLF and LF mixed": accepted((b"\r\n\n\nWRITE 1:k 1:v\r\n\n", b"OK\n"), (b"READ 1:k\n\r\n", b"OK 1:v\n")),
    "several spaces": accepted((b"  WRITE   1:k  1:v  nx  \n", b"OK\n"), (b" READ 1:k \n", b"OK 1:v\n")),
    "lower and mixed case": accepted(
        (b"write 1:k 1:v\n", b"OK\n"), (b"read 1:k\n", b"OK 1:v\n"), (b"rEaD 1:k\n", b"OK 1:v\n")
    ),
    "aliases": accepted(
        (b"SET 1:k 1:v\n", b"OK\n"), (b"GET 1:k\n", b"OK 1:v\n"), (b"DEL 1:k\n", b"OK\n"), (b"DEL 1:k\n", b"MISS\n")
    ),
    "a thousand frames in one packet": accepted(
        *[(b"WRITE 1:k 1:v\n", b"OK\n")] * 500, *[(b"READ 1:k\n", b"OK 1:v\n")] * 500
    ),
    "ping": accepted((b"PING\n", b"OK\n"), (b"PING 2:hi\n", b"OK 2:hi\n"), (b'ping "hi"\n', b"OK 2:hi\n")),
    "a frame of RESP that is one of ours": accepted((b"PING\r\n", b"OK\n")),
    "stats": accepted((b"STATS\n", b'OK 19:{"version": "test"}\n')),
    # Tags.
    "tags": accepted(
        (b"#a7 WRITE 1:k 1:v\n", b"#a7 OK\n"),
        (b"#-_ READ 1:k\n", b"#-_ OK 1:v\n"),
        (b"#0123456789abcdef DELETE 1:k\n", b"#0123456789abcdef OK\n"),
        (b"#x READ 4:none\n", b"#x MISS\n"),
    ),
    # Keys and values.
    "a miss": accepted((b"READ 3:abc\n", b"MISS\n")),
    "a key with LF, CR, space, NUL": accepted(
        (b"WRITE 8:a\nb\rc d\0 1:v\n", b"OK\n"), (b"READ 8:a\nb\rc d\0\n", b"OK 1:v\n")
    ),
    "a key that is no UTF-8": accepted(
        (b"WRITE 3:\xff\xfe\x80 1:v\n", b"OK\n"), (b"READ 3:\xff\xfe\x80\n", b"OK 1:v\n")
    ),
    "a key with an argument in it": accepted((b"WRITE 6:a 1:b\n 1:v\n", b"OK\n"), (b"READ 6:a 1:b\n\n", b"OK 1:v\n")),
    "a key with the separator of namespaces in it": accepted(
        (b"WRITE 5:a:b:c 1:v\n", b"OK\n"), (b"READ 5:a:b:c\n", b"OK 1:v\n"), (b"READ 3:b:c\n", b"MISS\n")
    ),
    "a key of braces": accepted((b"WRITE 4:{a}b 1:v\n", b"OK\n"), (b"READ 4:{a}b\n", b"OK 1:v\n")),
    "a key of the limit": accepted((b"WRITE 1024:%b 1:v\n" % KEY, b"OK\n"), (b"READ 1024:%b\n" % KEY, b"OK 1:v\n")),
    "length 0": accepted(
        (b"WRITE 1:k 0:\n", b"OK\n"),
        (b"READ 1:k\n", b"OK 0:\n"),
        (b'write "q" ""\n', b"OK\n"),
        (b'read "q"\n', b"OK 0:\n"),
    ),
    "a value of the limit": accepted(
        (b"WRITE 1:k 1000:%b\n" % (b"v" * 1000), b"OK\n"), (b"READ 1:k\n", b"OK 1000:%b\n" % (b"v" * 1000))
    ),
    "a frame in a value": accepted(
        (b"WRITE 1:k 21:\nDELETE 1:k\r\nREAD 1:k\n", b"OK\n"),
        (b"READ 1:k\n", b"OK 21:\nDELETE 1:k\r\nREAD 1:k\n"),
    ),
    "an answer in a value": accepted((b"WRITE 1:k 8:\nOK 1:v\n\n", b"OK\n"), (b"READ 1:k\n", b"OK 8:\nOK 1:v\n\n")),
    "a value that begins with the marker": accepted(
        (b"WRITE 1:k 3:\xff\x00v\n", b"OK\n"), (b"READ 1:k\n", b"OK 3:\xff\x00v\n")
    ),
    "a value that begins with the marker, with a time": accepted(
        (b"WRITE 1:k 2:\xff\xff ex=1\n", b"OK\n"), (b"READ 1:k\n", b"OK 2:\xff\xff\n")
    ),
    # Quotes.
    "quoted, with escapes": accepted(
        (b'write "my key" "a \\"b\\" \\\\ \\n\\r\\t\\x00\\xfF"\n', b"OK\n"),
        (b'read "my key"\n', b'OK 13:a "b" \\ \n\r\t\0\xff\n'),
    ),
    "quoted and counted": accepted((b'write 2:ab "v"\n', b"OK\n"), (b'read "ab"\n', b"OK 1:v\n")),
    "quoted as typed": accepted(('write "k" "ä"\n'.encode(), b"OK\n"), (b'read "k"\n', b"OK 2:\xc3\xa4\n")),
    "quoted, no UTF-8": accepted((b'write "k" "a\xff\t"\n', b"OK\n"), (b'read "k"\n', b"OK 3:a\xff\t\n")),
    # Options.
    "times to live": accepted(
        (b"WRITE 1:k 1:v ex=60\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:v ttl=60000\n"),
        (b"WRITE 1:k 1:w keepttl\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:w ttl=60000\n"),
        (b"WRITE 1:k 1:x\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:x\n"),
        (b"READ 1:n ttl\n", b"MISS\n"),
    ),
    "px and TOUCH": accepted(
        (b"WRITE 1:k 1:v px=5\n", b"OK\n"),
        (b"TOUCH 1:k px=7\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:v ttl=7\n"),
        (b"TOUCH 1:n ex=1\n", b"MISS\n"),
    ),
    "ex of nine digits, of ten, and the longest": accepted(
        (b"WRITE 1:k 1:v ex=999999999\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:v ttl=999999999000\n"),
        (b"WRITE 1:k 1:w ex=1000000000\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:w ttl=1000000000000\n"),
        (b"WRITE 1:k 1:x px=10000000000000\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:x ttl=10000000000000\n"),
    ),
    "options in any order": accepted(
        (b"WRITE 1:k 1:v nx ex=5\n", b"OK\n"),
        (b"WRITE 1:k 1:w deadline=9 ex=7 xx\n", b"OK\n"),
        (b"READ 1:k ttl\n", b"OK 1:w ttl=7000\n"),
    ),
    "a number with leading zeros": accepted(
        (b"WRITE 1:k 1:v ex=007\n", b"OK\n"), (b"READ 1:k ttl\n", b"OK 1:v ttl=7000\n")
    ),
    "counters": accepted(
        (b"INCR 1:c\n", b"OK 1:1\n"),
        (b"incr 1:c by=41\n", b"OK 2:42\n"),
        (b"INCR 1:c by=-0050 sync=0\n", b"OK 2:-8\n"),
        (b"INCR 1:c by=0 ex=5\n", b"OK 2:-8\n"),
        (b"READ 1:c\n", b"OK 2:-8\n"),
        (b"WRITE 1:c 2:no\n", b"OK\n"),
        (b"INCR 1:c\n", b"ERR TYPE :the value is no counter\n"),
    ),
    "a counter that would pass its bounds": accepted(
        (b"INCR 1:c by=9223372036854775807\n", b"OK 19:9223372036854775807\n"),
        (b"INCR 1:c\n", b"ERR TYPE :the counter would pass what 64 bits hold\n"),
        (b"READ 1:c\n", b"OK 19:9223372036854775807\n"),
    ),
    "leases that do not hold": accepted(
        (b"WRITE 1:k 1:v lease=a\n", b"CONFLICT\n"),
        (b"DELETE 1:k lease=a\n", b"CONFLICT\n"),
        (b"READ 1:k\n", b"MISS\n"),
    ),
    "versions of what is not there": accepted(
        (b"READ 1:k ver\n", b"MISS\n"),
        (b"WRITE 1:k 1:v ver=a\n", b"CONFLICT\n"),
        (b"DELETE 1:k ver=a\n", b"MISS\n"),
    ),
    "steps of 64 bits": accepted(
        (b"INCR 1:c by=9223372036854775807\n", b"OK 19:9223372036854775807\n"),
        (b"INCR 1:d by=-9223372036854775808\n", b"OK 20:-9223372036854775808\n"),
    ),
    "nx and xx": accepted(
        (b"WRITE 1:k 1:v xx\n", b"CONFLICT\n"),
        (b"WRITE 1:k 1:v nx\n", b"OK\n"),
        (b"WRITE 1:k 1:w nx\n", b"CONFLICT\n"),
        (b"WRITE 1:k 1:x xx\n", b"OK\n"),
    ),
}
REFUSED: dict[str, Case] = {
    # Verbs.
    "unknown verb": refused(b"FROB 1:k\n", "VERB", NO_VERB),
    "unknown verb, tagged": refused(b"#t frob\n", "VERB", NO_VERB),
    "unknown verb with a frame in its argument": refused(
        b"FROB 10:\nREAD 1:k\n options are=skipped\n", "VERB", NO_VERB
    ),
    "unknown verb of sixteen letters": refused(b"READREADREADREAD 1:k\n", "VERB", NO_VERB),
    "verb of a later version": refused(b"APPEND 1:k 1:v\n", "VERB", NO_VERB),
    "verb too long": refused(b"READREADREADREADR 1:k\n", "PROTO", NO_FRAME),
    "verb with a digit": refused(b"R3AD 1:k\n", "PROTO", NO_FRAME),
    "verb in other letters": refused("\uff32EAD 1:k\n".encode(), "PROTO", NO_FRAME),
    "verb that is one in Unicode's upper case": refused("\u017fet 1:k 1:v\n".encode(), "PROTO", NO_FRAME),
    "verb missing": refused(b"1:k\n", "PROTO", NO_FRAME),
    "verb in quotes": refused(b'"READ" 1:k\n', "PROTO", NO_FRAME),
    # Tags.
    "tag without a verb": refused(b"#t \n", "PROTO", "a tag without a verb"),
    "two tags": refused(b"#t #b READ 1:k\n", "PROTO", NO_FRAME),
    "empty tag": refused(b"# READ 1:k\n", "PROTO", NO_TAG),
    "tag too long": refused(b"#0123456789abcdefg READ 1:k\n", "PROTO", NO_TAG),
    "tag with a bad character": refused(b"#a.b READ 1:k\n", "PROTO", NO_TAG),
    "tag in Unicode digits": refused("#٣ READ 1:k\n".encode(), "PROTO", NO_TAG),
    # Number of arguments.
    "no argument": refused(b"READ\n", "ARG", READ_TAKES),
    "one argument too few": refused(b"WRITE 1:k\n", "ARG", WRITE_TAKES),
    "one argument too many": refused(b"READ 1:k 1:v\n", "ARG", READ_TAKES),
    "argument for STATS": refused(b"STATS 1:k\n", "ARG", "STATS takes no arguments; for example: stats"),
    "a hundred thousand arguments": refused(b"READ" + b" 1:k" * 100_000 + b"\n", "PROTO", ENDLESS),
    "a hundred thousand quoted arguments": refused(b"READ" + b' "k"' * 100_000 + b"\n", "PROTO", ENDLESS),
    "a hundred thousand arguments of nothing": refused(b"FROB" + b" 0:" * 100_000 + b"\n", "PROTO", ENDLESS),
    # Endless lines.
    "endless line": refused(b"A" * 600, "PROTO", ENDLESS),
    "endless options": refused(b"READ 1:k" + b" a" * 600, "PROTO", ENDLESS),
    "endless option": refused(b"READ 1:k " + b"a" * 600, "PROTO", ENDLESS),
    "endless spaces": refused(b"READ" + b" " * 600, "PROTO", ENDLESS),
    "endless spaces before a verb": refused(b" " * 600, "PROTO", ENDLESS),
    "endless tag": refused(b"#" + b"a" * 600, "PROTO", ENDLESS),
    # Bytes that are no frame.
    "tab between words": refused(b"READ\t1:k\n", "PROTO", NO_FRAME),
    "tab behind an argument": refused(b"READ 1:k\tttl\n", "PROTO", LONGER),
    "tab between options": refused(b"WRITE 1:k 1:v nx\tex=1\n", "ARG", NO_OPTION),
    "NUL": refused(b"\0\n", "PROTO", NO_FRAME),
    "NUL in a verb": refused(b"RE\0AD 1:k\n", "PROTO", NO_FRAME),
    "NUL in an option": refused(b"READ 1:k t\0l\n", "ARG", NO_OPTION),
    "NUL for a word": refused(b"READ \0 1:k\n", "PROTO", NO_WORD),
    "control byte between words": refused(b"READ \x01 1:k\n", "PROTO", NO_WORD),
    "an arrow key": refused(b"\x1b[A\n", "PROTO", NO_FRAME),
    "no UTF-8": refused(b"\xff\xfe\n", "PROTO", NO_FRAME),
    "no UTF-8 between words": refused(b"READ \xff\xfe\n", "PROTO", NO_WORD),
    "a mark of byte order": refused(b"\xef\xbb\xbfREAD 1:k\n", "PROTO", NO_FRAME),
    "a space that is none": refused("READ\u00a01:k\n".encode(), "PROTO", NO_FRAME),
    "CR alone": refused(b"READ 1:k\rREAD 1:k\n", "PROTO", "CR without LF"),
    "CR CR LF": refused(b"READ 1:k\r\r\n", "PROTO", "CR without LF"),
    "LF CR": refused(b"\n\rREAD 1:k", "PROTO", "CR without LF"),
    # Keys and values.
    "empty key": refused(b"READ 0:\n", "ARG", "the key is empty"),
    "empty key, tagged": refused(b"#t READ 0:\n", "ARG", "the key is empty"),
    "empty quoted key": refused(b'READ ""\n', "ARG", "the key is empty"),
    "key one byte too long": refused(b"READ 1025:%bk\n" % KEY, "ARG", LONG_KEY),
    "key one byte too long, to be deleted": refused(b"DELETE 1025:%b\n\n" % KEY, "ARG", LONG_KEY),
    "key one byte too long, in a WRITE": refused(b"WRITE 1025:%bk 3:a\nb\n" % KEY, "ARG", LONG_KEY),
    "quoted key one byte too long": refused(b'READ "%bk"\n' % KEY, "ARG", LONG_KEY),
    "value one byte too long": refused(b"WRITE 1:k 1001:%b\n" % (b"\n" * 1001), "TOOBIG", LONG_VALUE),
    "value one byte too long, tagged": refused(b"#t SET 1:k 1001:%b ex=1\n" % (b"v" * 1001), "TOOBIG", LONG_VALUE),
    "value as long as is skipped": refused(
        b"WRITE 1:k 64000:%b\n" % (b"\n" * 64000), "TOOBIG", LONG_VALUE, before=LARGE_BEFORE_AUTH
    ),
    "value longer than is skipped": refused(
        b"WRITE 1:k 64001:", "PROTO", "an argument of 64001 bytes is not even skipped", before=LARGE_BEFORE_AUTH
    ),
    "quoted value too long": refused(b'WRITE 1:k "%b"\n' % (b"v" * 1001), "TOOBIG", LONG_VALUE),
    # Lengths.
    "length -1": refused(b"READ -1:k\n", "PROTO", NO_WORD),
    "length -1 of a value": refused(b"WRITE 1:k -1:v\n", "PROTO", NO_WORD),
    "length -0": refused(b"READ -0:\n", "PROTO", NO_WORD),
    "length +5": refused(b"READ +5:abcde\n", "PROTO", NO_WORD),
    "length 05": refused(b"READ 05:abcde\n", "PROTO", NO_LENGTH),
    "length 05 of a value": refused(b"WRITE 1:k 05:abcde\n", "PROTO", NO_LENGTH),
    "length 00": refused(b"READ 00:\n", "PROTO", NO_LENGTH),
    "length 1_0": refused(b"READ 1_0:aaaaaaaaaa\n", "PROTO", NO_LENGTH),
    "length 1e3": refused(b"READ 1e3:a\n", "PROTO", NO_LENGTH),
    "length 0x5": refused(b"READ 0x5:abcde\n", "PROTO", NO_LENGTH),
    "length 5.0": refused(b"READ 5.0:abcde\n", "PROTO", NO_LENGTH),
    "length in Unicode digits": refused("READ ٣:abc\n".encode(), "PROTO", NO_WORD),
    "length that ends in a Unicode digit": refused("READ 1٣:abc\n".encode(), "PROTO", NO_LENGTH),
    "length of ten digits": refused(b"WRITE 1:k 1000000000:", "PROTO", NO_LENGTH),
    "length 2^31": refused(b"WRITE 1:k %d:" % 2**31, "PROTO", NO_LENGTH),
    "length 2^32": refused(b"WRITE 1:k %d:" % 2**32, "PROTO", NO_LENGTH),
    "length 2^32 of a key": refused(b"READ %d:k\n" % (2**32 + 1), "PROTO", NO_LENGTH),
    "length 2^63": refused(b"WRITE 1:k %d:" % 2**63, "PROTO", NO_LENGTH),
    "length 2^64 + 1": refused(b"WRITE 1:k %d:v\n" % (2**64 + 1), "PROTO", NO_LENGTH),
    "length 10^5000": refused(b"WRITE 1:k 1" + b"0" * 5000 + b":", "PROTO", NO_LENGTH),
    "length 999999999": refused(
        b"WRITE 1:k 999999999:", "PROTO", "an argument of 999999999 bytes is not even skipped", before=LARGE_BEFORE_AUTH
    ),
    "no length": refused(b"READ :k\n", "PROTO", NO_WORD),
    "no colon": refused(b"READ 1\n", "PROTO", NO_LENGTH),
    "length and space": refused(b"READ 1 :k\n", "PROTO", NO_LENGTH),
    # Bodies. One that is too short has a test of its own.
    "body longer than its length": refused(b"READ 1:kk\n", "PROTO", LONGER),
    "value longer than its length": refused(b"WRITE 1:k 1:vv\n", "PROTO", LONGER),
    "value longer than its length by a CR": refused(b"WRITE 1:k 1:v\r ex=1\n", "PROTO", "CR without LF"),
    "skipped argument longer than its length": refused(b"FROB 1:kk\n", "PROTO", LONGER),
    "two arguments without a space": refused(b"WRITE 1:k1:v\n", "PROTO", LONGER),
    # Quotes.
    "quote not closed": refused(b'READ "abc\n', "ARG", NOT_CLOSED),
    "quote not closed, CRLF": refused(b'READ "abc\r\n', "ARG", NOT_CLOSED),
    "lone quote": refused(b'READ "\n', "ARG", NOT_CLOSED),
    "quote ended by an escape": refused(b'READ "abc\\"\n', "ARG", NOT_CLOSED),
    "quote with a backslash at its end": refused(b'READ "abc\\\n', "ARG", NOT_CLOSED),
    "second quote not closed": refused(b'WRITE "k" "v\n', "ARG", NOT_CLOSED),
    "bad escape": refused(b'READ "a\\qb"\n', "ARG", NO_ESCAPE),
    "half a hex escape": refused(b'READ "a\\x1"\n', "ARG", NO_ESCAPE),
    "hex escape without hex": refused(b'READ "\\xzz"\n', "ARG", NO_ESCAPE),
    "hex escape in capitals": refused(b'READ "\\X41"\n', "ARG", NO_ESCAPE),
    "octal escape": refused(b'READ "\\0"\n', "ARG", NO_ESCAPE),
    "single quotes": refused(b"READ 'abc'\n", "PROTO", NO_WORD),
    "text behind a quote": refused(b'READ "abc"d\n', "PROTO", LONGER),
    "quote without an end": refused(b'READ "' + b"a" * 10_000, "PROTO", "a quoted argument has at most 8192 bytes"),
    # Options.
    "unknown option": refused(b"READ 1:k frob\n", "ARG", "READ takes no such option"),
    "option of a later version": refused(b"READ 1:k fresh=100\n", "ARG", "READ takes no such option"),
    "option of another verb": refused(b"READ 1:k nx\n", "ARG", "READ takes no such option"),
    "option twice": refused(b"WRITE 1:k 1:v nx nx\n", "ARG", "an option is given twice"),
    "option twice, with two values": refused(b"WRITE 1:k 1:v ex=1 ex=2\n", "ARG", "an option is given twice"),
    "option without its value": refused(b"WRITE 1:k 1:v ex\n", "ARG", EX_TAKES),
    "option with an empty value": refused(b"WRITE 1:k 1:v ex=\n", "ARG", NO_OPTION),
    "option with a value it does not take": refused(b"WRITE 1:k 1:v nx=1\n", "ARG", "option nx takes no value"),
    "option without a name": refused(b"WRITE 1:k 1:v =1\n", "PROTO", NO_WORD),
    "option in upper case": refused(b"WRITE 1:k 1:v NX\n", "ARG", NO_OPTION),
    "option with a bad character": refused(b"WRITE 1:k 1:v ex=1;2\n", "ARG", NO_OPTION),
    "option with spaces around the sign": refused(b"WRITE 1:k 1:v ex = 1\n", "PROTO", NO_WORD),
    "option before the argument": refused(b"READ ttl 1:k\n", "ARG", "arguments come before options"),
    "option between arguments": refused(b"WRITE 1:k nx 1:v\n", "ARG", "arguments come before options"),
    "nx xx": refused(b"WRITE 1:k 1:v nx xx\n", "ARG", WRITE_IF),
    "ex px": refused(b"WRITE 1:k 1:v ex=1 px=1\n", "ARG", "at most one of ex px keepttl"),
    "ex keepttl": refused(b"WRITE 1:k 1:v ex=1 keepttl\n", "ARG", "at most one of ex px keepttl"),
    "TOUCH with ex and px": refused(b"TOUCH 1:k ex=1 px=1\n", "ARG", "at most one of ex px"),
    "TOUCH without a time": refused(b"TOUCH 1:k\n", "ARG", "TOUCH needs one of ex px"),
    # Times to live, and other numbers.
    "ex of 0": refused(b"WRITE 1:k 1:v ex=0\n", "ARG", EX_TAKES),
    "px of 0": refused(b"WRITE 1:k 1:v px=0\n", "ARG", PX_TAKES),
    "px of 000": refused(b"TOUCH 1:k px=000\n", "ARG", PX_TAKES),
    "ex negative": refused(b"WRITE 1:k 1:v ex=-1\n", "ARG", EX_TAKES),
    "ex of -2^63": refused(b"WRITE 1:k 1:v ex=%d\n" % -(2**63), "ARG", EX_TAKES),
    "ex with a sign": refused(b"WRITE 1:k 1:v ex=+1\n", "ARG", EX_TAKES),
    "ex of 2^63": refused(b"WRITE 1:k 1:v ex=%d\n" % 2**63, "ARG", EX_TAKES),
    "px beyond 2^63": refused(b"WRITE 1:k 1:v px=%d\n" % 2**64, "ARG", PX_TAKES),
    "ex of many digits": refused(b"WRITE 1:k 1:v ex=" + b"9" * 400 + b"\n", "ARG", EX_TAKES),
    "ex one too long": refused(b"WRITE 1:k 1:v ex=10000000001\n", "ARG", EX_TAKES),
    "px one too long": refused(b"WRITE 1:k 1:v px=10000000000001\n", "ARG", PX_TAKES),
    "ex a fraction": refused(b"WRITE 1:k 1:v ex=1.5\n", "ARG", EX_TAKES),
    "ex 1_0": refused(b"WRITE 1:k 1:v ex=1_0\n", "ARG", EX_TAKES),
    "ex 1e3": refused(b"WRITE 1:k 1:v ex=1e3\n", "ARG", EX_TAKES),
    "ex in Unicode digits": refused("WRITE 1:k 1:v ex=٣\n".encode(), "ARG", NO_OPTION),
    "deadline of 0": refused(b"READ 1:k deadline=0\n", "ARG", DEADLINE_TAKES),
    "deadline too late": refused(b"READ 1:k deadline=3600001\n", "ARG", DEADLINE_TAKES),
    "more replicas than there can be": refused(
        b"WRITE 1:k 1:v sync=9\n", "ARG", "option sync takes a whole number from 0 to 8"
    ),
    # Counters.
    "INCR without a key": refused(b"INCR\n", "ARG", 'INCR takes key; for example: incr "my_counter" by=1 ex=60'),
    "INCR with a value": refused(b"INCR 1:k 1:1\n", "ARG", 'INCR takes key; for example: incr "my_counter" by=1 ex=60'),
    "INCR with ex and px": refused(b"INCR 1:k ex=1 px=1\n", "ARG", "at most one of ex px"),
    "INCR with keepttl": refused(b"INCR 1:k keepttl\n", "ARG", "INCR takes no such option"),
    "INCR with nx": refused(b"INCR 1:k nx\n", "ARG", "INCR takes no such option"),
    "by without its value": refused(b"INCR 1:k by\n", "ARG", BY_TAKES),
    "by=-": refused(b"INCR 1:k by=-\n", "ARG", BY_TAKES),
    "by=--1": refused(b"INCR 1:k by=--1\n", "ARG", BY_TAKES),
    "by=1-": refused(b"INCR 1:k by=1-\n", "ARG", BY_TAKES),
    "by=+1": refused(b"INCR 1:k by=+1\n", "ARG", BY_TAKES),
    "by=1_0": refused(b"INCR 1:k by=1_0\n", "ARG", BY_TAKES),
    "by=1e3": refused(b"INCR 1:k by=1e3\n", "ARG", BY_TAKES),
    "by=0x1": refused(b"INCR 1:k by=0x1\n", "ARG", BY_TAKES),
    "by a fraction": refused(b"INCR 1:k by=1.5\n", "ARG", BY_TAKES),
    "by of letters": refused(b"INCR 1:k by=inf\n", "ARG", BY_TAKES),
    "by of 2^63": refused(b"INCR 1:k by=%d\n" % 2**63, "ARG", BY_TAKES),
    "by of -2^63 - 1": refused(b"INCR 1:k by=%d\n" % (-(2**63) - 1), "ARG", BY_TAKES),
    "by of many digits": refused(b"INCR 1:k by=-" + b"9" * 400 + b"\n", "ARG", BY_TAKES),
    "by in Unicode digits": refused("INCR 1:k by=٣\n".encode(), "ARG", NO_OPTION),
    "by on WRITE": refused(b"WRITE 1:k 1:v by=1\n", "ARG", "WRITE takes no such option"),
    # Versions, leases, stale values.
    "READ with a version": refused(b"READ 1:k ver=x\n", "ARG", "option ver takes no value"),
    "READ with a lease that is none": refused(b"READ 1:k lease=abc\n", "ARG", LEASE_TAKES),
    "READ with lease without its value": refused(b"READ 1:k lease\n", "ARG", LEASE_TAKES),
    "lease of 0": refused(b"READ 1:k lease=0\n", "ARG", LEASE_TAKES),
    "lease one too long": refused(b"READ 1:k lease=3600001\n", "ARG", LEASE_TAKES),
    "lease negative": refused(b"READ 1:k lease=-1\n", "ARG", LEASE_TAKES),
    "early without lease": refused(b"READ 1:k early=5\n", "ARG", "option early needs lease"),
    "early of 0": refused(b"READ 1:k lease=5 early=0\n", "ARG", EARLY_TAKES),
    "early one too long": refused(b"READ 1:k lease=5 early=86400001\n", "ARG", EARLY_TAKES),
    "early on WRITE": refused(b"WRITE 1:k 1:v early=5 lease=x\n", "ARG", "WRITE takes no such option"),
    "WRITE with ver without its value": refused(b"WRITE 1:k 1:v ver\n", "ARG", VER_TAKES),
    "WRITE with an empty ver": refused(b"WRITE 1:k 1:v ver=\n", "ARG", NO_OPTION),
    "WRITE with lease without its value": refused(b"WRITE 1:k 1:v lease\n", "ARG", A_LEASE),
    "ver too long": refused(b"WRITE 1:k 1:v ver=" + b"x" * 65 + b"\n", "ARG", VER_TAKES),
    "lease too long": refused(b"WRITE 1:k 1:v lease=" + b"x" * 65 + b"\n", "ARG", A_LEASE),
    "ver with a bad character": refused(b"WRITE 1:k 1:v ver=a:b\n", "ARG", NO_OPTION),
    "ver twice": refused(b"WRITE 1:k 1:v ver=a ver=a\n", "ARG", "an option is given twice"),
    "nx ver": refused(b"WRITE 1:k 1:v nx ver=a\n", "ARG", WRITE_IF),
    "xx lease": refused(b"WRITE 1:k 1:v xx lease=a\n", "ARG", WRITE_IF),
    "ver lease": refused(b"WRITE 1:k 1:v ver=a lease=a\n", "ARG", WRITE_IF),
    "DELETE with ver and lease": refused(b"DELETE 1:k ver=a lease=a\n", "ARG", "at most one of ver lease"),
    "DELETE with ver without its value": refused(b"DELETE 1:k ver\n", "ARG", VER_TAKES),
    "TOUCH with ver": refused(b"TOUCH 1:k ex=1 ver=a\n", "ARG", "TOUCH takes no such option"),
    "stale alone": refused(b"WRITE 1:k 1:v stale=5\n", "ARG", "option stale needs ex or px"),
    "stale with keepttl": refused(b"WRITE 1:k 1:v stale=5 keepttl\n", "ARG", "option stale needs ex or px"),
    "stale of 0": refused(b"WRITE 1:k 1:v ex=5 stale=0\n", "ARG", STALE_TAKES),
    "stale one too long": refused(b"WRITE 1:k 1:v ex=5 stale=10000000001\n", "ARG", STALE_TAKES),
    "stale on READ": refused(b"READ 1:k stale=5\n", "ARG", "READ takes no such option"),
    # Other protocols.
    "HTTP": refused(b"GET / HTTP/1.1\r\nHost: cache\r\n\r\n", "PROTO", NO_WORD),
    "HTTP with a body": refused(b"POST /READ HTTP/1.1\r\nHost: cache\r\n\r\nREAD 1:k\n", "PROTO", NO_WORD),
    "HTTP/2": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROTO", NO_WORD),
    "RESP": refused(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "PROTO", NO_FRAME),
    "RESP 3": refused(b"HELLO 3\r\n", "PROTO", NO_LENGTH),
    "memcached": refused(b"gets key\r\n", "VERB", NO_VERB),
    "memcached get": refused(b"get key\r\n", "ARG", READ_TAKES),
    "memcached set": refused(b"set key 0 0 5\r\nvalue\r\n", "PROTO", NO_LENGTH),
    "memcached meta": refused(b"mg key v\r\n", "VERB", NO_VERB),
    "memcached binary": refused(b"\x80\x00\x00\x03\x00\x00\x00\x00", "PROTO", NO_FRAME),
    "SSH": refused(b"SSH-2.0-OpenSSH_9.2\r\n", "PROTO", NO_FRAME),
    "PROXY protocol": refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROTO", NO_LENGTH),
    "PROXY protocol, version 2": refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12), "PROTO", NO_FRAME),
    "TLS on the plain port": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), "PROTO", NO_FRAME),
    "SSL 2 on the plain port": refused(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", "PROTO", NO_FRAME),
}
CASES = ACCEPTED | REFUSED


def ways(data: bytes) -> dict[str, list[bytes]]:
    """The same bytes, whole, in halves and (unless there are very many) one by one."""
    half = len(data) // 2
    size = 1 if len(data) < 30_000 else 701
    return {
        "whole": [data],
        "halves": [data[:half], data[half:]],
        "one by one": [data[start : start + size] for start in range(0, len(data), size)],
    }


def heard(chunks: list[bytes], *, logged_in: bool) -> tuple[Conversation, list[bytes]]:
    """What is answered; lines whose order is not fixed are in alphabetical order."""
    talk = Conversation(limits=SMALL, log_in=logged_in)
    replies = b""
    for chunk in chunks:
        replies += talk.say(chunk)
        if talk.is_closed:
            break
    assert not talk.world.bugs
    assert talk.session.owes_nothing
    return talk, ordered(replies)


def ordered(replies: bytes) -> list[bytes]:
    lines = replies.splitlines(keepends=True)
    return sorted(lines) if replies.startswith(b"#") else lines


@pytest.mark.parametrize("logged_in", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_each_frame(name: str, logged_in: bool) -> None:
    case = CASES[name]
    expected = case.replies if logged_in else case.before
    for way, chunks in ways(case.data).items():
        talk, replies = heard(chunks, logged_in=logged_in)
        assert replies == ordered(expected), way
        assert talk.is_closed == case.closes(expected), way
        if name in REFUSED:
            assert not any(node.commands for node in talk.nodes), way


@pytest.mark.parametrize("logged_in", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_each_frame_among_good_ones(name: str, logged_in: bool) -> None:
    """What is before it is answered first, and what is behind it if the connection lives."""
    case = CASES[name]
    expected = case.replies if logged_in else case.before
    before, stored = (b"OK\n", b"OK 4:good\n") if logged_in else (LOG_IN_FIRST, LOG_IN_FIRST)
    data = b"WRITE 6:before 4:good\n" + case.data + b"PING 4:tail\nREAD 6:before\n"
    after = b"" if case.closes(expected) else b"OK 4:tail\n" + stored
    for way, chunks in ways(data).items():
        _, replies = heard(chunks, logged_in=logged_in)
        assert sorted(replies) == sorted(ordered(before + expected + after)), way
        if not expected.startswith(b"#"):
            assert replies == ordered(before + expected + after), way


def test_every_refusal_is_in_the_table_of_codes() -> None:
    for case in REFUSED.values():
        for replies in (case.replies, case.before):
            words = replies.removeprefix(b"#t ").split()
            assert words[0] == b"ERR"
            assert words[1].decode() in BY_CODE
            assert replies.count(b"\n") == 1


SHORT = {
    "no bytes": b"",
    "half a verb": b"REA",
    "half a tag": b"#t",
    "a verb": b"READ ",
    "half a length": b"READ 1",
    "a length": b"READ 5:",
    "half a body": b"READ 5:ab",
    "a whole body": b"READ 5:abcde",
    "a frame in a body that is short": b"WRITE 1:k 99:\nREAD 1:k\n",
    "half a quote": b'READ "abc',
    "half an option": b"READ 1:k tt",
    "half a CRLF": b"READ 1:k\r",
    "half of what is skipped": b"WRITE 1:k 1001:abc",
}


@pytest.mark.parametrize("logged_in", [True, False])
@pytest.mark.parametrize("name", SHORT)
def test_a_frame_that_is_not_whole_is_waited_for_and_never_executed(name: str, logged_in: bool) -> None:
    """How long, is for the deadlines to say: `tests/live/test_limits.py`."""
    for chunks in ways(SHORT[name]).values():
        talk, replies = heard(chunks, logged_in=logged_in)
        assert replies == []
        assert not talk.is_closed
        assert talk.session.wants_input
        talk.session.end_of_input()
        assert talk.settle() == b""
        assert talk.session.is_finished
        assert not any(node.commands for node in talk.nodes)


def test_the_rest_of_a_body_that_was_too_short_is_still_its_body() -> None:
    talk = Conversation()
    assert talk.say(b"WRITE 1:k 18:\nREAD 1:k\n", b"READ 1:k", b"\nREAD 1:k\n") == b"OK\nOK 18:\nREAD 1:k\nREAD 1:k\n"


def test_what_is_behind_a_broken_frame_is_never_executed() -> None:
    talk = Conversation()
    assert talk.say(b"WRITE 1:a 1:1\nREAD 01:a\nDELETE 1:a\n", b"DELETE 1:a\n").startswith(b"OK\nERR PROTO :")
    assert talk.session.is_finished
    assert talk.nodes[talk.owner(b"a")].values == {b"ns:a": b"1"}


def test_nobody_is_told_what_he_has_sent() -> None:
    """An answer that repeats a request could be made to look like another answer, or show a credential in a log."""
    for name, case in REFUSED.items():
        secret = case.data.replace(b"abc", b"hunter2").replace(b"frob", b"hunter2").replace(b"key", b"hunter2")
        for logged_in in (True, False):
            _, replies = heard([secret], logged_in=logged_in)
            assert not any(b"hunter2" in reply for reply in replies), name
