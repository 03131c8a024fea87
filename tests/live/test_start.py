"""`python server.py` as a person or a supervisor meets it: how it starts, what it says, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import redis

from tests.authority import Authority
from tests.live.running import REPOSITORY, RawClient, RunningServer, client_context, keys_by_node, wait_until
from wireproto.server.certificates import ensure_development_certificates
from wireproto.server.embedded import find_program

StartServer = Callable[..., RunningServer]
API_KEY = "a-key-that-somebody-chose-0123456789abcdef"


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers put the folders of their nodes; the path of a socket must be short. Nothing may stay there."""
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def run(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python server.py` for starts that end by themselves."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "server.py"), *flags],
        env={**clean, **(environment or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@contextmanager
def running(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[RunningServer]:
    """A server in a folder that other servers may use before and after."""
    server = RunningServer(folder, *flags, environment=environment)
    try:
        yield server
    finally:
        server.stop()


def accepts(server: RunningServer, api_key: str) -> bool:
    with server.plain(log_in=False) as client:
        return client.ask(b"AUTH %d:%b\n" % (len(api_key), api_key.encode())).startswith(b"OK ")


def lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def family(server: RunningServer) -> list[int]:
    """The processes that a server has started, and those that they have."""
    return [process.pid for process in psutil.Process(server.process.pid).children(recursive=True)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def has_no_traceback(server: RunningServer) -> bool:
    log = server.log()
    return "Traceback" not in log and "never retrieved" not in log and "CRITICAL" not in log


# -- the start


def test_it_is_ready_quickly_and_says_so(start_server: StartServer) -> None:
    started = time.monotonic()
    server = start_server()
    took = time.monotonic() - started
    print(f"ready {took:.2f} s after the start of the process")
    assert took < 5
    assert server.lines[0].startswith("wireproto ")
    assert f"listening on 127.0.0.1:{server.port} (TLS)" in server.lines
    assert "nodes: shard-1 shard-2 shard-3 shard-4 (started here, 256mb each)" in server.lines
    assert sum(line.startswith("ready") for line in server.lines) == 1
    assert server.lines[-1].startswith("ready")
    with server.tls() as client:
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        assert client.ask(b"READ 1:k\n") == b"OK 1:v"


def test_the_api_key_is_shown_once_and_stays(tmp_path: Path) -> None:
    with running(tmp_path, "--shards", "1") as first:
        api_key = first.api_key
        assert "\n".join(first.lines).count(api_key) == 3, "once, and in two lines to paste"
        assert accepts(first, api_key)
    with running(tmp_path, "--shards", "1") as second:
        assert api_key not in "\n".join(second.lines)
        assert f"  export WIREPROTO_URL=wireproto://your-api-key@localhost:{second.port}" in second.lines
        assert accepts(second, api_key)
    state = tmp_path / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert api_key not in path.read_text()
    assert api_key not in first.log()


def test_a_first_start_that_fails_does_not_swallow_the_api_key(tmp_path: Path) -> None:
    folders = ("--certs-folder", "certs", "--state-folder", "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(tmp_path, *folders, "--port", port).returncode == 2
    assert run(tmp_path, *folders, "--port", "0", "--redis-server", "/bin/false").returncode == 2
    with running(tmp_path, "--shards", "1") as server:
        assert accepts(server, server.api_key)


def test_an_api_key_from_the_environment_takes_the_place_of_the_stored_ones(tmp_path: Path) -> None:
    with running(tmp_path, "--shards", "1") as server:
        stored = server.api_key
    with running(tmp_path, "--shards", "1", environment={"WIREPROTO_API_KEY": API_KEY}) as server:
        assert API_KEY not in "\n".join(server.lines)
        assert accepts(server, API_KEY)
        assert not accepts(server, stored)
        assert API_KEY not in server.log()
    with running(tmp_path, "--shards", "1") as server:
        assert accepts(server, stored)
        assert not accepts(server, API_KEY)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "--port", str(port))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"wireproto: cannot listen on 127.0.0.1 port {port}: ")
    assert "--port takes another" in done.stderr
    assert done.stderr.count("\n") == 1


def test_development_secrets_are_not_for_other_machines(tmp_path: Path) -> None:
    done = run(tmp_path, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "the development certificate is for those alone; give cert and key" in done.stderr
    issued = Authority(tmp_path).issue(dns=["localhost"])
    own = ("--host", "0.0.0.0", "--cert", str(issued.certificate), "--key", str(issued.key))
    done = run(tmp_path, *own)
    assert done.returncode == 2
    assert "there is no API key, and where other machines reach the server it makes none by itself" in done.stderr
    assert "wireproto keys create" in done.stderr
    assert not list(tmp_path.rglob("api-keys.json"))


def test_no_plain_port_for_other_machines(tmp_path: Path) -> None:
    for more in ((), ("--check",)):
        done = run(tmp_path, "--plain-port", "0", "--host", "0.0.0.0", *more)
        assert done.returncode == 2
        assert "flag --plain-port: refused, because host '0.0.0.0' is not a loopback address" in done.stderr


def test_help_and_version(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("--port", "--node", "--redis-server", "--plain-port", "WIREPROTO_API_KEY", "--check"):
        assert word in done.stdout
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wireproto ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "flags", [("--shards", "2"), ("--node", "a=redis://h;replica=unix:///i,b=sentinels://h,i/m?tls=no")]
)
def test_check_says_that_all_is_well_and_leaves_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = run(tmp_path, "--check", *flags)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the settings are fine\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "environment", "file", "told"),
    [
        (["--port", "70000"], {}, "", ["flag --port: ", "65535"]),
        (["--prot", "7"], {}, "", ["there is no flag --prot", "did you mean --port?"]),
        (["--api-key", API_KEY], {}, "", ["--api-key", "WIREPROTO_API_KEY"]),
        ([], {"WIREPROTO_MAX_VALUE": "1 potato"}, "", ["environment variable WIREPROTO_MAX_VALUE: ", "is not a size"]),
        (
            [],
            {"WIREPROTO_SHARD": "1"},
            "",
            ["environment variable WIREPROTO_SHARD: ", "did you mean WIREPROTO_SHARDS?"],
        ),
        ([], {}, "nodee_memory = '1gb'", ["wireproto.toml, key nodee_memory: ", "did you mean node_memory?"]),
        ([], {}, "port = true", ["wireproto.toml, key port: must be a number or text"]),
        (["--port", "7"], {}, "port = 'x'", ["wireproto.toml, key port: 'x' is not a whole number"]),
        (["--redis-server", "/no/such/program"], {}, "", ["redis_server: /no/such/program"]),
        (["--cert", "a.pem"], {}, "", ["flag --cert: needs the setting key too"]),
        (["--cert", "a.pem", "--key", "b.pem"], {}, "", ["a.pem: No such file"]),
        (
            ["--node", "a=redis://h;replica=rediss://i?ssl_ca_certs=none.pem"],
            {},
            "",
            ["the certificates of a node's URL cannot be loaded"],
        ),
        (
            ["--node", "a=sentinel://h,i/m?tls=yes&ssl_ca_certs=none.pem"],
            {},
            "",
            ["the certificates of a node's URL cannot be loaded"],
        ),
    ],
)
def test_check_names_the_source_the_key_and_the_reason(
    flags: list[str], environment: dict[str, str], file: str, told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "wireproto.toml").write_text(file)
    done = run(tmp_path, "--check", "--config", "wireproto.toml", *flags, environment=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for words in told:
        assert words in done.stderr
    assert API_KEY not in done.stderr


@pytest.mark.parametrize("last", [1, 2, 3])
def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path, last: int) -> None:
    (tmp_path / "wireproto.toml").write_text('shards = 1\nnode-memory = "64mb"\n')
    environment = {"WIREPROTO_SHARDS": "2"} if last >= 2 else {}
    environment["WIREPROTO_CONFIG"] = "wireproto.toml"
    flags = ("--shards", "3") if last == 3 else ()
    with running(tmp_path, *flags, environment=environment) as server:
        names = " ".join(f"shard-{number}" for number in range(1, last + 1))
        assert f"nodes: {names} (started here, 64mb each)" in server.lines


def test_a_certificate_of_ones_own(start_server: StartServer, tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -out cert.pem -keyout key.pem -days 3650 -subj /CN=localhost"
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
    certificate = tmp_path / "cert.pem"
    server = start_server("--shards", "1", "--cert", str(certificate), "--key", str(tmp_path / "key.pem"))
    assert server.ca is None
    assert server.lines[-2].startswith("  export WIREPROTO_URL="), "there is no authority to name"
    assert not (server.folder / "certs").exists()
    context = client_context(certificate)
    context.check_hostname = False  # the name stands in the subject alone, where clients do not look any more
    with RawClient(context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=10))) as client:
        assert client.ask(b"PING\n") == b"OK"
        assert isinstance(client.connection, ssl.SSLSocket)
        assert client.connection.version() == "TLSv1.3"
        assert client.connection.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(certificate.read_text())


# -- nodes that are started here


def test_one_master_and_three_replicas(start_server: StartServer) -> None:
    server = start_server("--shards", "1", "--replicas", "3")
    assert "nodes: shard-1 (started here, 256mb each, with 3 replicas for each shard and 3 Sentinels)" in server.lines
    nodes = server.stats()["nodes"]
    assert isinstance(nodes, list)
    assert [(node["shard"], node["role"]) for node in nodes] == [("shard-1", "master")] + [("shard-1", "replica")] * 3
    assert nodes[0]["state"] == "up"
    folder = Path(psutil.Process(server.node_pid("shard-1")).cwd())
    password = next(
        line.split()[1] for line in (folder / "shard-1.conf").read_text().splitlines() if line.startswith("requirepass")
    )

    def at(name: str) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(folder / f"{name}.sock"), password=password)

    with at("shard-1") as master:
        wait_until(lambda: master.info("replication")["connected_slaves"] == 3, timeout=10)
        with server.tls() as client:
            assert client.ask(b"WRITE 1:k 5:value\n") == b"OK"
            assert client.ask(b"READ 1:k\n") == b"OK 5:value"
        for number in (1, 2, 3):
            with at(f"shard-1-replica-{number}") as replica:
                assert replica.role()[0] == b"slave"
                wait_until(replica.dbsize)
    assert server.stop() == 0
    assert has_no_traceback(server)


# -- nodes that run already

StartRedis = Callable[..., int]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts Redis servers without persistence; the number of each is its port."""
    program = shutil.which("redis-server") or find_program(None)
    processes: list[subprocess.Popen[bytes]] = []

    def start(*lines: str, port: int | None = None, tls: bool = False) -> int:
        port = port or free_port()
        folder = tmp_path / f"redis-{port}"
        folder.mkdir()
        where = [f"tls-port {port}", "port 0"] if tls else [f"port {port}"]
        configuration = "\n".join(["bind 127.0.0.1", 'save ""', f"unixsocket {folder}/s", *where, *lines, ""])
        (folder / "redis.conf").write_text(configuration)
        log = (folder / "log").open("wb")
        processes.append(subprocess.Popen([program, "redis.conf"], cwd=folder, stdout=log, stderr=log))
        log.close()
        wait_until(lambda: (folder / "s").exists() and not refuses(port))
        return port

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_named_nodes(start_server: StartServer, start_redis: StartRedis, tmp_path: Path) -> None:
    with_password = start_redis("requirepass secret-1")
    with_user = start_redis("user default off", "user cache on >secret-2 ~* +@all")
    by_socket = start_redis()
    nodes = (
        f"b=redis://cache:secret-2@127.0.0.1:{with_user}/3",
        f"c=unix://{tmp_path}/redis-{by_socket}/s?db=5",
        f"a=redis://:secret-1@localhost:{with_password};weight=2",
    )
    server = start_server(environment={"WIREPROTO_NODES": ",".join(nodes)})
    assert "nodes: a b c (named)" in server.lines
    with server.tls() as client:
        for name, (key,) in keys_by_node(client).items():
            assert client.ask(b"WRITE %d:%b 1:%b\n" % (len(key), key, name.encode())) == b"OK"
            assert client.ask(b"READ %d:%b\n" % (len(key), key)) == b"OK 1:%b" % name.encode()
    with redis.Redis(port=with_password, password="secret-1") as node:
        assert node.dbsize() == 1
    with redis.Redis(port=with_user, username="cache", password="secret-2", db=3) as node:
        assert node.dbsize() == 1
    with redis.Redis(port=by_socket, db=5) as node:
        assert node.dbsize() == 1
    assert server.stop() == 0
    assert "secret" not in server.log() + "\n".join(server.lines)


def has_tls(program: str) -> bool:
    """Whether a Redis was built with TLS: without it the setting is unknown."""
    done = subprocess.run([program, "--tls-port", "0", "--port", "0"], capture_output=True, timeout=10, check=False)
    return b"Bad directive" not in done.stdout + done.stderr and b"tls-port" not in done.stderr


def test_a_node_behind_tls(start_server: StartServer, start_redis: StartRedis, tmp_path: Path) -> None:
    program = shutil.which("redis-server")
    if program is None or not has_tls(program):
        pytest.skip("there is no redis-server that speaks TLS")
    files = ensure_development_certificates(tmp_path / "node-certs", datetime.now(UTC))
    certificate = (f"tls-cert-file {files.cert}", f"tls-key-file {files.key}", f"tls-ca-cert-file {files.ca}")
    port = start_redis(*certificate, "tls-auth-clients no", "requirepass secret", tls=True)
    urls = {
        "trusted": f"rediss://:secret@localhost:{port}/0?ssl_ca_certs={files.ca}",
        "unverified": f"rediss://:secret@localhost:{port}/0?ssl_cert_reqs=none",
        "unknown": f"rediss://:secret@localhost:{port}/0",
        "strange": f"rediss://:secret@localhost:{port}/0?ssl_ca_certs={Authority(tmp_path).ca}",
        # An address that resolvers know and that is in no certificate.
        "misnamed": f"rediss://:secret@127.1:{port}/0?ssl_ca_certs={files.ca}",
    }
    environment = {"WIREPROTO_NODES": ",".join(f"{name}={url}" for name, url in urls.items())}
    server = start_server(environment=environment)
    assert "nodes that cannot be reached: misnamed strange unknown" in server.lines
    log = server.log()
    assert "secret" not in log
    for name, reason in (
        ("unknown", "self-signed certificate in certificate chain|unable to get local issuer"),
        ("strange", "self-signed certificate in certificate chain|unable to get local issuer"),
        ("misnamed", "(Hostname|IP address) mismatch"),
    ):
        assert re.search(f"node {name} cannot be used: .*certificate verify failed: ({reason})", log), log
    with server.plain() as client:
        keys = {name: key for name, (key,) in keys_by_node(client).items()}
        for name in ("trusted", "unverified"):
            assert client.ask(b"WRITE %d:%b 1:v\n" % (len(keys[name]), keys[name])) == b"OK"
        for name in ("unknown", "strange", "misnamed"):
            assert client.ask(b"READ %d:%b\n" % (len(keys[name]), keys[name])).startswith(b"ERR DOWN ")


def test_a_node_that_is_down_at_the_start_is_told_and_taken_when_it_comes(
    start_server: StartServer, start_redis: StartRedis
) -> None:
    late, there = free_port(), start_redis()
    server = start_server("--node", f"late=redis://127.0.0.1:{late}", "--node", f"there=redis://127.0.0.1:{there}")
    assert "nodes that cannot be reached: late" in server.lines
    assert "node late cannot be used" in server.log()
    with server.plain() as client:
        keys = {name: key for name, (key,) in keys_by_node(client).items()}
        write = {name: b"WRITE %d:%b 1:v\n" % (len(key), key) for name, key in keys.items()}
        assert client.ask(write["late"]).startswith(b"ERR DOWN ")
        assert client.ask(write["there"]) == b"OK"
        start_redis(port=late)
        wait_until(lambda: client.ask(write["late"]) == b"OK")


# -- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(start_server: StartServer, temporary_files: Path, number: signal.Signals) -> None:
    server = start_server("--shards", "1", "--node-timeout", "10s")
    pids = family(server)
    assert len(pids) == 2
    assert len(list(temporary_files.iterdir())) == 1
    node = server.node_pid("shard-1")
    idle = server.tls()
    with server.tls() as tls, server.plain() as plain:
        os.kill(node, signal.SIGSTOP)
        try:
            for client in (tls, plain):
                client.send(b"#before WRITE 1:k 1:v\n")
                assert client.ask(b"#ping PING\n") == b"#ping OK"
            server.process.send_signal(number)
            wait_until(lambda: refuses(server.port) and refuses(server.plain_port))
            for client in (tls, plain):
                assert client.ask(b"#after READ 1:k\n").startswith(b"#after ERR CLOSING ")
        finally:
            os.kill(node, signal.SIGCONT)
        for client in (tls, plain):
            assert client.everything() == b"#before OK\n"
    assert idle.everything() == b""
    idle.connection.close()
    assert server.process.wait(10) == 0
    assert not any(map(lives, pids))
    assert list(temporary_files.iterdir()) == []
    assert has_no_traceback(server)


def test_a_node_that_never_answers_does_not_hold_up_the_end(start_server: StartServer, temporary_files: Path) -> None:
    server = start_server("--shards", "1", "--node-timeout", "1m", "--drain-timeout", "500ms")
    pids = family(server)
    with server.plain() as client:
        os.kill(server.node_pid("shard-1"), signal.SIGSTOP)
        client.send(b"READ 1:k\n")
        time.sleep(0.05)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
    assert not any(map(lives, pids))
    assert list(temporary_files.iterdir()) == []
    assert has_no_traceback(server)


def test_a_second_signal_ends_it_at_once(start_server: StartServer, temporary_files: Path) -> None:
    server = start_server("--shards", "2", "--node-timeout", "1m")
    pids = family(server)
    node = server.node_pid("shard-1")
    with server.plain() as client:
        (key,) = keys_by_node(client)["shard-1"]
        os.kill(node, signal.SIGSTOP)
        client.send(b"READ %d:%b\n" % (len(key), key))
        assert client.ask(b"#ping PING\n") == b"#ping OK"
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server.port))
        started = time.monotonic()
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 1
    wait_until(lambda: not any(map(lives, pids)) and not list(temporary_files.iterdir()))
    assert has_no_traceback(server)


def test_kill_9_leaves_no_node(start_server: StartServer, temporary_files: Path) -> None:
    server = start_server("--shards", "2", "--replicas", "1")
    pids = family(server)
    assert len(pids) >= 5  # the guard, four nodes, and what a master forks to copy itself
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(map(lives, pids)) and not list(temporary_files.iterdir()), timeout=3)
    assert has_no_traceback(server)


def test_a_signal_during_the_start_is_not_lost(tmp_path: Path, temporary_files: Path) -> None:
    """The nodes never answer here; the first signal waits for the start to end, the second one does not."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    command = [sys.executable, str(REPOSITORY / "server.py"), "--port", "0", "--redis-server", str(program)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: list(temporary_files.iterdir()), timeout=10)
    pids = [one.pid for one in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 128 + signal.SIGINT
    out, err = process.communicate()
    assert (out, err) == (b"", b"")
    wait_until(lambda: not any(map(lives, pids)) and not list(temporary_files.iterdir()))


BROKEN = """
import sys
from wireproto.cli import main
from wireproto.server.listener import Listener

async def run(self):
    raise RuntimeError("a bug")

Listener.run = run
sys.exit(main(["--port", "0", "--shards", "1", "--workers", "1"]))
"""


def test_a_bug_that_ends_a_part_of_it_ends_it_with_another_code(tmp_path: Path, temporary_files: Path) -> None:
    """A supervisor that restarts what failed must not take it for a server that was asked to stop."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], cwd=tmp_path, env=environment, capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert b"a part of the server has ended; shutting down" in done.stderr
    assert b"\n  RuntimeError\n" in done.stderr
    assert list(temporary_files.iterdir()) == []
