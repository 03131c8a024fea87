"""What a person does at `openssl s_client` and `nc`, and in a shell: the lines that the server prints, pasted."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from tests.live.running import REPOSITORY, RunningServer


def run(command: list[str], typed: str) -> tuple[int, bytes]:
    done = subprocess.run(command, input=typed.encode(), capture_output=True, timeout=20, check=False)
    return done.returncode, done.stdout


def test_the_printed_lines_work_as_they_stand(server: RunningServer) -> None:
    start = next(index for index, line in enumerate(server.lines) if "openssl s_client" in line)
    end = server.lines.index("  quit") + 1
    command, *typed = [line.strip() for line in server.lines[start:end]]
    _, heard = run(shlex.split(command), "\n".join(typed) + "\n")
    lines = heard.splitlines()
    assert lines[0].startswith(b"OK ")
    assert lines[0].endswith(b" ttl=900")
    assert lines[1:] == [b"OK", b"OK 8:my_value", b"OK"]


def test_the_lines_for_a_shell_make_a_client_find_the_server(server: RunningServer) -> None:
    start = server.lines.index("for the clients, paste in a shell:") + 1
    url, authority = [line.strip() for line in server.lines[start:-1]]
    assert url == f"export WIREPROTO_URL=wireproto://{server.api_key}@localhost:{server.port}"
    assert authority == f"export WIREPROTO_CA={server.ca}"
    program = shlex.join([sys.executable, str(REPOSITORY / "client.py")])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
    done = subprocess.run(
        ["sh", "-e"],
        input=f"{url}\n{authority}\n{program} write shell pasted\n{program} read shell\n".encode(),
        cwd=server.folder,
        env=clean,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"pasted", b"")


def test_s_client_hears_every_kind_of_answer(server: RunningServer) -> None:
    typed = [
        'read "nobody-logged-in"',
        f'auth "{server.api_key}"',
        'delete "s_client"',
        'read "s_client"',
        '#one write "s_client" "a\\nb" ex=60',
        'write "s_client" "c" nx',
        "GET 8:s_client ttl",
        "frob",
        "help",
        "stats",
        "quit",
    ]
    command = ["openssl", "s_client", "-quiet", "-connect", f"localhost:{server.port}", "-CAfile", str(server.ca)]
    _, heard = run([*command, "-verify_return_error"], "\r\n".join(typed) + "\r\n")
    assert b"ERR AUTH :log in first" in heard
    assert b"\nMISS\nMISS\n" in heard or b"\nOK\nMISS\n" in heard
    assert b"#one OK\n" in heard
    assert b"\nCONFLICT\n" in heard
    assert b"OK 3:a\nb ttl=" in heard
    assert b"ERR VERB :" in heard
    assert b'"nodes"' in heard
    assert heard.endswith(b"OK\n")


def test_nc_half_closes_and_hears_everything(server: RunningServer) -> None:
    typed = f'auth "{server.api_key}"\n' + 'write "nc" "v"\n' + 'read "nc"\n' * 5000
    code, heard = run(["nc", "-N", "127.0.0.1", str(server.plain_port)], typed)
    assert code == 0
    assert heard.splitlines()[1:] == [b"OK", *[b"OK 1:v"] * 5000]


def test_plain_text_at_the_tls_port_and_tls_at_the_plain_port(server: RunningServer) -> None:
    code, heard = run(["nc", "-N", "127.0.0.1", str(server.port)], "READ 1:k\n")
    assert b"OK" not in heard
    command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{server.plain_port}"]
    code, heard = run(command, "quit\n")
    assert code != 0
    with server.tls() as client:
        assert client.ask(b"PING\n") == b"OK"


def test_tls_1_2_is_refused(server: RunningServer) -> None:
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"localhost:{server.port}", "-CAfile", str(server.ca)]
    code, _ = run(command, "")
    assert code != 0
