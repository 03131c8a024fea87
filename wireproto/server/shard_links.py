"""A process's connections to the nodes of one shard: to the master of the day, and to its replicas.

A client has one lane of them for its whole life, so that its requests stay in order; where a lane's connections lead
changes with the shard.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Final

from wireproto.core.confirmations import ShardConfirmations
from wireproto.core.node_health import WORST_FIRST, NodeState
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.shard_lane import NEVER, Replica, ShardLane
from wireproto.core.topology import NodeView, ShardView
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.nodes import NodeConnection
from wireproto.settings import Settings

Life = Callable[[], Coroutine[None, None, None]]
_NOWHERE: Final = ""


class ShardLinks:
    """`settings.pool_size` lanes to a shard. `start` is given what is to run beside; `on_refused` as in NodeConnection.

    Raises ConfigurationError for a URL that cannot be used.
    """

    def __init__(
        self, view: ShardView, settings: Settings, start: Callable[[Life], None], on_refused: Callable[[], None]
    ) -> None:
        self.name = view.name
        self.view = view
        self._settings = settings
        self._start = start
        self._on_refused = on_refused
        self._endpoints: dict[str, NodeEndpoint] = {}
        self._masters = [self._open_master(number) for number in range(settings.pool_size)]
        self._replicas: dict[str, list[NodeConnection]] = {}
        self._confirming: list[NodeConnection] = []
        confirmations = ShardConfirmations(self._open_confirming, settings.sync_timeout)
        self.lanes = [ShardLane(connection.pipeline, confirmations) for connection in self._masters]
        self._is_new = True
        self.update(view)
        self._is_new = False

    def _open_master(self, number: int) -> NodeConnection:
        connection = NodeConnection(
            self.name,
            self.name,
            self._settings,
            hold=self._settings.failover_grace,
            quiet=number > 0,
            on_refused=self._on_refused,
        )
        self._start(connection.run)
        return connection

    def _open_confirming(self, needed: int) -> NodePipeline:
        """A connection to the master for questions that block it; see `core.confirmations`."""
        wait = self._settings.sync_timeout
        label = f"{self.name} (for sync={needed})"
        connection = NodeConnection(self.name, label, self._settings, extra_time=wait, hold=wait, quiet=True)
        # The first question waits for it.
        connection.pipeline.held_until = monotonic() + wait
        connection.aim(self._endpoint(self.view.master))
        self._confirming.append(connection)
        self._start(connection.run)
        return connection.pipeline

    def _endpoint(self, node: NodeView | None) -> NodeEndpoint | None:
        """Where a node is. Made once for as long as it belongs to the shard: a TLS context takes milliseconds."""
        if node is None:
            return None
        found = self._endpoints.get(node.url)
        if found is None:
            found = self._endpoints[node.url] = NodeEndpoint.from_url(node.url)
        return found

    # -- the shard as it stands

    def update(self, view: ShardView) -> None:
        """Follow the shard."""
        self.view = view
        master = self._endpoint(view.master)
        history = b"" if view.master is None else view.master.history.encode()
        for connection in (*self._masters, *self._confirming):
            connection.aim(master)
            if history not in (b"", connection.pipeline.history):
                connection.pipeline.ask_for_history()
        wanted = {replica.address: replica for replica in view.replicas}
        for address in self._replicas.keys() - wanted.keys():
            for connection in self._replicas.pop(address):
                connection.retire()
        for address, replica in wanted.items():
            if address not in self._replicas:
                self._replicas[address] = [self._open_replica(replica, n) for n in range(len(self._masters))]
        self._tell_lanes(view)
        here = {node.url for node in (view.master, *view.replicas) if node is not None}
        self._endpoints = {url: endpoint for url, endpoint in self._endpoints.items() if url in here}

    def _open_replica(self, replica: NodeView, number: int) -> NodeConnection:
        label = f"{self.name} at {replica.address}"
        connection = NodeConnection(self.name, label, self._settings, role="replica", quiet=number > 0)
        connection.aim(self._endpoint(replica))
        self._start(connection.run)
        return connection

    def _tell_lanes(self, view: ShardView) -> None:
        longest_answer = self._settings.node_timeout + self._settings.failover_grace
        usable_from = NEVER if self._is_new else monotonic() + longest_answer
        for number, lane in enumerate(self.lanes):
            known = {replica.pipeline: replica for replica in lane.replicas}
            lane.replicas = []
            for node in view.replicas:
                pipeline = self._replicas[node.address][number].pipeline
                replica = known.get(pipeline) or Replica(pipeline, zlib.crc32(node.address.encode()), usable_from)
                replica.caught_up_to = node.caught_up_to
                lane.replicas.append(replica)

    async def first_attempts(self) -> None:
        """Return when the master has been tried once."""
        for connection in self._masters:
            await connection.first_attempt_over.wait()

    def check_time(self, now: float) -> None:
        """Give up what is too late."""
        for connection in (*self._masters, *self._confirming):
            connection.check_time(now)
        for connections in self._replicas.values():
            for connection in connections:
                connection.check_time(now)

    # -- what is told of it

    @property
    def state(self) -> NodeState:
        """The master's state: the best among its connections."""
        return _best_state(self._masters)

    def describe(self) -> tuple[list[str], dict[str, str]]:
        """The nodes in lines of text, and the master's role and state, for WHERE."""
        master = self.view.master
        lines = [f"{self._role} {self.state.value} {master.address}"] if master is not None else []
        for replica in self.view.replicas:
            state = _best_state(self._replicas[replica.address]).value
            lag = "" if replica.lag_ms is None else f" lag_ms={replica.lag_ms}"
            read = "" if self._may_read(replica) else " read=no"
            lines.append(f"replica {state}{lag}{read} {replica.address}")
        return lines, {"role": self._role, "state": self.state.value}

    def stats(self) -> list[dict[str, object]]:
        """Every node of the shard, the master first, for STATS."""
        entries = [{"role": self._role, **self._node_stats(self.view.master, self._masters)}]
        for replica in self.view.replicas:
            entry = {"role": "replica", **self._node_stats(replica, self._replicas[replica.address])}
            entries.append({**entry, "lag_ms": replica.lag_ms, "read": self._may_read(replica)})
        return entries

    @property
    def _role(self) -> str:
        return self._masters[0].pipeline.role if self.state is not NodeState.DOWN else "unknown"

    def _may_read(self, replica: NodeView) -> bool:
        return replica.caught_up_to >= monotonic() - self._settings.max_replica_lag

    def _node_stats(self, node: NodeView | None, connections: Sequence[NodeConnection]) -> dict[str, object]:
        pipelines = [connection.pipeline for connection in connections]
        entry: dict[str, object] = {
            "shard": self.name,
            "address": _NOWHERE if node is None else node.address,
            "state": _best_state(connections).value,
            "connections": sum(pipeline.state is NodeState.UP for pipeline in pipelines),
            "connects": sum(connection.connects for connection in connections),
            "waiting": sum(pipeline.waiting_requests for pipeline in pipelines),
            "in_flight": sum(pipeline.in_flight_requests for pipeline in pipelines),
            "round_trip_us": round(max(pipeline.round_trip for pipeline in pipelines) * 1e6),
        }
        if node is not None and node.pid is not None:
            entry["pid"] = node.pid
        return entry


def _best_state(connections: Sequence[NodeConnection]) -> NodeState:
    states = {connection.pipeline.state for connection in connections}
    return next(state for state in reversed(WORST_FIRST) if state in states)
