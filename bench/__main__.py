"""`python -m bench`: see `python -m bench --help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.arguments import parser
from bench.compare import compare
from bench.connection import LoginError
from bench.document import (
    RESULTS,
    as_csv,
    micro_document,
    read_document,
    single_document,
    suite_document,
    write_files,
    write_json,
)
from bench.html import page
from bench.loading import LoadingError, load
from bench.measuring import GeneratorError, measure
from bench.micro.run import run as run_micro
from bench.plan import Plan
from bench.plots import overview_plot
from bench.processes import StartError
from bench.programs import missing_programs
from bench.progress import clear, shown, tell
from bench.run import Options, contenders, run_scenario
from bench.scenarios import PROXIES, STANDARD
from bench.table import as_text
from bench.targets import Target, four_nodes, haproxy_twemproxy, redis_tls, wireproto_server
from bench.workload import Workload


def run(options: argparse.Namespace) -> int:
    """One load on one target."""
    plan = _plan(options)
    with _target(options) as target:
        if not options.no_load:
            load(target, plan.workload)
        measurement = measure(target, plan, shown(target.name))
    clear()
    document = single_document(measurement, "one load on one target")
    if options.json:
        write_json(document, options.json)
    if options.csv:
        options.csv.write_text(as_csv(document))
    if options.html:
        options.html.write_text(page(document))
    print(as_text(document))
    return 1 if measurement.tally.errors else 0


def _plan(options: argparse.Namespace) -> Plan:
    workload = Workload(
        keys=options.keys,
        popularity=options.popularity,
        zipf_exponent=options.zipf_exponent,
        sizes=options.data_size,
        read_share=options.ratio,
        seed=options.seed,
    )
    return Plan(
        workload=workload,
        clients=options.clients,
        depth=options.pipeline,
        seconds=options.test_time,
        requests=options.requests,
        warm_up=options.warm_up,
        rate=options.rate,
        arrivals=options.arrivals,
        processes=min(options.processes, options.clients),
        tagged=options.tagged,
    )


@contextlib.contextmanager
def _target(options: argparse.Namespace) -> Iterator[Target]:
    """What runs at the address, or what is started for this."""
    with contextlib.ExitStack() as stack:
        if options.address is not None:
            host, _, port = options.address.rpartition(":")
            secret = os.environ.get("WIREPROTO_API_KEY", "")
            pids = tuple(options.pid)
            yield Target(
                options.address, options.protocol, host.strip("[]"), int(port), options.tls, options.ca, secret, pids
            )
        elif options.target == "wireproto":
            target = stack.enter_context(wireproto_server())
            yield target if options.tls else target.without_tls()
        elif options.target == PROXIES:
            yield stack.enter_context(haproxy_twemproxy(stack.enter_context(four_nodes())))
        else:
            yield stack.enter_context(redis_tls())


def suite(options: argparse.Namespace) -> int:
    """The standard scenarios."""
    for program in missing_programs():
        print(f"{program} is not installed; what needs it is left out (make bench-peers installs it)")
    usual = Options(rounds=3, seconds=0.7, warm_up=0.3, connections=1000) if options.quick else Options()
    chosen = Options(
        rounds=options.rounds or usual.rounds,
        seconds=options.seconds or usual.seconds,
        warm_up=usual.warm_up if options.warm_up is None else options.warm_up,
        processes=options.processes,
        connections=usual.connections,
        progress=shown,
    )
    outcomes = []
    with contenders() as targets:
        for scenario in STANDARD:
            if scenario.name in options.only:
                outcomes.append(run_scenario(scenario, targets, chosen))
                clear()
    told = {"rounds": chosen.rounds, "seconds": chosen.seconds, "warm_up": chosen.warm_up, "quick": options.quick}
    document = suite_document(outcomes, [], told)
    print(as_text(document))
    for path in write_files(document, options.output or RESULTS):
        print(f"written: {os.path.relpath(path)}")
    return 0


def micro(options: argparse.Namespace) -> int:
    """The parts of the core."""
    document = micro_document(run_micro(options.names, options.seconds, tell), {"seconds": options.seconds})
    clear()
    if options.json:
        write_json(document, options.json)
    print(as_text(document))
    return 0


def report(options: argparse.Namespace) -> int:
    """A result again."""
    document = read_document(options.result)
    outputs: list[tuple[Path | None, str]] = []
    if options.html:
        outputs.append((options.html, page(document)))
    if options.csv:
        outputs.append((options.csv, as_csv(document)))
    if options.svg:
        outputs.append((options.svg, overview_plot(document)))
    for path, text in outputs:
        assert path is not None
        path.write_text(text)
    if not outputs:
        print(as_text(document))
    return 0


def compare_results(options: argparse.Namespace) -> int:
    """Ratios."""
    print(compare(read_document(options.before), read_document(options.after)))
    return 0


def main() -> int:
    """Do what the command line says; the exit code: 1 when replies were wrong, 2 when it could not be done."""
    top = parser()
    options = top.parse_args()
    if options.command == "run" and options.tagged and (options.rate or options.protocol == "resp"):
        top.error("--tagged goes with a closed loop and our own protocol only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    commands = {"run": run, "suite": suite, "micro": micro, "report": report, "compare": compare_results}
    try:
        return commands[options.command](options)
    except KeyboardInterrupt:
        return 130
    except (GeneratorError, LoadingError, LoginError, StartError, OSError, ValueError) as error:
        clear()
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
