"""A client's conversation without sockets: a session, pipelines, and nodes that are dictionaries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import hiredis

from wireproto.core.access import FULL_ACCESS, Access
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.envelope import is_vacancy, vacant_until
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.node_health import NodeEvent
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.quotas import Quotas
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.ring import HashRing
from wireproto.core.scripts import DELETE_SCRIPT, INCR_SCRIPT, READ_SCRIPT, TOUCH_SCRIPT, WRITE_SCRIPT
from wireproto.core.server_session import ServerSession, SessionState
from wireproto.core.session_context import Sealers, SessionContext
from wireproto.core.shard_lane import ShardLane
from wireproto.core.signing_keys import HS256, SigningKey, SigningKeys
from wireproto.core.tokens import TokenAuthority

API_KEY = b"a-key-of-the-tests"
OTHER_KEY = b"a-key-of-another-client"
SIGNING_KEY, SIGNING_KEY_ID = b"s" * 32, "signing"
SIGNING_KEYS = SigningKeys((SigningKey(SIGNING_KEY_ID, HS256, 0, None, SIGNING_KEY),))
NODE_NAMES = ("shard-1", "shard-2", "shard-3", "shard-4")
RING = HashRing(NODE_NAMES)
"""Never changes, and takes 50 ms to draw."""


class World:
    """The surroundings of a session, all of them under the test's control."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.ids = 0
        self.events: list[tuple[str, dict[str, object]]] = []
        self.bugs: list[Exception | str] = []
        self.guesses: list[str] = []

    def wall_clock(self) -> float:
        return self.now

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def stamp(self) -> bytes:
        self.ids += 1
        return b"stamp-%010d" % self.ids

    def describe_shard(self, index: int) -> tuple[list[str], Mapping[str, str]]:
        return ["master up 127.0.0.1:1"], {"role": "master", "state": "up"}

    def stats(self) -> bytes:
        return json.dumps({"version": "test"}).encode()

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        self.events.append((event, dict(details)))

    def wrong_credential(self, peer: str) -> None:
        self.guesses.append(peer)

    def report_bug(self, error: Exception | str) -> str:
        self.bugs.append(error)
        return "bug-id"


