"""Which node of a shard is its master, and what its replicas have: from what the nodes and the Sentinels say.

A node says what it takes itself for. That is believed of the nodes of a fixed list, as long as one of them alone is the
master; where Sentinels watch a shard, they decide, and among them the one with the latest configuration. There is one
such judge in a server, so that all its workers write to the same master.

How old a replica's data is follows from places in the master's stream of changes: a replica that is as far as the
master was at some moment has everything that the master had then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from wireproto.core.shard_lane import NEVER

REPORT_LIFE: Final = 1.5
"""Seconds for which a node is taken for what it said; a few looks of `server.node_monitor`."""
FENCE: Final = 5.0
"""Seconds for which nobody is written to while a Sentinel makes another node the master; it takes one or two."""
_SAMPLES: Final = 64


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node said of itself. `at` is when it was asked, in seconds of the monotonic clock."""

    at: float
    role: str
    """`master`, `replica` or `unknown`."""
    history: str
    """The id of the stream of changes."""
    offset: int
    """The place in it."""
    in_sync: bool
    """Whether a replica is connected to its master, and not loading its data."""
    followers: int
    """How many replicas a master has."""

    @classmethod
    def from_info(cls, info: Mapping[str, Any], at: float) -> NodeReport:
        """The report in the answer to INFO replication (https://redis.io/docs/latest/commands/info)."""
        role = {"master": "master", "slave": "replica"}.get(str(info.get("role")), "unknown")
        offset = info.get("slave_repl_offset" if role == "replica" else "master_repl_offset")
        followers = info.get("connected_slaves")
        return cls(
            at=at,
            role=role,
            history=str(info.get("master_replid", "")),
            offset=offset if isinstance(offset, int) else -1,
            in_sync=info.get("master_link_status") == "up" and not info.get("master_sync_in_progress"),
            followers=followers if isinstance(followers, int) else 0,
        )


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node of a shard, as the judge sees it."""

    address: str
    url: str = field(repr=False)
    pid: int | None = None
    """Its process, where it was started here."""
    lag_ms: int | None = None
    """How far behind the master a replica was at the last look; None if that is not known."""
    history: str = ""
    """The id of a master's stream of changes."""
    caught_up_to: float = NEVER
    """The latest moment whose every change a replica has; NEVER for one that is not to be read."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard as it stands."""

    name: str
    master: NodeView | None
    replicas: tuple[NodeView, ...] = ()
    failovers: int = 0
    """How often another node has become the master since the start."""
    problem: str = ""
    """Why there is no master, or what is wrong all the same."""

    def to_json(self) -> dict[str, Any]:
        """This view as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShardView:
        """The view in an object that `to_json` has made."""
        master = value["master"]
        replicas = tuple(NodeView(**replica) for replica in value["replicas"])
        return cls(**{**value, "master": None if master is None else NodeView(**master), "replicas": replicas})


class ShardTopology:
    """What is known of one shard's nodes, which go by their addresses.

    With `is_watched` Sentinels say who is master, otherwise the nodes themselves. `known` are nodes that belong to it
    whether or not a Sentinel has found them yet.
    """

    def __init__(self, name: str, *, is_watched: bool, known: Sequence[str] = ()) -> None:
        self.name = name
        self.failovers = 0
        self.problem = ""
        self.master: str | None = None
        self._last_master: str | None = None
        self._is_watched = is_watched
        self._reports: dict[str, NodeReport] = {}
        self._known = tuple(known)
        self._members: list[str] = []
        self._asked: set[str] = set()
        """The nodes that have answered, or failed to, at least once."""
        self._answers: dict[str, tuple[int, str]] = {}
        """What each Sentinel said last: the number of its configuration, and the master in it."""
        self._fenced_until = 0.0
        self._candidate = ""
        self._latest_at_fence = -1
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._history = ""

    @property
    def members(self) -> list[str]:
        """The addresses of all nodes."""
        return list(self._members)

    # -- what is heard

    def set_members(self, addresses: Iterable[str]) -> None:
        """These are the shard's nodes."""
        self._members = list(dict.fromkeys((*addresses, *self._known)))
        self._reports = {address: report for address, report in self._reports.items() if address in self._members}

    def node_said(self, address: str, report: NodeReport | None) -> None:
        """A node has answered, or not."""
        self._asked.add(address)
        if report is None:
            # One look that failed unseats no master: another one may be waiting that was replaced long ago.
            if address != self.master:
                self._reports.pop(address, None)
            return
        self._reports[address] = report
        if self._fenced_until and address == self._candidate and report.role == "master":
            self.appoint(address)
        if address == self.master and report.role == "master":
            if report.history != self._history:
                self._samples.clear()
                self._history = report.history
            self._samples.append((report.at, report.offset))

    def sentinel_said(self, sentinel: str, epoch: int, master: str, replicas: Iterable[str]) -> None:
        """A Sentinel has told its configuration. The latest of all counts, also if who told it cannot be asked now."""
        self._answers[sentinel] = (epoch, master)
        latest = self._latest
        if epoch < latest or (self._fenced_until and latest <= self._latest_at_fence):
            return
        named = {name for number, name in self._answers.values() if number == latest}
        if self.master in named and master != self.master:
            return
        self.set_members([master, *replicas])
        self._fenced_until = 0.0
        self.appoint(master)

    def sentinel_forgot(self, sentinel: str) -> None:
        """A Sentinel does not watch this shard (any more): what it said before counts for nothing."""
        self._answers.pop(sentinel, None)

    @property
    def _latest(self) -> int:
        return max((number for number, _ in self._answers.values()), default=-1)

    def failover_begins(self, candidate: str, now: float) -> None:
        """A Sentinel is telling this node to be the master: what the old one is told from now on would be lost.

        The node is the master as soon as it says so, which is a second before the Sentinel does.
        """
        if candidate == self.master:
            return  # its success was heard of before its beginning
        self._candidate = candidate
        self._latest_at_fence = self._latest
        self._fenced_until = now + FENCE

    @property
    def is_fenced(self) -> bool:
        """Whether a failover is under way."""
        return self._fenced_until > 0.0

    def failover_ends(self) -> None:
        """It has given up."""
        self._fenced_until = 0.0

    # -- what follows

    def judge(self, now: float) -> None:
        """Decide who is master."""
        self.problem = ""
        if self._is_watched:
            self.problem = self._problem_of_named(now)
        elif len(self._members) > 1:
            self._judge_by_reports(now)
        if now >= self._fenced_until:
            self._fenced_until = 0.0
        elif self.master != self._candidate:
            self.problem = "another master is being made"

    def _problem_of_named(self, now: float) -> str:
        """What is wrong with the master that the Sentinels have named."""
        if self.master is None:
            return "no Sentinel has named a master"
        report = self._reports.get(self.master)
        if report is not None and report.role == "replica" and now - report.at < REPORT_LIFE:
            # They may have been set up anew, with lower numbers than one had told that is gone: nobody else would say.
            return (
                f"the latest that Sentinels said is that the master is {self.master}, which says that it is a replica"
            )
        return ""

    def _judge_by_reports(self, now: float) -> None:
        fresh = {address: report for address, report in self._reports.items() if now - report.at < REPORT_LIFE}
        claimants = [address for address, report in fresh.items() if report.role == "master"]
        followed = [address for address in claimants if fresh[address].followers]
        if self.master in claimants:
            others = ", ".join(address for address in claimants if address != self.master)
            self.problem = f"another node says that it is the master: {others}" if others else ""
        elif not followed and self._last_master is None and not self._asked.issuperset(self._members):
            # One that was replaced long ago may be the first to answer.
            self.problem = "not all nodes have been asked yet"
        elif len(claimants) == 1:
            self.appoint(claimants[0])
        elif len(followed) == 1:
            self.appoint(followed[0])
        elif claimants:
            self.problem = f"several nodes say that they are the master: {', '.join(claimants)}"
            self.appoint(None)
        elif self.master in fresh:
            self.problem = "no node says that it is the master"
            self.appoint(None)
        elif self.master is None:
            self.problem = "no node says that it is the master"

    def appoint(self, address: str | None) -> None:
        """This node is the master; None: none is."""
        if address == self.master:
            return
        if address is not None and address != self._last_master:
            self.failovers += self._last_master is not None
            self._last_master = address
        self.master = address
        self._samples.clear()
        self._history = ""

    # -- what is told

    def view(self, locate: Callable[[str], tuple[str, int | None]]) -> ShardView:
        """The shard as it stands. `locate` gives a node's URL and process."""
        master = None
        if self.master is not None and (not self._fenced_until or self.master == self._candidate):
            master = NodeView(self.master, *locate(self.master), history=self._history)
        replicas = (self._replica(address, *locate(address)) for address in self._members if address != self.master)
        return ShardView(self.name, master, tuple(replicas), self.failovers, self.problem)

    def _replica(self, address: str, url: str, pid: int | None) -> NodeView:
        report = self._reports.get(address)
        if report is None or not self._samples or report.history != self._history or report.role != "replica":
            return NodeView(address, url, pid)
        caught_up_to = NEVER
        for at, offset in reversed(self._samples):
            if offset <= report.offset:
                caught_up_to = at
                break
        else:
            return NodeView(address, url, pid)
        # Against what the master had when this replica was asked, and not what it has had since.
        seen = next((at for at, _ in reversed(self._samples) if at <= report.at), caught_up_to)
        lag_ms = max(0, round((seen - caught_up_to) * 1000))
        # One that is silent is read no more after a while, though nothing may have changed since it was heard.
        caught_up_to = min(caught_up_to, report.at) if report.in_sync else NEVER
        return NodeView(address, url, pid, lag_ms, caught_up_to=caught_up_to)
