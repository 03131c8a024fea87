"""A node's conversation: commands made and sent, replies matched to requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.micro.blocks import Benchmark
from bench.micro.conversation import MOST_IN_FLIGHT, NOW, VALUE, Conversation, World, read
from wireproto.core.commands import namespace_commands
from wireproto.core.verbs import Verb

DEPTHS = (1, 10, 50)
KEY = b"key:00000000"


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    for depth in DEPTHS:
        yield _replies_matched(depth)
    for depth in DEPTHS:
        yield _commands_sent(depth)
    yield _command_made("READ", Verb.READ, [KEY], {})
    yield _command_made("READ ttl", Verb.READ, [KEY], {"ttl": 1})
    yield _command_made("WRITE ex=60 nx", Verb.WRITE, [KEY, VALUE], {"ex": 60, "nx": 1})


def _replies_matched(depth: int) -> Benchmark:
    """`NodePipeline.receive`, which hands them to `Answers.deliver`: a node's bytes become lines for the client."""
    talk = Conversation(nodes=1)
    exchange = talk.exchange([read(number) for number in range(depth)])
    ((pipeline, reply),) = exchange.replies

    def before(times: int) -> None:
        for _ in range(times):
            talk.session.receive(exchange.request, NOW)
        talk.send_to_nodes(exchange)

    def run(times: int) -> None:
        receive = pipeline.receive
        for _ in range(times):
            receive(reply, NOW)

    return Benchmark(
        f"replies matched, {depth} in a bundle",
        run,
        operations=depth,
        before=before,
        after=lambda times: talk.hear(exchange, times),
        most=MOST_IN_FLIGHT // depth,
    )


def _commands_sent(depth: int) -> Benchmark:
    """`NodePipeline.data_to_send` for all bundles that wait."""
    bundles = MOST_IN_FLIGHT // depth
    talk = Conversation(nodes=1)
    exchange = talk.exchange([read(number) for number in range(depth)])
    (pipeline,) = talk.pipelines

    def before(times: int) -> None:
        for _ in range(bundles):
            talk.session.receive(exchange.request, NOW)

    return Benchmark(
        f"commands joined for sending, {depth} in a bundle",
        lambda times: pipeline.data_to_send(NOW),
        operations=bundles * depth,
        before=before,
        after=lambda times: talk.finish(exchange, bundles),
        most=1,
    )


def _command_made(name: str, verb: Verb, arguments: list[bytes], options: Mapping[str, int]) -> Benchmark:
    """`NamespaceCommands.command`, for what the hot loop does not take."""
    command, world = namespace_commands("default").command, World()

    def run(times: int) -> None:
        for _ in range(times):
            command(verb, arguments, options, {}, world)

    return Benchmark(f"command made outside of the hot loop, {name}", run)
