"""Secrets that change while a server with two workers and real clients runs: keys, certificates, and SIGHUP."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.authority import Authority, Issued
from tests.live.running import REPOSITORY, RawClient, RunningServer, wait_until
from tests.live.test_workers import client_of_each, pids, wait_for_replacement
from wireproto import Client
from wireproto.core.signing_keys import HS256, with_new_key
from wireproto.server.state_folder import (
    API_KEYS_FILE,
    change_records,
    change_signing_keys,
    new_api_key,
    new_signing_key,
)

SHOWS_WITHIN = 2.0
"""Seconds after which every change is in force, in every worker."""
NEW_KEYS = "the API keys and signing keys have changed; the new ones are in force"
OLD_KEYS = "the API keys and signing keys stay as they are: "
NEW_TLS = "the certificate and its key have changed; the new ones are in force"
OLD_TLS = "the certificate and its key stay as they are: "

Start = Callable[..., RunningServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with two workers."""
    started: list[RunningServer] = []

    def start_server(*flags: str, **keywords: object) -> RunningServer:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(RunningServer(folder, "--workers", "2", "--shards", "1", *flags, **keywords))  # type: ignore[arg-type]
        return started[-1]

    yield start_server
    for server in started:
        assert server.stop() == 0
        assert "Traceback" not in server.log()


def state_of(server: RunningServer) -> Path:
    return server.folder / "state"


def add_key(server: RunningServer, client: str = "another") -> tuple[str, str]:
    """Make an API key as the operators' command does; the key, and its id."""
    text, record = new_api_key(client, "default")
    change_records(state_of(server), lambda records: (*records, record))
    return text, record.id


def revoke(server: RunningServer, key_id: str) -> None:
    now = int(time.time())
    change_records(
        state_of(server), lambda all_of: tuple(replace(one, revoked=now) if one.id == key_id else one for one in all_of)
    )


def answer_to(client: RawClient, credential: str) -> str:
    """What the first word and the code of the answer to AUTH are."""
    return b" ".join(client.ask(b"AUTH %d:%b\n" % (len(credential), credential.encode())).split(b" ")[:2]).decode()


def accepts_everywhere(server: RunningServer, credential: str) -> set[bool]:
    """Whether new logins are accepted, by each of the workers."""
    with ExitStack() as stack:
        clients = client_of_each(server, stack, lambda: server.plain(log_in=False))
        return {answer_to(client, credential).startswith("OK") for client in clients.values()}


def lines_with(server: RunningServer, text: str) -> int:
    return server.log().count(text)


# -- keys


def test_keys_come_and_go_in_all_workers(start: Start) -> None:
    server = start()
    text, key_id = add_key(server)
    took = wait_until(lambda: accepts_everywhere(server, text) == {True}, SHOWS_WITHIN)
    print(f"a new key after {took:.2f} s")
    with server.plain() as old:
        revoke(server, key_id)
        took = wait_until(lambda: accepts_everywhere(server, text) == {False}, SHOWS_WITHIN)
        print(f"revoked after {took:.2f} s")
        assert old.ask(b"PING\n") == b"OK"
    assert accepts_everywhere(server, server.api_key) == {True}
    assert lines_with(server, NEW_KEYS) == 2


def test_a_worker_that_is_replaced_has_the_newest_keys_also_while_their_file_is_damaged(start: Start) -> None:
    server = start()
    text, _ = add_key(server)
    wait_until(lambda: lines_with(server, NEW_KEYS) == 1, SHOWS_WITHIN)
    file = state_of(server) / API_KEYS_FILE
    good = file.read_bytes()
    file.write_bytes(good[:-30])
    wait_until(lambda: lines_with(server, OLD_KEYS) == 1, SHOWS_WITHIN)
    victim = pids(server)[0]
    os.kill(victim, signal.SIGKILL)
    wait_for_replacement(server, victim)
    assert accepts_everywhere(server, text) == {True}
    assert accepts_everywhere(server, server.api_key) == {True}
    file.write_bytes(good)
    wait_until(lambda: "in order again, and as they were" in server.log(), SHOWS_WITHIN)
    file.chmod(0o644)
    wait_until(lambda: "other users can use it (mode 0644)" in server.log(), SHOWS_WITHIN)
    assert lines_with(server, OLD_KEYS) == 2
    assert lines_with(server, NEW_KEYS) == 1


def test_signing_keys_change(start: Start) -> None:
    server = start()
    with server.plain(log_in=False) as client:
        answer = client.ask(b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode()))
    token = answer.split(b":", 1)[1].split(b" ")[0].decode()
    for keep, accepted in ((True, True), (False, False)):
        before = lines_with(server, NEW_KEYS)
        change_signing_keys(
            state_of(server),
            lambda keys: with_new_key(keys, new_signing_key(HS256), keep=keep),  # noqa: B023
        )
        wait_until(lambda: lines_with(server, NEW_KEYS) > before, SHOWS_WITHIN)  # noqa: B023
        wait_until(lambda: accepts_everywhere(server, token) == {accepted}, 1)  # noqa: B023
    assert accepts_everywhere(server, server.api_key) == {True}


