"""What an API key does not allow is denied, in its place in the order, on either way through the session."""

from __future__ import annotations

import pytest

from tests.core.conversation import Conversation
from wireproto.core.access import PERMISSIONS, Access
from wireproto.core.admission import Admission
from wireproto.core.verbs import SPECS, Argument, Verb

REQUESTS = {
    Verb.READ: b"READ 1:k\n",
    Verb.WRITE: b"WRITE 1:k 1:v\n",
    Verb.DELETE: b"DELETE 1:k\n",
    Verb.TOUCH: b"TOUCH 1:k ex=5\n",
    Verb.INCR: b"INCR 1:n\n",
    Verb.WHERE: b"WHERE 1:k\n",
    Verb.STATS: b"STATS\n",
    Verb.PING: b"PING\n",
    Verb.HELP: b"HELP\n",
}
"""In the form that the hot loop takes, where it takes the verb at all."""
NEEDED = {
    Verb.READ: "read",
    Verb.WRITE: "write",
    Verb.DELETE: "delete",
    Verb.TOUCH: "write",
    Verb.INCR: "write",
    Verb.WHERE: "read",
    Verb.STATS: "stats",
}


def test_every_verb_behind_auth_needs_a_permission() -> None:
    assert {spec.verb: spec.permission for spec in SPECS if not spec.before_auth} == NEEDED
    assert set(NEEDED.values()) == set(PERMISSIONS)


@pytest.mark.parametrize("allowed", PERMISSIONS)
def test_a_permission_allows_its_verbs_and_no_other(allowed: str) -> None:
    talk = Conversation(access=Access((allowed,)))
    for verb, request in REQUESTS.items():
        heard = talk.say(request)
        denied = NEEDED.get(verb, allowed) != allowed
        assert heard.startswith(b"ERR DENIED :") is denied, heard
        if denied:
            assert heard == f"ERR DENIED :this API key does not allow {verb.name}\n".encode()
    executed = [word for node in talk.nodes for command in node.commands for word in command[:1]]
    assert len(executed) == sum(NEEDED.get(verb) == allowed for verb in list(Verb) if verb in REQUESTS) - (
        1 if allowed in ("read", "stats") else 0  # WHERE and STATS ask no node
    )


def test_to_take_a_lease_is_to_write_and_to_give_it_back_is_to_delete() -> None:
    lease, back = b"READ 1:k lease=5000\n", b"DELETE 1:k lease=x\n"
    for allowed, request, text in (
        (("read",), lease, b"READ with lease"),
        (("write",), lease, b"READ"),
        (("read", "write"), back, b"DELETE"),
        (("delete",), lease, b"READ"),
    ):
        talk = Conversation(access=Access(allowed))
        assert talk.say(request) == b"ERR DENIED :this API key does not allow %b\n" % text
        assert not any(node.commands for node in talk.nodes)
    talk = Conversation(access=Access(("read", "write")))
    assert talk.say(lease).startswith(b"MISS lease=")
    assert talk.say(b"READ 1:k ver\n") == b"MISS\n"


@pytest.mark.parametrize("allowed", PERMISSIONS)
def test_only_a_lease_needs_two_permissions(allowed: str) -> None:
    admission = Admission(Access((allowed,)))
    for spec in SPECS:
        arguments = [b"a" for _ in spec.arguments]
        denied = bool(spec.permission) and spec.permission != allowed
        for option in spec.options:
            more = spec.verb is Verb.READ and option == "lease"
            assert bool(admission.denial(spec, arguments, {option: 1})) is (denied or more), (spec.verb, option)


@pytest.mark.parametrize("spelling", [b"READ %(n)d:%(k)b\n", b'READ "%(k)b"\n', b"#t get %(n)d:%(k)b ttl\n"])
def test_a_key_begins_with_a_prefix_that_is_allowed(spelling: bytes) -> None:
    talk = Conversation(access=Access(prefixes=("cart:", "basket/")))
    allowed = [b"cart:", b"cart:1", b"basket/\xff"]
    denied = [b"c", b"cart", b"Cart:1", b" cart:1", b"basket", b"ns:cart:1", b"\0cart:"]
    for key in allowed + denied:
        heard = talk.say(spelling % {b"n": len(key), b"k": key})
        assert (b"ERR DENIED :" in heard) is (key in denied), (key, heard)
        assert (b"MISS" in heard) is (key in allowed)


def test_a_prefix_holds_for_every_verb_with_a_key() -> None:
    admission = Admission(Access(prefixes=("a",)))
    for spec in SPECS:
        if spec.arguments[:1] == (Argument.KEY,):
            assert admission.denial(spec, [b"b", b"v"], {})
        elif not spec.required:
            assert not admission.denial(spec, [], {})
    talk = Conversation(access=Access(prefixes=("a",)))
    for verb in (Verb.READ, Verb.WRITE, Verb.DELETE, Verb.TOUCH, Verb.WHERE, Verb.INCR):
        assert talk.say(REQUESTS[verb]) == b"ERR DENIED :this API key does not allow keys that begin like this\n"
    assert not any(node.commands for node in talk.nodes)


def test_a_denial_keeps_its_place_and_the_stream_goes_on() -> None:
    talk = Conversation(access=Access(("read",), ("a",)))
    heard = talk.say(b"READ 1:a\nREAD 1:b\nWRITE 1:a 6:READ 1\nPING\nREAD 1:a\n")
    codes = [b" ".join(line.split()[:2]) for line in heard.splitlines()]
    assert codes == [b"MISS", b"ERR DENIED", b"ERR DENIED", b"OK", b"MISS"]
    assert talk.metrics.all_outcomes()["READ", "DENIED"] == 1


def test_every_denial_is_told_without_the_key() -> None:
    talk = Conversation(access=Access(("read",)))
    talk.world.events.clear()
    talk.say(b"STATS\nDELETE 6:secret\n")
    assert [(event, details["verb"]) for event, details in talk.world.events] == [
        ("denied", "STATS"),
        ("denied", "DELETE"),
    ]
    assert talk.world.events[0][1]["client"] == "client"
    assert "secret" not in str(talk.world.events)
