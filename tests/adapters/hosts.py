"""The tests that other packages have for their own backends, from their source distributions.

None of it is in this repository: pip fetches it, once for each virtual environment, and checks it against the hash
below. `python -m tests.adapters.hosts` fetches all.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PINNED = {
    "cachelib": (
        "0.17.0",
        "f3c7dc8d3c1132ab699681ffdf8a52d341d9425ac1401c538cf0b1d87b1677c8",
        ("tests/",),
    ),
    "django": (
        "5.2.19",
        "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
        ("tests/cache/", "tests/sessions_tests/"),
    ),
}
"""The version, the hash of its source distribution, and what of it is needed."""
FETCHED = Path(sys.prefix) / "hosts"


def tests_of(name: str) -> Path:
    """The folder with the tests of one of them."""
    version, digest, wanted = PINNED[name]
    folder = FETCHED / f"{name}-{version}"
    if not folder.exists():
        FETCHED.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FETCHED) as made:
            unpacked = _fetch(f"{name}=={version}", digest, wanted, Path(made))
            try:
                unpacked.rename(folder)
            except OSError:
                assert folder.exists()  # another process was faster
    return folder


def _fetch(requirement: str, digest: str, wanted: tuple[str, ...], folder: Path) -> Path:
    (folder / "requirements.txt").write_text(f"{requirement} --hash=sha256:{digest}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    what = ["--no-binary", ":all:", "--require-hashes", "--requirement", "requirements.txt"]
    subprocess.run([*pip, *what], cwd=folder, check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        for member in files:
            _top, _, path = member.name.partition("/")
            content = files.extractfile(member) if path.startswith(wanted) else None
            if content is not None:
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
    return folder / "tests"


if __name__ == "__main__":
    for host in PINNED:
        tests_of(host)
