"""Values compressed, told from those that are not, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core import compression
from wireproto.core.compression import Compression
from wireproto.errors import ConfigurationError

zstd = compression._library()

SMALL = Compression(threshold=0, level=1, max_size=5000)
LARGE = Compression(threshold=1024, level=3, max_size=1 << 20)


@given(st.binary(max_size=3000) | st.binary(max_size=20).map(lambda part: part * 100))
def test_what_was_packed_is_unpacked(data: bytes) -> None:
    for start in (b"", b"\xc1", b"\xc1z", b"\xc1=", b"\xc1absent"):
        for packer in (SMALL, LARGE):
            packed = packer.pack(start + data)
            assert packer.unpack(packed) == start + data
            assert len(packed) <= len(start + data) + 2


def test_only_what_is_large_enough_and_gets_smaller_is_compressed() -> None:
    assert LARGE.pack(b"a" * 1023) == b"a" * 1023
    assert LARGE.pack(b"a" * 1024).startswith(b"\xc1z\x28\xb5\x2f\xfd")
    noise = os.urandom(2000)
    assert LARGE.pack(b"n" + noise) == b"n" + noise


@given(st.text(max_size=50).map(str.encode))
def test_what_was_written_without_compression_is_read(data: bytes) -> None:
    assert LARGE.unpack(data) == data


@pytest.mark.parametrize("size", [1, 1000, 1024, 1025, 65_536, (1 << 20) + 1])
def test_the_largest_value_is_exact(size: int) -> None:
    packer = Compression(0, 3, size)
    assert packer.unpack(packer.pack(bytes(size))) == bytes(size)
    with pytest.raises(ValueError, match="more than"):
        packer.pack(bytes(size + 1))
    with pytest.raises((ValueError, zstd.ZstdError)):
        packer.unpack(b"\xc1z" + zstd.compress(bytes(size + 1)))


def test_what_is_damaged_is_refused() -> None:
    packed = LARGE.pack(b"value" * 1000)
    for cut in range(2, len(packed)):
        with pytest.raises((ValueError, zstd.ZstdError)):
            LARGE.unpack(packed[:cut])
    for more in (packed + b"x", packed + packed[2:]):
        with pytest.raises((ValueError, zstd.ZstdError)):
            LARGE.unpack(more)


UNPACK_A_BOMB = """
import resource, sys
from wireproto.core.compression import Compression
packer = Compression(1024, 3, 16 << 20)
bomb = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    packer.unpack(bomb)
except Exception as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("tells_its_size", [True, False])
def test_a_bomb_takes_no_more_memory_than_it_may(tells_its_size: bool) -> None:
    if tells_its_size:
        bomb = zstd.compress(bytes(256 << 20))
    else:
        options = {zstd.CompressionParameter.window_log: 20}
        compressor = zstd.ZstdCompressor(options=options)
        bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush()
    assert len(bomb) < 100_000
    done = subprocess.run([sys.executable, "-c", UNPACK_A_BOMB], input=b"\xc1z" + bomb, capture_output=True, check=True)
    assert int(done.stdout) < 40 * 1024, "kilobytes: twice what a value may have, and a window"


@pytest.mark.parametrize("arguments", [(-1, 3, 10), (0, 23, 10), (0, 3, 0), (0, True, 10), ("0", 3, 10)])
def test_what_cannot_work_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError):
        Compression(*arguments)


def test_without_the_library_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    if sys.version_info < (3, 14):
        with pytest.raises(ConfigurationError, match=r"wireproto\[zstd\]"):
            Compression(0, 3, 10)
