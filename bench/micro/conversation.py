"""A client's logged-in session and its nodes without sockets. The nodes' replies are prepared, so they cost nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wireproto.core.access import NO_QUOTA, Quota
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.node_health import NodeEvent
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.quota_table import PlacedQuota, QuotaTable, table_size
from wireproto.core.quotas import Quotas
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.ring import HashRing
from wireproto.core.server_session import ServerSession
from wireproto.core.session_context import SessionContext
from wireproto.core.shard_lane import ShardLane
from wireproto.core.signing_keys import HS256, SigningKey, SigningKeys
from wireproto.core.tokens import TokenAuthority

NOW = 1.0
"""The time on all clocks: nothing here takes time that anybody looks at."""
API_KEY = b"an-api-key-of-the-benchmarks"
SIGNING_KEYS = SigningKeys((SigningKey("signing", HS256, 0, None, b"s" * 32),))
VALUE = b"v" * 100
ROUNDS_UNTIL_OPEN = 30
"""A session takes few requests at a time until it knows by their replies that they are small."""
MOST_IN_FLIGHT = 2048
"""What a session that knows it has room for, in its window and in its replies of one turn."""


@functools.cache
def ring(nodes: int) -> HashRing:
    """The ring of so many nodes; drawn once, for it takes long."""
    return HashRing([f"shard-{number}" for number in range(1, nodes + 1)])


@dataclass(frozen=True)
class Request:
    """One request: its bytes, the node's reply to the command that is made of it, and the answer to the client."""

    key: bytes
    line: bytes
    reply: bytes
    answer: bytes

    def tagged(self, number: int) -> Request:
        """The same with a tag."""
        tag = b"#%d " % number
        return Request(self.key, tag + self.line, self.reply, tag + self.answer)


def read(number: int) -> Request:
    """A READ of a key of 12 bytes that finds a value of 100."""
    key = b"key:%08d" % number
    return Request(
        key, b"READ 12:%b\n" % key, b"$%d\r\n%b\r\n" % (len(VALUE), VALUE), b"OK %d:%b\n" % (len(VALUE), VALUE)
    )


def write(number: int, value: bytes = VALUE, options: bytes = b"") -> Request:
    """A WRITE of such a key. `options` begin with a space."""
    key = b"key:%08d" % number
    return Request(key, b"WRITE 12:%b %d:%b%b\n" % (key, len(value), value, options), b"+OK\r\n", b"OK\n")


@dataclass(frozen=True)
class Exchange:
    """What a client sends at once, and what comes of it."""

    count: int
    request: bytes
    replies: Sequence[tuple[NodePipeline, bytes]]
    """Of the nodes that are concerned."""
    answer_length: int


class World:
    """What a session asks of the world."""

    def wall_clock(self) -> float:
        return NOW

    def new_id(self) -> str:
        return "id"

    def stamp(self) -> bytes:
        return b"sixteen-letters."

    def describe_shard(self, index: int) -> tuple[list[str], Mapping[str, str]]:
        return [], {}

    def stats(self) -> bytes:
        return b"{}"

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        pass

    def wrong_credential(self, peer: str) -> None:
        pass

    def report_bug(self, error: Exception | str) -> str:
        raise AssertionError(error)


def quotas_of_client(quota: Quota) -> Quotas:
    """The client's, at a server with two workers."""
    quotas = Quotas(QuotaTable(memoryview(bytearray(table_size(workers=2, places=1))), workers=2, places=1))
    quotas.update({"client": PlacedQuota(0, quota)})
    return quotas


class Conversation:
    """One session, ready for many small requests, and as many nodes as are asked for. A `quota` must be a large one."""

    def __init__(self, nodes: int = 4, quota: Quota = NO_QUOTA) -> None:
        self._ring = ring(nodes)
        self.pipelines = [
            NodePipeline(name, lambda: None, max_requests=65536, max_bytes=1 << 26, max_value=1 << 20)
            for name in self._ring.names
        ]
        for pipeline in self.pipelines:
            pipeline.change(NodeEvent.TRY)
            pipeline.change(NodeEvent.GREETED)
        record = ApiKeyRecord("key-id", hash_api_key(API_KEY), "client", "default", 0)
        authority = TokenAuthority([record], SIGNING_KEYS, 900)
        quotas = None if quota == NO_QUOTA else quotas_of_client(quota)
        context = SessionContext(
            Limits(), self._ring, authority, Metrics(), World(), ReplicationPolicy(), quotas=quotas
        )
        lanes = [ShardLane(pipeline) for pipeline in self.pipelines]
        self.session = ServerSession(context, lanes, lambda: None, "peer")
        self.session.receive(b"AUTH %d:%b\n" % (len(API_KEY), API_KEY), NOW)
        assert self.session.data_to_send().startswith(b"OK ")
        opening = self.exchange([read(0)])
        for _ in range(ROUNDS_UNTIL_OPEN):
            self.session.receive(opening.request, NOW)
            self.finish(opening)

    def exchange(self, requests: Sequence[Request]) -> Exchange:
        """These requests in one read of the client."""
        replies = [b""] * len(self.pipelines)
        for request in requests:
            replies[self._ring.index(request.key)] += request.reply
        return Exchange(
            count=len(requests),
            request=b"".join(request.line for request in requests),
            replies=[pair for pair in zip(self.pipelines, replies, strict=True) if pair[1]],
            answer_length=sum(len(request.answer) for request in requests),
        )

    def send_to_nodes(self, exchange: Exchange) -> None:
        """Let the nodes have what waits for them."""
        for pipeline, _ in exchange.replies:
            pipeline.data_to_send(NOW)

    def finish(self, exchange: Exchange, times: int = 1) -> None:
        """Answer what was received so many times, and see that the answers are all there."""
        self.send_to_nodes(exchange)
        for pipeline, reply in exchange.replies:
            pipeline.receive(reply * times, NOW)
        self.hear(exchange, times)

    def hear(self, exchange: Exchange, times: int) -> None:
        """Take the answers, and see that they are all there."""
        heard = self.session.data_to_send()
        assert len(heard) == times * exchange.answer_length, heard[:100]
