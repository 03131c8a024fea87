"""All verbs and options against a dictionary: what a plain model says is what the server says."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.live.running import RawClient, RunningServer

KEYS = [b"a", b"b:c", b"default:a", b"{tag}1", b"{tag}2", b"with space\r\n", b"\x00\xff", b"k" * 1024]
VALUES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\xff", b"\xff\x00", b"\xff\x00plain", b"OK 1:v\n", b"v" * 70_000]),
)
SHORT, LONG = 60, 3_600_000
"""Times to live in ms: one that runs out within the test, and one that does not."""
TIMES = st.sampled_from(["", f" px={SHORT}", f" px={LONG}", f" ex={LONG // 1000}", " keepttl"])
CONDITIONS = st.sampled_from(["", "", " nx", " xx"])
MARGIN = 0.5
"""Seconds that a loaded machine may need between the server's clock and ours."""


@dataclass
class Held:
    """What the model holds for a key. It is surely there until `at_least`, and surely gone after `at_most`."""

    value: bytes
    at_least: float = float("inf")
    at_most: float = float("inf")


class CacheModel(RuleBasedStateMachine):
    """Three connections to a real server, beside a dictionary."""

    server: RunningServer

    @initialize()
    def connect(self) -> None:
        self.clients: list[RawClient] = [self.server.plain(), self.server.tls(), self.server.plain()]
        self.model: dict[bytes, Held] = {}
        for key in KEYS:
            self.clients[0].ask(b"DELETE %d:%b\n" % (len(key), key))

    def teardown(self) -> None:
        for client in getattr(self, "clients", []):
            client.connection.close()

    def ask(self, number: int, verb: str, key: bytes, tail: bytes = b"") -> bytes:
        """One request; the reply without its LF."""
        client = self.clients[number]
        client.send(b"%b %d:%b%b\n" % (verb.encode(), len(key), key, tail))
        return client.reply()

    def held(self, key: bytes) -> Held | None:
        """What must be there now: None if nothing. A key whose time is running out is waited for."""
        found = self.model.get(key)
        if found is None:
            return None
        if time.monotonic() > found.at_least:
            time.sleep(max(0.0, found.at_most - time.monotonic()))
            del self.model[key]
            return None
        return found

    def remember(self, key: bytes, value: bytes, milliseconds: int | None, started: float) -> None:
        if milliseconds is None:
            self.model[key] = Held(value)
        elif milliseconds == SHORT:
            self.model[key] = Held(value, started, started + SHORT / 1000 + MARGIN)
        else:
            self.model[key] = Held(
                value, started + milliseconds / 1000 - MARGIN, started + milliseconds / 1000 + MARGIN
            )

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), value=VALUES, times=TIMES, condition=CONDITIONS)
    def write(self, number: int, key: bytes, value: bytes, times: str, condition: str) -> None:
        before, started = self.held(key), time.monotonic()
        heard = self.ask(number, "WRITE", key, b" %d:%b%b%b" % (len(value), value, times.encode(), condition.encode()))
        if (condition == " nx" and before) or (condition == " xx" and not before):
            assert heard == b"CONFLICT"
            return
        assert heard == b"OK", heard
        if times == " keepttl":
            self.model[key] = Held(value, *(before.at_least, before.at_most) if before else ())
        else:
            self.remember(key, value, {"": None, f" px={SHORT}": SHORT}.get(times, LONG), started)

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), with_ttl=st.booleans(), alias=st.booleans())
    def read(self, number: int, key: bytes, with_ttl: bool, alias: bool) -> None:
        held, now = self.held(key), time.monotonic()
        heard = self.ask(number, "get" if alias else "READ", key, b" ttl" if with_ttl else b"")
        if held is None:
            assert heard == b"MISS"
            return
        value, _, options = (
            heard.partition(b":")[2][: len(held.value)],
            b"",
            heard.partition(b":")[2][len(held.value) :],
        )
        assert value == held.value
        assert heard.startswith(b"OK %d:" % len(held.value))
        if not with_ttl or held.at_most == float("inf"):
            assert options == b""
        else:
            left = int(options.removeprefix(b" ttl=")) / 1000
            assert held.at_least - now - MARGIN <= left <= held.at_most - now + MARGIN

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS))
    def delete(self, number: int, key: bytes) -> None:
        held = self.held(key)
        heard = self.ask(number, "DELETE", key)
        assert heard == (b"OK" if held else b"MISS")
        self.model.pop(key, None)

    @rule(number=st.integers(0, 2), key=st.sampled_from(KEYS), milliseconds=st.sampled_from([SHORT, LONG]))
    def touch(self, number: int, key: bytes, milliseconds: int) -> None:
        held, started = self.held(key), time.monotonic()
        heard = self.ask(number, "TOUCH", key, b" px=%d" % milliseconds)
        assert heard == (b"OK" if held else b"MISS")
        if held:
            self.remember(key, held.value, milliseconds, started)

    @invariant()
    def every_connection_is_in_step(self) -> None:
        for number, client in enumerate(getattr(self, "clients", [])):
            assert client.ask(b"PING 1:%d\n" % number) == b"OK 1:%d" % number


@pytest.mark.timeout(120)
def test_the_server_agrees_with_a_dictionary(server: RunningServer) -> None:
    machine = type("Model", (CacheModel,), {"server": server})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],  # to shrink a failure would take longer than CI has
        ),
    )
