"""All verbs and options against a plain model: what the page allows is what the server answers.

Two namespaces, of which one is encrypted, of a server with two workers; several connections; requests one by one, and
in packets.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.live.cache_model import CacheModel, DisagreementError, shown
from tests.live.model_requests import Request, request_of
from tests.live.model_scenarios import SCENARIOS
from tests.live.model_wishes import KEYS, SHORT, Tokens, Wish, packets, uses
from tests.live.running import RawClient, RunningServer
from wireproto.admin.cli import main
from wireproto.core.reply_wire import Reply, ReplyParser

SLACK = 0.005
"""Seconds that a clock which a node or the server reads may be old."""
NAMESPACES = ("open", "sealed")
WAYS = ("plain", "TLS", "plain")
SHOWN = 12
"""Exchanges that are shown before one that is wrong."""
PAUSES = st.sampled_from((*[0.0] * 240, *[0.015, *[1.2 * SHORT / 1000] * 4, 3 * SHORT / 1000] * 6, 1.1))
"""Seconds before a packet. The last one ends the shortest time of being stale."""


class Talk:
    """One connection of a namespace; replies are found by their tags if there are some, else by their order."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._parser = ReplyParser()

    def exchange(self, requests: Sequence[Request], *, tagged: bool) -> list[Reply]:
        """Send all in one packet; their replies in the order of the requests."""
        tags = [f"t{number}" if tagged else "" for number in range(len(requests))]
        self._client.send(b"".join(request.encoded(tag) for request, tag in zip(requests, tags, strict=True)))
        heard: list[Reply] = []
        while len(heard) < len(requests):
            data = self._client.connection.recv(1 << 18)
            assert data, "the server has closed the connection"
            self._parser.feed(data)
            while (reply := self._parser.next()) is not None:
                heard.append(reply)
        if not tagged:
            return heard
        by_tag = {reply.tag.decode(): reply for reply in heard}
        return [by_tag[tag] for tag in tags]

    def close(self) -> None:
        self._client.connection.close()


class ModelMachine(RuleBasedStateMachine):
    """Connections to a real server, beside the model of each namespace."""

    server: RunningServer
    api_keys: dict[str, str]
    given: set[str]
    """All versions and leases of this server, over all examples."""

    @initialize()
    def connect(self) -> None:
        self.talks = {name: [Talk(self._connection(name, way)) for way in WAYS] for name in NAMESPACES}
        self.models = {
            name: CacheModel(encrypted=name == "sealed", slack=SLACK, tokens=self.given) for name in NAMESPACES
        }
        self.tokens = {name: Tokens() for name in NAMESPACES}
        self.past: list[tuple[str, Request, Reply]] = []
        for name in NAMESPACES:
            # Twice: what a first DELETE finds is left open.
            for _ in range(2):
                self.talks[name][0].exchange([Request("DELETE", key) for key in KEYS], tagged=False)

    def _connection(self, namespace: str, way: str) -> RawClient:
        client = self.server.tls(log_in=False) if way == "TLS" else self.server.plain(log_in=False)
        return client.log_in(self.api_keys[namespace])

    def teardown(self) -> None:
        for talk in (talk for talks in getattr(self, "talks", {}).values() for talk in talks):
            talk.close()

    @rule(
        namespace=st.sampled_from(NAMESPACES),
        number=st.integers(0, len(WAYS) - 1),
        packet=packets(),
        tagged=st.booleans(),
        pause=PAUSES,
        use=st.none() | uses(),
    )
    def ask(
        self,
        namespace: str,
        number: int,
        packet: list[Wish],
        tagged: bool,
        pause: float,
        use: Wish | None,
    ) -> None:
        """`use`: what comes first, with what was told last."""
        time.sleep(pause)
        tokens = self.tokens[namespace]
        requests = [tokens.request(wish) for wish in packet]
        if use is not None:
            requests = tokens.using_latest(use) + requests
        sent = time.monotonic()
        replies = self.talks[namespace][number].exchange(requests, tagged=tagged)
        heard = time.monotonic()
        for place, (request, reply) in enumerate(zip(requests, replies, strict=True)):
            behind = [other for other in requests[place + 1 :] if other.key == request.key]
            try:
                self.models[namespace].take(request, reply, sent, heard, behind)
            except DisagreementError as error:
                error.add_note(self._history(namespace, request.key))
                raise
            self.tokens[namespace].learn(request.key, reply)
            self.past.append((namespace, request, reply))

    def _history(self, namespace: str, key: bytes) -> str:
        lines = [
            f"  {request} -> {shown(reply)}"
            for place, request, reply in self.past
            if (place, request.key) == (namespace, key)
        ]
        return "\n".join([f"before, in {namespace}:", *lines[-SHOWN:]])

    @invariant()
    def every_connection_is_in_step(self) -> None:
        for talk in (talk for talks in getattr(self, "talks", {}).values() for talk in talks):
            (reply,) = talk.exchange([Request("PING", b"here")], tagged=False)
            assert (reply.status, reply.arguments) == ("OK", (b"here",))


def manage(folder: Path, *words: str) -> str:
    """What a command prints, for the server whose state is in a folder."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*words, "--state-folder", str(folder / "state")]) == 0
    return said.getvalue().strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, dict[str, str]]]:
    """A server with two namespaces, of which one is encrypted, and an API key of each."""
    folder: Path = tmp_path_factory.mktemp("model")
    manage(folder, "keyring", "add", "--namespace", "sealed")
    api_keys = {name: manage(folder, "keys", "create", name, "--namespace", name) for name in NAMESPACES}
    server = RunningServer(folder, "--shards", "2", "--workers", "2")
    yield server, api_keys
    assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.timeout(180)
def test_the_server_agrees_with_the_model(served: tuple[RunningServer, dict[str, str]]) -> None:
    server, api_keys = served
    machine = type("Model", (ModelMachine,), {"server": server, "api_keys": api_keys, "given": set()})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],  # to shrink a failure would take longer than CI has
        ),
    )


class Scene:
    """A scenario on a connection of one namespace, with its own keys."""

    def __init__(self, client: RawClient, prefix: str, *, encrypted: bool, tagged: bool) -> None:
        self.talk = Talk(client)
        self._model = CacheModel(encrypted=encrypted, slack=SLACK)
        self._tokens = Tokens()
        self._prefix = prefix.encode()
        self._tagged = tagged

    def play(self, line: str) -> None:
        """Send a packet, and hold the replies against the model."""
        wished = [request_of(text) for text in line.split(" ; ")]
        requests = [self._tokens.request(Wish(replace(one, key=self._prefix + one.key), "newest")) for one in wished]
        sent = time.monotonic()
        replies = self.talk.exchange(requests, tagged=self._tagged)
        heard = time.monotonic()
        for place, (request, reply) in enumerate(zip(requests, replies, strict=True)):
            behind = [other for other in requests[place + 1 :] if other.key == request.key]
            self._model.take(request, reply, sent, heard, behind)
            self._tokens.learn(request.key, reply)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(served: tuple[RunningServer, dict[str, str]], name: str) -> None:
    server, api_keys = served
    scenes = [
        Scene(
            server.plain(log_in=False).log_in(api_keys[namespace]),
            f"{name} {tagged} ",
            encrypted=namespace == "sealed",
            tagged=tagged,
        )
        for namespace in NAMESPACES
        for tagged in (False, True)
    ]
    for line in SCENARIOS[name].strip().splitlines():
        words = line.split()
        if words[0] == "pause":
            time.sleep(int(words[1]) / 1000)
            continue
        for scene in scenes:
            scene.play(line)
    for scene in scenes:
        scene.talk.close()
