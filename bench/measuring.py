"""Runs the load generator in processes of its own and measures the target's CPU over the same window."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.closed_loop import ClosedLoop
from bench.cpu import CpuTimes, cpu_times
from bench.library_load import LibraryLoad
from bench.load import SECOND
from bench.measurement import Measurement
from bench.open_loop import OpenLoop
from bench.plan import Plan
from bench.tally import Tally
from bench.targets import Target

START_DELAY = SECOND // 50
"""Nanoseconds until all processes begin together."""

Progress = Callable[[float, float], None]
"""Called with the seconds since the begin and the requests per second since the last call."""


class GeneratorError(RuntimeError):
    """A process of the load generator failed."""


@dataclass
class _Run:
    """The parent's view of the generator's processes."""

    pipes: list[Connection]
    target: Target
    plan: Plan
    progress: Progress | None
    at_window: Callable[[], None] | None
    before: CpuTimes | None = None
    after: CpuTimes | None = None


def measure(
    target: Target, plan: Plan, progress: Progress | None = None, at_window: Callable[[], None] | None = None
) -> Measurement:
    """Put the load on the target and wait until it is over; call `at_window` when counting begins.

    Raises GeneratorError.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.measuring"])
    pipes, children = [], []
    for share in plan.shares():
        ours, theirs = context.Pipe()
        child = context.Process(target=_generate, args=(theirs, target, share), daemon=True)
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    try:
        run = _Run(pipes, target, plan, progress, at_window)
        tally = _watch(run)
    finally:
        for child in children:
            child.join(1.0)
            child.kill()
            child.join()
    cpu = run.after.since(run.before) if run.before and run.after and target.server_processes else None
    return Measurement(target, plan, tally, cpu)


def _generate(pipe: Connection, target: Target, plan: Plan) -> None:
    """In the child: connect, wait for the signal, run, report."""
    try:
        load = _load_type(plan)(target, plan)
        pipe.send(("ready", None))
        begin = pipe.recv()
        pipe.send(("tally", load.run(begin, lambda what, replies: pipe.send((what, replies)))))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        return
    except Exception:
        pipe.send(("failed", traceback.format_exc()))


def _load_type(plan: Plan) -> type[ClosedLoop | OpenLoop | LibraryLoad]:
    if plan.caller != "sockets":
        return LibraryLoad
    return ClosedLoop if plan.rate is None else OpenLoop


def _watch(run: _Run) -> Tally:
    """Start all at once; look at the CPU when the window opens and when the last process says that it is over."""
    for pipe in run.pipes:
        _receive(pipe, "ready")
    begin = time.monotonic_ns() + START_DELAY
    for pipe in run.pipes:
        pipe.send(begin)
    opens = begin / SECOND + run.plan.warm_up
    total, open_pipes = Tally(), set(run.pipes)
    replies: dict[Connection, int] = dict.fromkeys(run.pipes, 0)
    told, ended = (begin / SECOND, 0), 0
    while open_pipes:
        wait = max(0.0, opens - time.monotonic()) if run.before is None else None
        for ready in multiprocessing.connection.wait(open_pipes, wait):
            assert isinstance(ready, Connection)
            what, value = _receive(ready)
            if what == "tally":
                total.add(value)
                open_pipes.discard(ready)
                continue
            replies[ready] = value
            ended += what == "end"
            if ended == len(run.pipes) and run.after is None:
                run.after = cpu_times(run.target)
        now = time.monotonic()
        if run.before is None and now >= opens:
            run.before = cpu_times(run.target)
            if run.at_window is not None:
                run.at_window()
        told = _tell(run, begin / SECOND, told, now, sum(replies.values()))
    return total


def _tell(run: _Run, begin: float, told: tuple[float, int], now: float, replies: int) -> tuple[float, int]:
    """Report the progress about twice a second; when and what was last told."""
    if run.progress is None or now - told[0] < 0.5:
        return told
    run.progress(now - begin, (replies - told[1]) / (now - told[0]))
    return now, replies


def _receive(pipe: Connection, wanted: str | None = None) -> tuple[str, Any]:
    try:
        what, value = pipe.recv()
    except EOFError:
        raise GeneratorError("a process of the load generator ended") from None
    if what == "failed" or (wanted is not None and what != wanted):
        raise GeneratorError(str(value))
    return what, value
