"""Set hostile clients on a server, and hold it to what it promises the others: `python -m bench.hostile`.

Exits 1 when something did not hold, 2 when it could not be tried.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.chaos.findings import Finding
from bench.chaos.table import as_text
from bench.environment import environment
from bench.hostile.experiments import EXPERIMENTS
from bench.progress import clear, tell
from wireproto.errors import WireprotoError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    top.add_argument("names", nargs="*", metavar="EXPERIMENT", help=f"{', '.join(EXPERIMENTS)} (all)")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    for experiment in EXPERIMENTS.values():
        experiment.add_options(top)
    return top


def main() -> int:
    """Do what the command line says."""
    top = parser()
    options = top.parse_args()
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        top.error(f"no experiment is called {', '.join(unknown)}")
    findings: list[Finding] = []
    try:
        for name, experiment in EXPERIMENTS.items():
            if name in (options.names or EXPERIMENTS):
                tell(name)
                findings += experiment.run(options)
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError, WireprotoError) as error:
        clear()
        print(f"hostile: {error or type(error).__name__}", file=sys.stderr)
        return 2
    clear()
    print(as_text(findings))
    if options.json:
        document = {"environment": environment(), "experiments": [finding.as_dict() for finding in findings]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(finding.held for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
