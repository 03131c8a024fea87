"""The inputs that `make fuzz` has kept, each tried once: what was found is not lost again, in either build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import FOLDER, NAMES, Target, target


@pytest.mark.parametrize("name", NAMES)
def test_each_target_with_what_is_kept_for_it(name: str) -> None:
    what = target(name)
    kept = sorted(what.kept.iterdir())
    assert kept
    for file in kept:
        try:
            what.check(file.read_bytes())
        except Exception as error:
            raise AssertionError(f'make fuzz ARGS="{name} --reproduce {file}"') from error


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"0", b"00", b"\0\0\0", b"\xff" * 9000])
def test_each_target_takes_any_bytes(name: str, data: bytes) -> None:
    target(name).check(data)


def test_what_is_kept_is_small() -> None:
    files = [file for file in (FOLDER / "corpus").rglob("*") if file.is_file()]
    assert len(files) < 1000
    assert sum(file.stat().st_size for file in files) < 300_000


def test_a_fault_is_told_and_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--reproduce` raises what `check` raises."""
    import fuzz.__main__ as command

    def check(data: bytes) -> None:
        assert data != b"bad"

    monkeypatch.setattr(command, "target", lambda name: Target(name, check, ()))
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    monkeypatch.setattr(sys, "argv", ["fuzz", "replies", "--reproduce", str(good)])
    assert command.main() == 0
    monkeypatch.setattr(sys, "argv", ["fuzz", "replies", "--reproduce", str(good), str(bad)])
    with pytest.raises(AssertionError):
        command.main()


def test_inputs_are_tried_without_atheris(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"00#1 OK 1:v\n")
    without = "import sys; sys.modules['atheris'] = None; import runpy; runpy.run_module('fuzz', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", without, "replies", "--reproduce", str(file)],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "nothing is wrong" in done.stdout
