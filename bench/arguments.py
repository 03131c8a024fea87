"""The command line of `python -m bench`. What redis-benchmark or memtier_benchmark can do too has the same flag."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.micro.run import CONCERNS, SECONDS
from bench.scenarios import PROXIES, REDIS, STANDARD
from bench.workload import ValueSizes, Workload

ENDING = """
A closed loop sends as many requests on each connection as --pipeline says, waits until all of them are answered, and
sends the next, as redis-benchmark does. With --rate the loop is open: requests are sent when they are due, and latency
counts from that moment. Every reply is compared byte by byte with what it must be.

examples:
  python -m bench run -c 16 -P 50                             our server, started for it
  python -m bench run --target redis -c 16 -P 50 -t 10        Redis over TLS, started for it
  python -m bench run --address cache.example.com:7379 --ca ca.pem --rate 20000 -t 60 --json result.json
  python -m bench suite --quick --only in-flight-50           CPU per READ in about ten seconds
  python -m bench micro frames session                        what the core costs without sockets, in seconds
  python -m bench compare before.json after.json
"""


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="python -m bench", epilog=ENDING, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    run = commands.add_parser("run", help="one load on one target", epilog=ENDING, formatter_class=raw)
    _target_flags(run.add_argument_group("target"))
    _load_flags(run.add_argument_group("load"))
    _workload_flags(run.add_argument_group("requests"))
    _output_flags(run.add_argument_group("output"))
    _suite_flags(commands.add_parser("suite", help="the standard scenarios, ours beside the peers"))
    _micro_flags(commands.add_parser("micro", help="what the parts of the core cost, without sockets"))
    compare = commands.add_parser("compare", help="the ratios between two results")
    compare.add_argument("before", type=Path, metavar="A.json")
    compare.add_argument("after", type=Path, metavar="B.json")
    report = commands.add_parser("report", help="table, page or plot of a result that was written before")
    report.add_argument("result", type=Path, metavar="RESULT.json")
    report.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    report.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each round")
    report.add_argument(
        "--svg", type=Path, metavar="FILE", help="write one plot: throughput and CPU at 1 and 50 in flight"
    )
    return top


def _target_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--target",
        choices=("wireproto", PROXIES, REDIS),
        default="wireproto",
        help="what to start and load (wireproto)",
    )
    group.add_argument("--address", metavar="HOST:PORT", help="load what runs there already instead")
    group.add_argument(
        "--protocol", choices=("wireproto", "resp"), default="wireproto", help="what it speaks there (wireproto)"
    )
    group.add_argument("--tls", action=argparse.BooleanOptionalAction, default=True, help="use TLS (yes)")
    group.add_argument("--ca", "--cacert", type=Path, metavar="FILE", help="the authority to trust (the system's)")
    group.add_argument(
        "--pid",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="a process there whose CPU is measured; repeatable",
    )
    group.description = "The API key or password for --address is read from WIREPROTO_API_KEY."


def _load_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-c", "--clients", type=_positive, default=16, metavar="N", help="connections in all (16)")
    group.add_argument(
        "-P", "--pipeline", type=_positive, default=1, metavar="N", help="requests sent together on each (1)"
    )
    group.add_argument("-n", "--requests", type=_positive, metavar="N", help="end after so many, instead of a time")
    group.add_argument("-t", "--test-time", type=float, default=5.0, metavar="SECONDS", help="length of the run (5)")
    group.add_argument("--warm-up", type=float, default=1.0, metavar="SECONDS", help="load before counting (1)")
    group.add_argument("--rate", type=float, metavar="N", help="open loop: requests per second in all")
    group.add_argument(
        "--arrivals", choices=("fixed", "poisson"), default="fixed", help="open loop: times between requests (fixed)"
    )
    group.add_argument(
        "--processes", "--threads", type=_positive, default=1, metavar="N", help="processes that generate load (1)"
    )
    group.add_argument("--tagged", action="store_true", help="tagged requests: replies in any order (wireproto only)")


def _workload_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-d",
        "--data-size",
        type=ValueSizes.parse,
        default=ValueSizes(),
        metavar="SIZES",
        help="bytes of a value: 100, or shares of several sizes: 100:0.9,10240:0.1 (100)",
    )
    group.add_argument("--ratio", type=_ratio, default=1.0, metavar="WRITES:READS", help="such as 1:9 (0:1)")
    group.add_argument(
        "-r", "--keys", type=_positive, default=Workload.keys, metavar="N", help="different keys (10000)"
    )
    group.add_argument(
        "--popularity", choices=("uniform", "zipf"), default="uniform", help="how often each key is asked for (uniform)"
    )
    group.add_argument(
        "--zipf-exponent", type=float, default=Workload.zipf_exponent, metavar="X", help="its exponent (0.99)"
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="another seed makes other requests (1)")
    group.add_argument("--no-load", action="store_true", help="do not write the keys first; they are there")


def _output_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="write the result, with the histogram")
    group.add_argument("--csv", type=Path, metavar="FILE", help="write it as one line")
    group.add_argument("--html", type=Path, metavar="FILE", help="write it as a page with plots")


def _suite_flags(suite: argparse.ArgumentParser) -> None:
    names = [scenario.name for scenario in STANDARD]
    suite.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    suite.add_argument(
        "--quick", action="store_true", help="3 rounds of 0.7 s, 1,000 idle connections: to see that it works"
    )
    suite.add_argument("--rounds", type=_positive, metavar="N", help="of each contender, alternating (5)")
    suite.add_argument("--seconds", type=float, metavar="SECONDS", help="length of each (5)")
    suite.add_argument("--warm-up", type=float, metavar="SECONDS", help="load before counting (1)")
    suite.add_argument("--processes", type=_positive, default=1, metavar="N", help="that generate load (1)")
    suite.add_argument("--output", type=Path, metavar="FOLDER", help="where JSON, CSV and HTML go (bench/results)")


def _micro_flags(micro: argparse.ArgumentParser) -> None:
    names = ", ".join(CONCERNS)
    micro.add_argument(
        "names", nargs="*", type=_concern, default=[*CONCERNS], metavar="NAME", help=f"of: {names} (all)"
    )
    micro.add_argument("--seconds", type=float, default=SECONDS, help=f"for each benchmark ({SECONDS})")
    micro.add_argument("--json", type=Path, metavar="FILE", help="write the result, to be compared with another")


def _concern(text: str) -> str:
    # argparse's `choices` would refuse an empty list of names.
    if text not in CONCERNS:
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(CONCERNS)}")
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _ratio(text: str) -> float:
    """The share of reads."""
    writes, reads = (float(word) for word in text.split(":"))
    if min(writes, reads) < 0:
        raise ValueError
    return reads / (writes + reads)