class DictionaryNode:
    """Executes the commands that the server uses, on a dictionary."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.times: dict[bytes, int] = {}
        self.commands: list[list[bytes]] = []
        self._reader = hiredis.Reader()

    def execute(self, data: bytes) -> list[bytes]:
        """The RESP replies to the commands in `data`, one by one."""
        self._reader.feed(data)
        replies = []
        while (command := self._reader.gets()) is not False:
            self.commands.append(command)
            replies.append(self._execute(*command))
        return replies

    def _execute(self, name: bytes, *words: bytes) -> bytes:
        if name == b"GET":
            return self._bulk(self.values.get(words[0]))
        if name == b"SET":
            return self._set(*words)
        if name == b"UNLINK":
            self.times.pop(words[0], None)
            return b":%d\r\n" % (self.values.pop(words[0], None) is not None)
        assert name == b"EVALSHA"
        script, _one, key, _now, *arguments = words
        return SCRIPTED[script](self, key, *arguments)

    # -- what the scripts do with plain values, which have no versions; `test_scripts` has the scripts themselves

    def _value(self, key: bytes) -> bytes | None:
        """What is stored, unless it is only the place that somebody with a lease will fill."""
        stored = self.values.get(key)
        return None if stored is None or is_vacancy(stored) else stored

    def _read(self, key: bytes, version: bytes, lease: bytes, lease_ms: bytes, _early: bytes) -> bytes:
        stored, granted, held = self._value(key), None, 0
        if lease and stored is None:
            if key in self.values:
                held = vacant_until(self.values[key])
            else:
                granted = lease
                self.values[key] = b"\xffV" + lease + b"%014d" % int(lease_ms)
        left = self.times.get(key, -1)
        return b"*5\r\n%b:%d\r\n%b:%d\r\n:0\r\n" % (self._bulk(stored), left, self._bulk(granted), held)

    def _write(
        self, key: bytes, condition: bytes, operand: bytes, version: bytes, expiry: bytes, *rest: bytes
    ) -> bytes:
        holds = {
            b"": True,
            b"nx": self._value(key) is None,
            b"xx": self._value(key) is not None,
            b"ver": False,
            b"lease": self._is_held_by(key, operand),
        }
        if not holds[condition]:
            return b"$-1\r\n"
        if expiry.isdigit():
            return self._set(key, rest[-1], b"PX", expiry)
        return self._set(key, rest[-1], *([b"KEEPTTL"] if expiry else []))

    def _is_held_by(self, key: bytes, lease: bytes) -> bool:
        return self._value(key) is None and self.values.get(key, b"")[2:18] == lease

    def _delete(self, key: bytes, condition: bytes, operand: bytes) -> bytes:
        if condition == b"ver":
            return b":0\r\n" if self._value(key) is None else b":-1\r\n"
        if not self._is_held_by(key, operand):
            return b":-1\r\n"
        del self.values[key]
        return b":1\r\n"

    def _touch(self, key: bytes, expiry: bytes) -> bytes:
        if self._value(key) is None:
            return b":0\r\n"
        self.times[key] = int(expiry)
        return b":1\r\n"

    def _incr(self, key: bytes, by: bytes, _expiry: bytes) -> bytes:
        value = self._value(key) or b"0"
        if not value.removeprefix(b"-").isdigit():
            return b"-TYPE value\r\n"
        if not -(2**63) <= int(value) + int(by) < 2**63:
            return b"-TYPE overflow\r\n"
        self.values[key] = b"%d" % (int(value) + int(by))
        return self._bulk(self.values[key])

    def _set(self, key: bytes, value: bytes, *options: bytes) -> bytes:
        if (b"NX" in options and key in self.values) or (b"XX" in options and key not in self.values):
            return b"$-1\r\n"
        self.values[key] = value
        words = [option.upper() for option in options]
        if b"PX" in words:
            self.times[key] = int(words[words.index(b"PX") + 1])
        elif b"EX" in words:
            self.times[key] = int(words[words.index(b"EX") + 1]) * 1000
        elif b"KEEPTTL" not in options:
            self.times.pop(key, None)
        return b"+OK\r\n"

    @staticmethod
    def _bulk(value: bytes | None) -> bytes:
        return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


SCRIPTED: dict[bytes, Callable[..., bytes]] = {
    READ_SCRIPT.name: DictionaryNode._read,
    WRITE_SCRIPT.name: DictionaryNode._write,
    DELETE_SCRIPT.name: DictionaryNode._delete,
    TOUCH_SCRIPT.name: DictionaryNode._touch,
    INCR_SCRIPT.name: DictionaryNode._incr,
}


def new_authority(access: Access = FULL_ACCESS) -> TokenAuthority:
    """Knows two clients of one namespace; the access is that of the first."""
    records = [
        ApiKeyRecord("k1", hash_api_key(API_KEY), "client", "ns", 0, access),
        ApiKeyRecord("k2", hash_api_key(OTHER_KEY), "other", "ns", 0),
    ]
    return TokenAuthority(records, SIGNING_KEYS, 900)


def new_pipeline(name: str) -> NodePipeline:
    """The pipeline of a node that is up."""
    pipeline = NodePipeline(name, lambda: None, max_requests=65536, max_bytes=1 << 26, max_value=1 << 20)
    pipeline.change(NodeEvent.TRY)
    pipeline.change(NodeEvent.GREETED)
    return pipeline


class Conversation:
    """One session and its nodes. `say` sends bytes and gives what comes back."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        policy: ReplicationPolicy | None = None,
        access: Access = FULL_ACCESS,
        sealers: Sealers | None = None,
        log_in: bool = True,
        nodes_answer: bool = True,
        lanes: list[ShardLane] | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        """`lanes` are those of another conversation, whose nodes this one shares."""
        self.world = World()
        self.now = 10.0
        self.nodes = [DictionaryNode() for _ in NODE_NAMES]
        self.nodes_answer = nodes_answer
        self.metrics = Metrics()
        self.lanes = lanes or [ShardLane(new_pipeline(name)) for name in NODE_NAMES]
        self.pipelines = [lane.master for lane in self.lanes]
        self.ring = RING
        self.authority = new_authority(access)
        context = SessionContext(
            limits or Limits(),
            self.ring,
            self.authority,
            self.metrics,
            self.world,
            policy or ReplicationPolicy(),
            sealers,
            quotas,
        )
        self.outputs = 0
        self.bug: Exception | None = None
        """Raised once, in the middle of what the session does with a node's reply."""
        self.session = ServerSession(context, self.lanes, self._on_output, "peer")
        if log_in:
            token, _ = self.authority.login(API_KEY, self.world.now, "t0")
            assert self.say(b"AUTH %d:%b\n" % (len(token), token.encode())) == b"OK ttl=900\n"

    def _on_output(self) -> None:
        self.outputs += 1
        if self.bug is not None:
            bug, self.bug = self.bug, None
            raise bug

    def open_window(self) -> None:
        """Let the session learn that replies are small, so that it takes more than a few requests at a time."""
        for _ in range(20):
            self.session.receive(b"READ 1:n\n", self.now)
            self.exchange()
            assert self.session.data_to_send() == b"MISS\n"
        self.nodes[self.owner(b"n")].commands.clear()

    @property
    def is_closed(self) -> bool:
        return self.session.state is SessionState.CLOSED

    def owner(self, key: bytes) -> int:
        return self.ring.index(key)

    def say(self, *chunks: bytes) -> bytes:
        """Send chunks one by one, with the nodes answering in between, and collect the replies."""
        heard = b""
        for chunk in chunks:
            self.session.receive(chunk, self.now)
            heard += self.settle()
        return heard

    def settle(self) -> bytes:
        """Let nodes answer and the session go on until nothing moves any more."""
        heard = b""
        while True:
            moved = self.nodes_answer and self.exchange()
            heard += self.session.data_to_send()
            if self.session.can_resume:
                self.session.resume(self.now)
                moved = True
            if not moved:
                return heard + self.session.data_to_send()

    def exchange(self) -> bool:
        """Let every node answer what it was sent; whether anything was."""
        return sum(self.exchange_with(index) for index in range(len(self.nodes))) > 0

    def exchange_with(self, index: int) -> bool:
        pipeline = self.pipelines[index]
        data = pipeline.data_to_send(self.now)
        if data:
            pipeline.receive(b"".join(self.nodes[index].execute(data)), self.now)
        return bool(data)


def key_of(conversation: Conversation, node: int, prefix: str = "key") -> bytes:
    """A key that the given node owns."""
    return next(key for number in range(1000) if conversation.owner(key := f"{prefix}-{number}".encode()) == node)
