"""Values compressed by Zstandard, and told from those that are not.

What is stored tells by itself what it is, so that compression can be switched on where there are values already:

    0xC1 "z" frame     a Zstandard frame
    0xC1 "=" value     a value as it is, written so because it begins with 0xC1
    value              any other, as it is; also what was written before there was compression

No UTF-8 text, no JSON and no MessagePack begins with 0xC1, so nothing that was written before by such a codec is taken
for another form. A codec of one's own may have made such bytes; those that begin with 0xC1 and `z` or `=` have to be
written anew, or compressed under other keys.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from wireproto.errors import ConfigurationError

_MARK: Final = b"\xc1"
_COMPRESSED: Final = b"\xc1z"
_AS_IT_IS: Final = b"\xc1="
_SMALLEST_WINDOW: Final = 10
_LARGEST_WINDOW: Final = 27
"""Powers of two of the memory that a frame may ask for to be unpacked: what libzstd takes at all, and by itself."""


class Compression:
    """Packs and unpacks. Any number of threads may do so at once. Raises ConfigurationError for what cannot work."""

    def __init__(self, threshold: int, level: int, max_size: int) -> None:
        self._zstd = _library()
        lowest, highest = self._zstd.CompressionParameter.compression_level.bounds()
        for name, value, low, high in (
            ("threshold", threshold, 0, 1 << 40),
            ("level", level, lowest, highest),
            ("max_size", max_size, 1, 1 << 40),
        ):
            if type(value) is not int or not low <= value <= high:
                raise ConfigurationError(f"{name} must be a whole number from {low} to {high}")
        self._threshold = threshold
        self._level = level
        self._max_size = max_size
        window = min(max(_SMALLEST_WINDOW, (max_size - 1).bit_length()), _LARGEST_WINDOW)
        self._unpacking = {self._zstd.DecompressionParameter.window_log_max: window}

    def pack(self, data: bytes) -> bytes:
        """Compress what is large enough. Raises ValueError for what is too large."""
        if len(data) > self._max_size:
            raise ValueError(f"the value has more than {self._max_size} bytes")
        if len(data) >= self._threshold:
            frame: bytes = self._zstd.compress(data, self._level)
            if len(frame) + len(_COMPRESSED) < len(data):
                return _COMPRESSED + frame
        return _AS_IT_IS + data if data.startswith(_MARK) else data

    def unpack(self, data: bytes) -> bytes:
        """What was packed. Raises ValueError, or an error of the library, for what cannot be or is too large."""
        if data.startswith(_COMPRESSED):
            return self._unpack_frame(data[len(_COMPRESSED) :])
        return data[len(_AS_IT_IS) :] if data.startswith(_AS_IT_IS) else data

    def _unpack_frame(self, frame: bytes) -> bytes:
        # What the frame says of its size is not relied on: it is unpacked up to the bound, and not a byte further.
        decompressor = self._zstd.ZstdDecompressor(options=self._unpacking)
        data: bytes = decompressor.decompress(frame, max_length=self._max_size)
        if not decompressor.eof or decompressor.unused_data:
            raise ValueError(f"not one whole frame, or more than {self._max_size} bytes")
        return data


def _library() -> Any:
    """The standard library's module, or the same for older Pythons. Raises ConfigurationError."""
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd
    try:
        from backports import zstd as backported
    except ImportError:
        raise ConfigurationError("Codec.compressed needs backports.zstd: pip install wireproto[zstd]") from None
    return backported
