"""`wireproto doctor`: looks at everything that a server needs, and says what is wrong and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wireproto import __version__
from wireproto.admin.checks import certificates, files, keys, machine, nodes, running_server
from wireproto.admin.checks.findings import Case, Finding, Level, problem
from wireproto.errors import ConfigurationError
from wireproto.server.logs import kind_of
from wireproto.settings import parse
from wireproto.settings.declaration import CONFIG_VARIABLE

Check = Callable[[Case], list[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    files.config_file,
    certificates.reach,
    certificates.server_certificate,
    certificates.client_authority,
    files.state_folder,
    files.keyring,
    files.audit_log,
    keys.api_keys,
    keys.signing_keys,
    keys.encryption_keys,
    machine.nodes_to_start,
    nodes.shards,
    machine.user,
    machine.descriptors,
    machine.memory,
    machine.core_dumps,
    machine.clock,
    machine.backlog,
    running_server.running_server,
)

_EPILOG: Final = """\
The settings are those of the server: the same file, the same environment. Nothing is changed. A server that runs is
asked too if WIREPROTO_URL is set in the environment, with an API key in it (wireproto://KEY@host:port).

exit codes: 0 no problem, 1 at least one, 2 the settings cannot be read
"""


def register(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "doctor",
        help="look for what is wrong with a server, its files, its nodes and its machine",
        description="Look for what is wrong with a server, its files, its nodes and its machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help=f"the server's TOML file [{CONFIG_VARIABLE}]")
    parser.add_argument("--json", action="store_true", help="write one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything, and print it; 1 if there is a problem. Raises ConfigurationError for wrong settings."""
    findings = examine(case_of(arguments.config))
    if arguments.json:
        counts = {level.value: sum(one.level is level for one in findings) for level in Level}
        print(json.dumps({"version": __version__, "counts": counts, "findings": [one.to_json() for one in findings]}))
    else:
        for finding in findings:
            print(finding.line())
    return 1 if any(finding.level is Level.PROBLEM for finding in findings) else 0


def case_of(config: str | None) -> Case:
    """What there is to look at. Raises ConfigurationError."""
    environment = dict(os.environ)
    named = config or environment.get(CONFIG_VARIABLE)
    settings, _ = parse(["--config", config] if config else [], environment)
    return Case(settings, Path(named) if named else None, environment, time.time())


def examine(case: Case) -> list[Finding]:
    """What all checks have found. A check that fails is a problem too, and does not end the others."""
    found: list[Finding] = []
    for check in CHECKS:
        subject = check.__name__.replace("_", " ")
        try:
            found += check(case)
        except ConfigurationError as error:
            found.append(problem(subject, str(error), "correct that first"))
        except OSError as error:
            remedy = "run this as the server's user"
            found.append(problem(subject, f"{error.filename}: {error.strerror or 'cannot be read'}", remedy))
        except Exception as error:
            found.append(problem(subject, f"this check has failed: {kind_of(error)}", "report it as a bug"))
    return found
