"""How long requests wait for a node that is overloaded, far away, or hangs: a pipeline before a simulated node."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from wireproto.core.bundle import Batch, Bundle
from wireproto.core.node_health import NodeEvent
from wireproto.core.node_pipeline import NodePipeline

TICK = 0.001
MOST = 0.25


@dataclass
class Simulation:
    """A node that answers `rate` requests a second after `way` seconds, and clients that send `offered` a second.

    Both are asked at each tick, so that they may change with time.
    """

    rate: Callable[[float], float]
    offered: Callable[[float], float]
    way: Callable[[float], float] = lambda now: 0.0005
    max_delay: float = MOST
    size: int = 1
    """Requests that are sent together."""
    waited: list[tuple[float, float]] = field(default_factory=list)
    """Of what was answered: when it was sent, and how long it took."""
    refused: list[tuple[float, int | None]] = field(default_factory=list)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.node = NodePipeline(
            "n", lambda: None, max_requests=10**6, max_bytes=10**9, max_value=1000, max_delay=self.max_delay
        )
        self.node.change(NodeEvent.TRY)
        self.node.greeted("master", b"", self.now, trusted=True)
        self._queue: deque[float] = deque()
        self._due = self._can = 0.0

    # -- the owner of all bundles

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        self.waited += [(bundle.received_at, now - bundle.received_at)] * len(replies)

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        if code == "BUSY":
            self.refused += [(self.now, retry_ms)] * len(bundle.kinds)
        else:
            assert code in ("LOST", "DOWN")

    def give_up(self, error: Exception) -> None:
        raise error

    # -- time

    def reconnect(self) -> None:
        """The connection is lost, with what is in flight, and another is made."""
        self._queue.clear()
        self.node.lost()
        self.node.change(NodeEvent.TRY)
        self.node.greeted("master", b"", self.now, trusted=True)

    def run(self, seconds: float) -> Simulation:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            self._due += self.offered(self.now) * TICK
            while self._due >= self.size:
                self._due -= self.size
                self._submit()
            sent = self.node.data_to_send(self.now).count(b"PING")
            self._queue += [self.now + self.way(self.now)] * sent
            self._answer()
        return self

    def _submit(self) -> None:
        bundle = Bundle(self, Batch(), self.now)
        bundle.commands = [b"\r\n*1\r\n$4\r\nPING"] * self.size
        bundle.kinds, bundle.slots = [1] * self.size, list(range(self.size))
        self.node.submit(bundle)

    def _answer(self) -> None:
        """The node takes what has come to it, as fast as it can."""
        self._can = min(self._can + self.rate(self.now) * TICK, max(1.0, self.rate(self.now) * TICK * 2))
        count = 0
        while self._queue and self._can >= 1 and self._queue[0] <= self.now:
            self._queue.popleft()
            self._can -= 1
            count += 1
        if count:
            self.node.receive(b"+OK\r\n" * count, self.now)

    # -- what came of it

    def times(self, since: float, until: float = 1e9) -> list[float]:
        """How long requests took that were sent in that time, counted from the start."""
        return [took for sent, took in self.waited if 100 + since <= sent < 100 + until]


@pytest.mark.parametrize("rate", [200.0, 2000.0, 8000.0])
@pytest.mark.parametrize("most", [0.05, 0.25])
@pytest.mark.parametrize("times", [1.2, 3.0])
def test_an_overloaded_node_does_all_it_can_and_nobody_waits_too_long(rate: float, most: float, times: float) -> None:
    simulation = Simulation(lambda now: rate, lambda now: times * rate, max_delay=most).run(8.0)
    answered = simulation.times(2.0, 7.0)
    assert len(answered) >= 0.97 * rate * 5
    assert max(answered) <= most * 1.1 + 2 / rate
    # Until it is noticed, more comes in than can be done in time.
    assert max(simulation.times(0)) <= 4 * most
    later = [retry for now, retry in simulation.refused if now > 102]
    assert all(retry is not None and 50 <= retry <= max(50, 1100 * most) for retry in later)


def test_without_a_bound_everything_waits() -> None:
    simulation = Simulation(lambda now: 1000.0, lambda now: 2000.0, max_delay=0.0).run(3.0)
    assert not simulation.refused
    assert max(simulation.times(0)) > 1.0


@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("way", [0.0005, 0.2, 0.8])
def test_a_far_node_that_can_do_what_is_asked_refuses_nothing(way: float, size: int) -> None:
    simulation = Simulation(lambda now: 5000.0, lambda now: 3000.0, lambda now: way, size=size).run(6.0)
    assert not simulation.refused
    assert len(simulation.times(0)) >= 3000 * (5.9 - way)


@pytest.mark.parametrize("hang", [0.1, 0.3, 0.6, 0.9])
def test_a_node_that_hangs_for_a_moment_refuses_nothing(hang: float) -> None:
    def rate(now: float) -> float:
        return 0.0 if 0 < (now - 102.0) % 2.0 < hang else 20_000.0

    simulation = Simulation(rate, lambda now: 2000.0).run(8.0)
    assert not simulation.refused


def test_a_crowd_that_comes_at_once_waits() -> None:
    offered = lambda now: 1_000_000.0 if 103 < now <= 103.005 else 100.0  # noqa: E731
    simulation = Simulation(lambda now: 20_000.0, offered).run(5.0)
    assert not simulation.refused
    assert max(simulation.times(0)) == pytest.approx(0.25, abs=0.02)


def test_when_the_crowd_has_gone_nothing_is_refused() -> None:
    simulation = Simulation(lambda now: 1000.0, lambda now: 3000.0 if now < 105 else 900.0).run(15.0)
    assert any(now < 105 for now, _ in simulation.refused)
    assert not [now for now, _ in simulation.refused if now > 105.5]
    assert statistics.median(simulation.times(7.0)) < 0.01


def test_a_node_that_can_do_more_again_is_given_more() -> None:
    simulation = Simulation(lambda now: 1000.0 if now < 105 else 4000.0, lambda now: 6000.0).run(12.0)
    assert len(simulation.times(6.0, 11.0)) >= 0.97 * 4000 * 5
    assert max(simulation.times(6.0)) <= MOST * 1.1


def test_a_way_that_becomes_longer_is_no_queue_for_long() -> None:
    simulation = Simulation(lambda now: 5000.0, lambda now: 500.0, lambda now: 0.001 if now < 105 else 0.6).run(30.0)
    assert simulation.refused, "it cannot be told from a queue at first"
    assert max(now for now, _ in simulation.refused) < 105 + 15
    assert len(simulation.times(20.0, 29.0)) >= 0.99 * 500 * 9


def test_a_way_that_becomes_a_little_longer_is_never_taken_for_a_queue() -> None:
    simulation = Simulation(lambda now: 5000.0, lambda now: 500.0, lambda now: 0.001 if now < 105 else 0.2).run(10.0)
    assert not simulation.refused


def test_a_new_connection_knows_nothing_of_the_one_before() -> None:
    simulation = Simulation(lambda now: 1000.0, lambda now: 3000.0).run(3.0)
    refused = len(simulation.refused)
    assert refused
    simulation.offered, simulation.way = (lambda now: 500.0), (lambda now: 0.4)
    simulation.reconnect()
    simulation.run(4.0)
    assert len(simulation.refused) == refused
