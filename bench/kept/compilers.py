"""The core's hot path in pure Python, compiled by mypyc, and compiled by Cython: `python -m bench.kept.compilers`.

mypyc takes the sources as they are. Cython takes them with the declarations in `bench/kept/cython`, without which it
gains little (its classes stay Python's). Both builds take a minute or two, in a temporary folder. Needs `cython` and
`mypy`, from PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import Row, aligned
from bench.targets import REPOSITORY

HERE = Path(__file__).parent
CYTHON_SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize

names = ("answers", "commands", "dispatch", "node_pipeline", "server_session", "stored_values")
files = [f"wireproto/core/{name}.py" for name in names]
made = [Extension(file[:-3].replace("/", "."), [file], extra_compile_args=["-O3"]) for file in files]
setup(ext_modules=cythonize(made, language_level=3, compiler_directives={"annotation_typing": False}))
"""


def prepared(folder: Path, name: str) -> Path:
    """A copy of the sources."""
    copy = folder / name
    copy.mkdir()
    for item in ("wireproto", "bench"):
        shutil.copytree(REPOSITORY / item, copy / item, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for item in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / item, copy)
    return copy


def run(copy: Path, *words: str, **environment: str) -> None:
    """Python in a copy. Raises CalledProcessError."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, *words]
    subprocess.run(command, cwd=copy, env={**inherited, **environment}, check=True, capture_output=True)


def by_mypyc(copy: Path) -> None:
    """What `setup.py` does."""
    run(copy, "setup.py", "-q", "build_ext", "--inplace", WIREPROTO_COMPILE="1")


def by_cython(copy: Path) -> None:
    """The modules that Cython was tried on, with their declarations."""
    for declarations in (HERE / "cython").glob("*.pxd"):
        shutil.copy(declarations, copy / "wireproto" / "core")
    (copy / "setup.py").write_text(CYTHON_SETUP)
    run(copy, "setup.py", "-q", "build_ext", "--inplace")


def measured(copies: dict[str, Path], seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """The least ns per request of each benchmark of the whole core, by way; the ways take turns."""
    best: dict[str, dict[str, float]] = {way: {} for way in copies}
    for _ in range(rounds):
        for way, copy in copies.items():
            result = copy / "result.json"
            run(copy, "-m", "bench", "micro", "session", "--seconds", str(seconds), "--json", str(result))
            for one in json.loads(result.read_text())["micro"]:
                least = one["ns_per_operation"]["min"]
                best[way][one["name"]] = min(least, best[way].get(one["name"], least))
    return best


def main(seconds: float = 3.0, rounds: int = 3) -> None:
    """Build, measure and print."""
    with tempfile.TemporaryDirectory() as name:
        copies = {way: prepared(Path(name), way) for way in ("pure", "mypyc", "cython")}
        by_mypyc(copies["mypyc"])
        by_cython(copies["cython"])
        best = measured(copies, seconds, rounds)
    rows: list[Row] = [("whole core, ns per request", *best, "mypyc / pure", "cython / pure")]
    for benchmark, pure in best["pure"].items():
        figures = [best[way][benchmark] for way in best]
        rows.append((benchmark, *(f"{one:,.0f}" for one in figures), *(f"{one / pure:.2f}" for one in figures[1:])))
    print(aligned(rows))


if __name__ == "__main__":
    main()
