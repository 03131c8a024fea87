"""API keys and tokens: what a login costs, and what those cost who try."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.micro.blocks import Benchmark
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key, record_of
from wireproto.core.signing_keys import HS256, SigningKey, SigningKeys
from wireproto.core.tokens import TokenAuthority
from wireproto.core.wire import MAX_CREDENTIAL
from wireproto.errors import AuthError

NOW = 1_000_000.0
CLIENTS = 10
API_KEYS = [b"an-api-key-of-client-%d" % number for number in range(CLIENTS)]
SIGNING_KEYS = SigningKeys((SigningKey("signing", HS256, 0, None, b"s" * 32),))


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    records = [
        ApiKeyRecord(f"key-{number}", hash_api_key(key), f"client-{number}", "default", 0)
        for number, key in enumerate(API_KEYS)
    ]
    authority = TokenAuthority(records, SIGNING_KEYS, 900)
    token = authority.login(API_KEYS[-1], NOW, "id")[0].encode()
    head, _, signature = token.split(b".")
    longest = b"%b.%b.%b" % (head, b"A" * (MAX_CREDENTIAL - len(head) - len(signature) - 2), signature)
    assert len(longest) == MAX_CREDENTIAL
    yield _repeated(f"API key known again, of {CLIENTS}", lambda: record_of(API_KEYS[-1], records))
    yield _repeated("API key traded for a token", lambda: authority.login(API_KEYS[-1], NOW, "id"))
    yield _repeated("token verified", lambda: authority.verify(token, NOW))
    yield _repeated("API key refused", _refused(lambda: record_of(b"a-key-of-nobody-at-all", records)))
    yield _repeated("token of 4 KiB refused", _refused(lambda: authority.verify(longest, NOW)))
    yield _repeated("token of 4 KiB and a byte refused", _refused(lambda: authority.verify(longest + b"A", NOW)))


def _repeated(name: str, action: Callable[[], object]) -> Benchmark:
    """Against microseconds, the 50 ns of the call do not count."""

    def run(times: int) -> None:
        for _ in range(times):
            action()

    return Benchmark(name, run)


def _refused(action: Callable[[], object]) -> Callable[[], None]:
    """The same, for a credential that must not be accepted."""

    def run() -> None:
        try:
            action()
        except AuthError:
            return
        raise AssertionError("it was accepted")

    return run
