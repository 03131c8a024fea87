"""A conversation whose values are sealed: what the nodes hold, and what clients read whatever the nodes hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from tests.core.conversation import Conversation
from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.sealing import OVERHEAD, Sealer

OLD = EncryptionKey("old", None, b"o" * 32, 1, "seal")
NEW = EncryptionKey("new", None, b"n" * 32, 2, "seal")
VALUES = [b"", b"v", b"\xff", b"\xff\x01", b"\xff\x00\xff", b"a value with a \n in it", b"x" * 5000, b"y" * (1 << 20)]
CORRUPT = b"ERR CORRUPT :"


def sealer_of(*keys: EncryptionKey) -> Sealer:
    numbers = count()
    return Sealer(Keyring(keys), lambda: next(numbers).to_bytes(12, "big"))


def stored(talk: Conversation, key: bytes) -> bytes:
    """What the node that owns a key of the client's namespace holds under it."""
    return talk.nodes[talk.owner(key)].values[b"ns:" + key]


def plant(talk: Conversation, key: bytes, value: bytes) -> None:
    talk.nodes[talk.owner(key)].values[b"ns:" + key] = value


def write(key: bytes, value: bytes, options: bytes = b"", tag: bytes = b"") -> bytes:
    return b"%bWRITE %d:%b %d:%b%b\n" % (tag, len(key), key, len(value), value, options)


def found(value: bytes, tag: bytes = b"", options: bytes = b"") -> bytes:
    return b"%bOK %d:%b%b\n" % (tag, len(value), value, options)


@pytest.mark.parametrize("tag", [b"", b"#7 "])
@pytest.mark.parametrize("options", [b"", b" ex=5", b" px=5 nx", b" keepttl trace"])
def test_what_is_written_is_sealed_on_the_node_and_read_as_it_was(options: bytes, tag: bytes) -> None:
    talk = Conversation(sealers=sealer_of(NEW))
    for number, value in enumerate(VALUES):
        key = b"key-%d" % number
        assert talk.say(write(key, value, options, tag)).startswith(tag + b"OK")
        assert stored(talk, key).startswith(b"\xff\x01\x03new")
        assert len(stored(talk, key)) == len(value) + OVERHEAD + len(NEW.id)
        assert talk.say(tag + b"READ %d:%b\n" % (len(key), key)) == found(value, tag)
        assert talk.say(tag + b"READ %d:%b ttl\n" % (len(key), key)).startswith(found(value, tag)[:-1])
    assert talk.session.owes_nothing
    assert talk.session._answers.in_flight_bytes == 0


def test_a_pipeline_of_everything() -> None:
    talk = Conversation(sealers=sealer_of(NEW))
    asked = b"".join(
        write(b"key-%d" % n, b"value-%d" % n) + b"READ 5:key-%d\nDELETE 5:key-%d\nREAD 5:key-%d\n" % (n, n, n)
        for n in range(10)
    )
    heard = b"".join(b"OK\nOK 7:value-%d\nOK\nMISS\n" % n for n in range(10))
    assert talk.say(asked) == heard
    assert talk.say(*(bytes((byte,)) for byte in asked)) == heard


@pytest.mark.parametrize("value", VALUES)
def test_old_and_plain_values_are_read_whatever_seals_now(value: bytes) -> None:
    sealer = sealer_of(OLD)
    talk = Conversation(sealers=sealer)
    states = [(OLD,), (OLD, NEW), (replace(OLD, use="open"), replace(NEW, use="open")), (replace(OLD, use="open"), NEW)]
    written: list[bytes] = []
    plant(talk, b"planted", b"by other hands")
    for number, keys in enumerate(states):
        sealer.update(Keyring(keys))
        written.append(b"key-%d" % number)
        assert talk.say(write(written[-1], value)) == b"OK\n"
        for key in written:
            assert talk.say(b"READ %d:%b\n" % (len(key), key)) == found(value)
        assert talk.say(b"READ 7:planted\n") == b"OK 14:by other hands\n"
    heads = [stored(talk, key)[3:6] if stored(talk, key)[:2] == b"\xff\x01" else b"" for key in written]
    assert heads == [b"old", b"new", b"", b"new"]


def test_without_its_key_a_value_is_corrupt_and_nothing_else_is() -> None:
    sealer = sealer_of(OLD)
    talk = Conversation(sealers=sealer)
    talk.say(write(b"k", b"secret"), write(b"l", b"secret", b" ex=9"))
    for keys in [(NEW,), (), (replace(OLD, secret=b"x" * 32),), (replace(OLD, namespace="another"), NEW)]:
        sealer.update(Keyring(keys))
        plant(talk, b"p", b"plain")
        heard = talk.say(b"READ 1:k\nREAD 1:l ttl\nREAD 1:p\n")
        assert heard.count(CORRUPT) == 2
        assert heard.endswith(b"OK 5:plain\n")
        assert b"secret" not in heard
    sealer.update(Keyring((OLD,)))
    assert talk.say(b"READ 1:k\n") == found(b"secret")


def test_without_a_keyring_a_sealed_value_is_corrupt() -> None:
    talk = Conversation(sealers=sealer_of(OLD))
    talk.say(write(b"k", b"secret"))
    bare = Conversation()
    plant(bare, b"k", stored(talk, b"k"))
    assert bare.say(b"READ 1:k\n").startswith(CORRUPT)


def test_a_value_that_was_moved_or_damaged_is_corrupt() -> None:
    talk = Conversation(sealers=sealer_of(OLD))
    talk.say(write(b"k", b"secret"), write(b"l", b"another"))
    good = stored(talk, b"k")
    plant(talk, b"l", good)
    assert talk.say(b"READ 1:l\n").startswith(CORRUPT)
    for position in range(len(good)):
        for bit in range(8):
            plant(talk, b"k", good[:position] + bytes((good[position] ^ 1 << bit,)) + good[position + 1 :])
            assert talk.say(b"READ 1:k\n").startswith(CORRUPT), (position, bit)
    for length in range(1, len(good)):
        plant(talk, b"k", good[:length])
        assert talk.say(b"READ 1:k\n").startswith(CORRUPT), length
    plant(talk, b"k", good)
    assert talk.say(b"READ 1:k\n") == found(b"secret")
    assert talk.metrics.all_outcomes()["READ", "CORRUPT"] == 1 + 8 * len(good) + len(good) - 1


def test_two_namespaces_share_no_value() -> None:
    sealer = sealer_of(NEW)
    assert sealer.for_namespace("other").open(b"k", sealer.for_namespace("ns").seal(b"k", b"v")) is None
