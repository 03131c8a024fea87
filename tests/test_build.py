"""The compiled build is left out where it cannot be made, unless it is demanded.

That it works is tested by `make test`, which runs the tests of what is compiled with both builds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`setup.py build` of a copy, whose hot path is one small module: the whole of it takes half a minute."""
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    setup = (REPOSITORY / "setup.py").read_text()
    shortened = re.sub(r"HOT_PATH = \(.*?\n\)", 'HOT_PATH = ("core/limits.py", "core/wire.py")', setup, flags=re.DOTALL)
    assert shortened != setup
    (folder / "setup.py").write_text(shortened)
    shutil.copytree(
        REPOSITORY / "wireproto",
        folder / "wireproto",
        ignore=shutil.ignore_patterns("__pycache__", "*.so"),
        dirs_exist_ok=True,
    )
    inherited = {name: value for name, value in os.environ.items() if name not in ("CC", "WIREPROTO_COMPILE")}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build"],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def built(folder: Path) -> tuple[int, int]:
    """How many modules there are as Python, and how many as C."""
    found = [path for path in (folder / "build").glob("lib*/**/*") if path.is_file()]
    return sum(path.suffix == ".py" for path in found), sum(path.suffix == ".so" for path in found)


def test_without_a_compiler_it_is_left_out(tmp_path: Path) -> None:
    done = build(tmp_path, CC="/no/such/compiler")
    assert done.returncode == 0, done.stderr
    modules, compiled = built(tmp_path)
    assert modules > 50
    assert compiled == 0


@pytest.mark.timeout(180)
def test_with_a_compiler_that_fails_it_is_left_out_and_said_so(tmp_path: Path) -> None:
    done = build(tmp_path, CC="false")
    assert done.returncode == 0, done.stderr
    assert "not compiled: " in done.stderr
    modules, compiled = built(tmp_path)
    assert modules > 50
    assert compiled == 0


def test_what_is_not_wanted_is_not_tried(tmp_path: Path) -> None:
    done = build(tmp_path, CC="false", WIREPROTO_COMPILE="0")
    assert done.returncode == 0, done.stderr
    assert "not compiled" not in done.stderr
    assert built(tmp_path)[1] == 0


@pytest.mark.timeout(180)
def test_what_is_demanded_and_fails_fails_the_build(tmp_path: Path) -> None:
    assert build(tmp_path, CC="false", WIREPROTO_COMPILE="1").returncode != 0


def test_another_choice_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path, WIREPROTO_COMPILE="yes")
    assert done.returncode != 0
    assert "WIREPROTO_COMPILE is 1 or 0, not 'yes'" in done.stderr
