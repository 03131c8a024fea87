"""`python -m fuzz`: see `python -m fuzz --help`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fuzz.cutting import LONGEST
from fuzz.targets import FOLDER, NAMES, Target, target

_SLOWEST: Final = 10
"""Seconds that one input may take."""
_MOST_MEMORY: Final = 2048
"""MiB that the process may have."""


def main() -> int:
    """Try mutants, or given files; 0 if nothing was found."""
    parser = _parser()
    arguments = parser.parse_args()
    if not set(arguments.targets) <= set(NAMES):
        parser.error(f"the targets are {', '.join(NAMES)}")
    if arguments.reproduce:
        if len(arguments.targets) != 1:
            parser.error("--reproduce goes with one target")
        return _reproduce(target(arguments.targets[0]), arguments.reproduce)
    for what in map(target, arguments.targets or NAMES):
        if arguments.seconds and not _fuzz(what, arguments.seconds):
            return 1
        if arguments.keep and not _keep(what):
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Hostile bytes, guided by what they reach.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; else each of them")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60); 0: try no mutants")
    parser.add_argument("--keep", action="store_true", help="put what reaches something new into fuzz/corpus")
    parser.add_argument("--reproduce", nargs="+", type=Path, metavar="FILE", help="try these inputs; needs no Atheris")
    return parser


def _reproduce(what: Target, files: list[Path]) -> int:
    """Try files with one target; the first fault is raised."""
    for file in files:
        what.check(file.read_bytes())
        print(f"{what.name}: nothing is wrong with {file}")
    return 0


def _fuzz(what: Target, seconds: int) -> bool:
    """Try mutants of what is kept and of what earlier runs have found; False for a fault, which is told."""
    for folder in (what.found, what.kept, what.faults):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(what.faults.iterdir())
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.writelines(f'"{_escaped(word)}"\n' for word in what.words)
        words.flush()
        flags = (f"-max_total_time={seconds}", f"-timeout={_SLOWEST}", f"-dict={words.name}")
        is_fine = _engine(what, *flags, f"-artifact_prefix={what.faults}/", str(what.found), str(what.kept))
    for fault in sorted(set(what.faults.iterdir()) - before):
        print(f'{what.name}: found {fault}\nSee it again: make fuzz ARGS="{what.name} --reproduce {fault}"')
    return is_fine


def _escaped(word: bytes) -> str:
    """A word as libFuzzer reads it in a dictionary."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def _keep(what: Target) -> bool:
    """Keep, of all that was found, the least that reaches as much."""
    with tempfile.TemporaryDirectory() as folder:
        least = Path(folder)
        if not _engine(what, "-set_cover_merge=1", folder, str(what.kept), str(what.found)):
            return False
        shutil.rmtree(what.kept)
        what.kept.mkdir()
        for file in least.iterdir():
            shutil.move(file, what.kept / file.name[:16])
    size = sum(file.stat().st_size for file in what.kept.iterdir())
    print(f"{what.name}: {len(list(what.kept.iterdir()))} inputs are kept, {size} bytes")
    return True


def _engine(what: Target, *flags: str) -> bool:
    engine = [sys.executable, str(FOLDER / "engine.py"), f"--target={what.name}"]
    command = [*engine, f"-max_len={LONGEST}", f"-rss_limit_mb={_MOST_MEMORY}", *flags]
    # The folder of this file must not be searched for modules, whose names would hide those of others.
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
