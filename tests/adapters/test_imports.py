"""Nobody pays for an adapter who does not use it, and who misses its host is told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = {"cachelib": "cachelib", "django": "Django", "dogpile": "dogpile.cache"}
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {host!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import wireproto.adapters.{host}
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_clients_import_no_adapter_and_no_host() -> None:
    names = "wireproto, wireproto.client.sync, wireproto.client.aio, wireproto.adapters"
    done = python(f"import sys, {names}; wireproto.Client, wireproto.AsyncClient; print(*sys.modules, sep='\\n')")
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "wireproto.client.sync" in loaded
    others = {"asgiref", "cachelib", "django", "dogpile", "flask", "stevedore"}
    assert not [name for name in loaded if name.partition(".")[0] in others]
    assert not [name for name in loaded if name.startswith("wireproto.adapters.")]


@pytest.mark.parametrize("host", HOSTS)
def test_an_adapter_imports_no_other_host(host: str) -> None:
    done = python(f"import sys, wireproto.adapters.{host}; print(*sys.modules, sep='\\n')")
    assert done.returncode == 0, done.stderr
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    assert tops & HOSTS.keys() == {host}
    assert not tops & {"redis", "flask"}


@pytest.mark.parametrize("host", HOSTS)
def test_a_missing_host_is_named(host: str) -> None:
    done = python(WITHOUT.format(host=host))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: this needs {HOSTS[host]}: pip install 'wireproto[{host}]'"
