"""Load by a client library: callers in one process that ask, compare the answer, and ask the next.

It has the face of `load.Load`, so that all that is measured and told of servers is told of clients, too. Here the
process that asks is what is measured: its CPU time is the client's, and it may well be busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic_ns

import uvloop

from bench.libraries import FAILURES, Library, asyncio_library, blocking_library
from bench.load import SECOND
from bench.plan import Plan
from bench.tally import Tally
from bench.targets import Target

QUESTIONS = 200
"""Different ones of each caller; it begins anew after them."""

Question = tuple[object, object, int]
"""What is asked for, what must be answered, and how many bytes the values have."""


@dataclass
class _Count:
    """What came of the calls of one phase. A call is one request, however many keys it asks for."""

    latencies: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    received: int = 0

    def note(self, right: bool, microseconds: int, size: int) -> None:
        """Count a call that was answered."""
        self.latencies[microseconds] += 1
        self.received += size
        if not right:
            self.errors["wrong value"] += 1


class LibraryLoad:
    """Callers of the target's client library: one that blocks, or as many coroutines as the plan has clients.

    Made with its connections open: redis-py takes many milliseconds for each.
    """

    def __init__(self, target: Target, plan: Plan) -> None:
        self._plan = plan
        self._open = contextlib.ExitStack()
        self._ask_until: Callable[[int], _Count]
        """Lets all callers ask until then; a call that is under way then is finished, and counts."""
        if plan.caller == "asyncio":
            self._be_asyncio(target)
        else:
            self._be_blocking(target)
        self._warmed_up = self._ask_until(monotonic_ns() + 1)  # one call each

    def _be_blocking(self, target: Target) -> None:
        library = self._open.enter_context(blocking_library(target, many=self._plan.caller == "read_many"))
        questions = _questions(self._plan, library, self._plan.first_stream)
        self._ask_until = lambda end: _ask_until(end, library, questions)

    def _be_asyncio(self, target: Target) -> None:
        callers = range(self._plan.first_stream, self._plan.first_stream + self._plan.clients)
        runner = self._open.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        stack = contextlib.AsyncExitStack()
        library = runner.run(stack.enter_async_context(asyncio_library(target, len(callers))))
        self._open.callback(lambda: runner.run(stack.aclose()))
        questions = [_questions(self._plan, library, caller) for caller in callers]
        self._ask_until = lambda end: runner.run(_all_ask_until(end, library, questions))

    def run(self, begin: int, tell: Callable[[str, int], None]) -> Tally:
        """Ask from `begin` of the monotonic clock on. Calls `tell("end", calls)` when the window closes."""
        opens = begin + round(self._plan.warm_up * SECOND)
        with self._open:
            time.sleep(max(0, begin - monotonic_ns()) / SECOND)
            self._warmed_up.errors.update(self._ask_until(opens).errors)
            started, used = monotonic_ns(), time.process_time()
            count = self._ask_until(started + round(self._plan.seconds * SECOND))
            seconds, cpu_seconds = (monotonic_ns() - started) / SECOND, time.process_time() - used
            tell("end", count.latencies.total())
        tally = Tally(count.latencies.total(), count.received, seconds, cpu_seconds)
        tally.errors = self._warmed_up.errors + count.errors
        tally.latencies.counts = count.latencies
        return tally


def _questions(plan: Plan, library: Library[object] | Library[Awaitable[object]], caller: int) -> list[Question]:
    """What a caller asks, with as many different keys in each question as the plan's depth."""
    workload, prepared = plan.workload, list[Question]()
    requests = workload.requests(caller)
    for _ in range(QUESTIONS):
        numbers: dict[int, None] = {}
        while len(numbers) < plan.depth:
            numbers[next(requests)[1]] = None
        keys = [workload.key(number) for number in numbers]
        values = [workload.value(number) for number in numbers]
        question = keys if plan.caller == "read_many" else keys[0]
        prepared.append((question, library.expected(keys, values), sum(map(len, values))))
    return prepared


def _ask_until(end: int, library: Library[object], questions: list[Question]) -> _Count:
    """One caller that blocks."""
    count, ask = _Count(), library.ask
    for question, expected, size in itertools.cycle(questions):
        started = monotonic_ns()
        try:
            answer = ask(question)
        except FAILURES as error:
            count.errors[type(error).__name__] += 1
        else:
            count.note(answer == expected, (monotonic_ns() - started) // 1000, size)
        if monotonic_ns() >= end:
            break
    return count


async def _all_ask_until(end: int, library: Library[Awaitable[object]], questions: list[list[Question]]) -> _Count:
    """One caller for each list of questions, all at the same time."""
    count, ask = _Count(), library.ask

    async def caller(own: list[Question]) -> None:
        for question, expected, size in itertools.cycle(own):
            started = monotonic_ns()
            try:
                answer = await ask(question)
            except FAILURES as error:
                count.errors[type(error).__name__] += 1
                await asyncio.sleep(0)
            else:
                count.note(answer == expected, (monotonic_ns() - started) // 1000, size)
            if monotonic_ns() >= end:
                break

    await asyncio.gather(*map(caller, questions))
    return count