# -- certificates


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class OwnCertificate:
    """A certificate of the user's, which is replaced in its place."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.certificate, self.key = folder / "own.crt", folder / "own.key"
        self._authority = authority

    def flags(self) -> tuple[str, ...]:
        return "--cert", str(self.certificate), "--key", str(self.key)

    def make(self) -> Issued:
        return self._authority.issue(dns=["localhost"])

    def put(self, issued: Issued) -> bytes:
        """Put it there, the key after the certificate; the certificate as a client sees it."""
        shutil.copy(issued.certificate, self.certificate)
        shutil.copy(issued.key, self.key)
        return ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())


@pytest.fixture
def own(tmp_path: Path, authority: Authority) -> OwnCertificate:
    return OwnCertificate(tmp_path, authority)


def certificates_shown(server: RunningServer, authority: Authority) -> set[bytes]:
    """By each of the workers."""
    server.ca = authority.ca
    with ExitStack() as stack:
        clients = client_of_each(server, stack, lambda: server.tls(log_in=False))
        return {client.connection.getpeercert(binary_form=True) for client in clients.values()}  # type: ignore[attr-defined]


def test_a_certificate_is_replaced_and_no_connection_is_dropped(
    start: Start, own: OwnCertificate, authority: Authority
) -> None:
    first = own.put(own.make())
    server = start(*own.flags())
    assert certificates_shown(server, authority) == {first}
    with ExitStack() as stack:
        old = client_of_each(server, stack, server.tls)
        second = own.put(own.make())
        took = wait_until(lambda: certificates_shown(server, authority) == {second}, SHOWS_WITHIN)
        print(f"a new certificate after {took:.2f} s")
        for client in old.values():
            assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
            assert client.connection.getpeercert(binary_form=True) == first  # type: ignore[attr-defined]
    assert lines_with(server, NEW_TLS) == 1
    assert lines_with(server, OLD_TLS) == 0


def test_what_is_no_pair_or_unsafe_is_refused_once_and_the_old_one_stays(
    start: Start, own: OwnCertificate, authority: Authority
) -> None:
    first = own.put(own.make())
    server = start(*own.flags())
    shutil.copy(own.make().key, own.key)
    wait_until(lambda: lines_with(server, f"private key {own.key}: does not belong to certificate"), SHOWS_WITHIN)
    # A worker that starts now is given what is in force.
    victim = pids(server)[0]
    os.kill(victim, signal.SIGKILL)
    wait_for_replacement(server, victim)
    assert certificates_shown(server, authority) == {first}
    second = own.put(own.make())
    own.key.chmod(0o640)
    wait_until(
        lambda: lines_with(server, f"private key {own.key}: it holds a secret, and other users can use it"),
        SHOWS_WITHIN,
    )
    assert certificates_shown(server, authority) == {first}
    own.key.chmod(0o600)
    wait_until(lambda: certificates_shown(server, authority) == {second}, SHOWS_WITHIN)
    assert lines_with(server, OLD_TLS) == 2
    assert lines_with(server, NEW_TLS) == 1


# -- one process


def test_a_server_of_one_process_does_the_same(start_server: Start, own: OwnCertificate, authority: Authority) -> None:
    own.put(own.make())
    server = start_server("--shards", "1", *own.flags())
    server.ca = authority.ca
    text, _ = add_key(server)
    with server.tls() as old:
        second = own.put(own.make())
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: lines_with(server, NEW_KEYS) and lines_with(server, NEW_TLS), SHOWS_WITHIN)
        with server.tls(log_in=False) as new:
            assert new.connection.getpeercert(binary_form=True) == second  # type: ignore[attr-defined]
            assert answer_to(new, text).startswith("OK")
        assert old.ask(b"PING\n") == b"OK"


# -- SIGHUP


def test_a_hundred_hangups_under_load_fail_no_request(start: Start) -> None:
    server = start()
    stop, done, faults = threading.Event(), [0, 0, 0, 0], []

    def use(number: int) -> None:
        # A quarter of them logs in anew each time.
        try:
            while not stop.is_set():
                with Client(server.url(), retries=0) as client:
                    for _ in range(1 if number == 0 else 1000):
                        client.write(f"key-{number}", b"value")
                        assert client.read(f"key-{number}") == b"value"
                        done[number] += 1
                        if stop.is_set():
                            break
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    before = pids(server)
    try:
        for number in range(100):
            if number % 10 == 5:
                add_key(server, f"client-{number}")
            server.process.send_signal(signal.SIGHUP)
            for pid in before:
                os.kill(pid, signal.SIGHUP)  # which is not for them
            time.sleep(0.02)
    finally:
        wait_until(lambda: lines_with(server, NEW_KEYS) >= 1, SHOWS_WITHIN)
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not faults
    print(f"{sum(done)} pairs of requests")
    assert min(done) > 10
    assert pids(server) == before


def test_a_hangup_without_a_change_changes_nothing(start: Start) -> None:
    server = start()
    with server.plain() as client:
        for number in range(1, 4):
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: lines_with(server, "SIGHUP: the files of") == number, SHOWS_WITHIN)  # noqa: B023
        assert client.ask(b"PING\n") == b"OK"
    assert lines_with(server, NEW_KEYS) + lines_with(server, OLD_KEYS) == 0
    assert lines_with(server, NEW_TLS) + lines_with(server, OLD_TLS) == 0


def test_a_server_ends_with_the_terminal_that_it_was_started_from(tmp_path: Path) -> None:
    flags = ["--port", "0", "--workers", "1", "--shards", "1"]
    flags += ["--certs-folder", str(tmp_path / "certs"), "--state-folder", str(tmp_path / "state")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, str(REPOSITORY / "server.py"), *flags])
    try:
        said = b""
        while b"\nready" not in said:
            said += os.read(terminal, 4096)
        os.kill(pid, signal.SIGHUP)  # of an operator: the terminal is still there
        while b"SIGHUP: the files of" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)
        ended: list[int] = []

        def has_ended() -> bool:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(found)

        wait_until(has_ended, 10)
        assert ended == [0]
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
