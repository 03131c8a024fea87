"""The settings: every one from every source, in the right order, and clear about what is wrong with it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields, replace
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.connection import parse_url

from wireproto import __version__
from wireproto.core.limits import Limits
from wireproto.errors import ConfigurationError
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.settings import SETTINGS, Setting, SettingError, Settings, ShardAddress, parse, settings_table

BY_NAME = {setting.name: setting for setting in SETTINGS}
SECRET = "hunter2-hunter2-hunter2"
KEY_TEXT = base64.b64encode(b"hunter2-hunter2-hunter2-hunter2-").decode()

A, B = ShardAddress("a", "redis://h:1"), ShardAddress("b", "rediss://u@h:2/3", 2.0)
C = ShardAddress("c", "redis://h:3", 0.5, ("redis://h:4", "unix:///h5"))
D = ShardAddress("d", "sentinel://h:1,[::1],h-2:26380/my_master?db=1&tls=yes")
SAMPLES: dict[str, tuple[tuple[str, Any], tuple[str, Any]]] = {
    "host": (("::1", "::1"), ("cache.example.com", "cache.example.com")),
    "port": (("0", 0), ("65535", 65535)),
    "plain_port": (("0", 0), ("7380", 7380)),
    "workers": (("1", 1), ("1024", 1024)),
    "cert": (("a.pem", Path("a.pem")), ("/b c/ä.pem", Path("/b c/ä.pem"))),
    "key": (("a.pem", Path("a.pem")), ("/b c/ä.pem", Path("/b c/ä.pem"))),
    "tls_minimum": (("TLSv1.2", "TLSv1.2"), ("TLSv1.3", "TLSv1.3")),
    "certs_folder": (("one", Path("one")), ("/two", Path("/two"))),
    "client_certificates": (("optional", "optional"), ("required", "required")),
    "client_ca": (("ca.pem", Path("ca.pem")), ("/b c/ä.pem", Path("/b c/ä.pem"))),
    "development_secrets": (("anywhere", "anywhere"), ("loopback", "loopback")),
    "nodes": (
        ("a=redis://h:1", (A,)),
        (
            "a=redis://h:1, b=rediss://u@h:2/3;weight=2.0, c=redis://h:3;replica=redis://h:4;weight=0.5;"
            "replica=unix:///h5, d=sentinel://h:1,[::1],h-2:26380/my_master?db=1&tls=yes",
            (A, B, C, D),
        ),
    ),
    "pool_size": (("2", 2), ("64", 64)),
    "ring_seed": (("4294967295", 2**32 - 1), ("7", 7)),
    "reads": (("replica", "replica"), ("master", "master")),
    "max_replica_lag": (("300ms", 0.3), ("1h", 3600.0)),
    "sync": (("1", 1), ("8", 8)),
    "namespace_sync": (("shop=1, logs=0", (("shop", 1), ("logs", 0))), ("A-z_0.9=8", (("A-z_0.9", 8),))),
    "sync_timeout": (("10ms", 0.01), ("1m", 60.0)),
    "failover_grace": (("1.5s", 1.5), ("1m", 60.0)),
    "shards": (("1", 1), ("1024", 1024)),
    "replicas": (("1", 1), ("8", 8)),
    "sentinels": (("0", 0), ("9", 9)),
    "sentinel_down_after": (("100ms", 0.1), ("1h", 3600.0)),
    "redis_server": (("redis-server", "redis-server"), ("/opt/valkey", "/opt/valkey")),
    "node_memory": (("2gb", "2gb"), ("1000000", "1000000")),
    "eviction": (("noeviction", "noeviction"), ("volatile-ttl", "volatile-ttl")),
    "namespace": (("orders", "orders"), ("A-z_0.9", "A-z_0.9")),
    "api_key": (("x" * 16, "x" * 16), ("!" * 1024, "!" * 1024)),
    "token_lifetime": (("1h", 3600), ("1000ms", 1)),
    "handshake_timeout": (("10ms", 0.01), ("1h", 3600.0)),
    "auth_timeout": (("0.5", 0.5), ("1m", 60.0)),
    "frame_timeout": (("1m", 60.0), ("35 ms", 0.035)),
    "idle_timeout": (("24h", 86400.0), ("35 ms", 0.035)),
    "stall_timeout": (("1s", 1.0), ("2", 2.0)),
    "node_timeout": (("1ms", 0.001), ("1.5S", 1.5)),
    "node_connect_timeout": (("1ms", 0.001), ("250ms", 0.25)),
    "drain_timeout": (("0", 0.0), ("1m", 60.0)),
    "max_connections": (("1", 1), ("1000000", 1_000_000)),
    "max_key": (("1", 1), ("512", 512)),
    "max_value": (("32MiB", 2**25), ("10 kib", 10_240)),
    "max_frame_overhead": (("64", 64), ("64KiB", 65_536)),
    "max_frame_before_auth": (("1KiB", 1024), ("1MiB", 2**20)),
    "max_in_flight": (("1", 1), ("100", 100)),
    "max_in_flight_bytes": (("1GiB", 2**30), ("1024b", 1024)),
    "max_unread_bytes": (("1GiB", 2**30), ("1024", 1024)),
    "max_client_memory": (("64MiB", 2**26), ("1048576", 2**20)),
    "max_node_queue": (("1", 1), ("100", 100)),
    "max_node_queue_bytes": (("16GiB", 2**34), ("2MiB", 2**21)),
    "max_node_delay": (("0", 0.0), ("50ms", 0.05)),
    "state_folder": (("state", Path("state")), ("/var/lib/wireproto", Path("/var/lib/wireproto"))),
    "keyring": (("keys.json", Path("keys.json")), ("/run/ä/keys", Path("/run/ä/keys"))),
    "encryption_keys": (
        (f"a={KEY_TEXT}", f"a={KEY_TEXT}"),
        (f"b={KEY_TEXT}@shop,plain@x", f"b={KEY_TEXT}@shop,plain@x"),
    ),
    "audit_log": (("audit.jsonl", Path("audit.jsonl")), ("/var/log/wireproto", Path("/var/log/wireproto"))),
    "log_level": (("debug", "debug"), ("error", "error")),
}
"""Two texts for every setting, and what they stand for."""

ALONG: dict[str, dict[str, str]] = {
    "host": {"WIREPROTO_DEVELOPMENT_SECRETS": "anywhere"},
    "cert": {"WIREPROTO_KEY": "key.pem"},
    "key": {"WIREPROTO_CERT": "cert.pem"},
    "client_certificates": {"WIREPROTO_CLIENT_CA": "ca.pem"},
    "client_ca": {"WIREPROTO_CLIENT_CERTIFICATES": "optional"},
    "sentinels": {"WIREPROTO_REPLICAS": "1"},
}
"""What a setting cannot do without."""


class Sources:
    """A command line, an environment and a file to be filled by a test."""

    def __init__(self, folder: Path) -> None:
        self.argv: list[str] = []
        self.environ: dict[str, str] = {}
        self.file = folder / "wireproto.toml"

    def give(self, source: str, setting: Setting, text: str) -> None:
        if source == "flag":
            assert setting.flag is not None
            self.argv += [setting.flag, text]
        elif source == "environment":
            self.environ[setting.variable] = text
        else:
            assert setting.toml_key is not None
            self.write(toml(setting, text))

    def write(self, content: str | bytes) -> None:
        self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.file.chmod(0o600)
        self.environ["WIREPROTO_CONFIG"] = str(self.file)

    def parse(self) -> Settings:
        return parse(self.argv, self.environ)[0]

    def error(self) -> str:
        with pytest.raises(ConfigurationError) as caught:
            self.parse()
        return str(caught.value)


def toml(setting: Setting, text: str) -> str:
    if setting.name != "nodes":
        return f"{setting.toml_key} = {json.dumps(text, ensure_ascii=False)}\n"
    lines = ["[nodes]"]
    for part in text.split(", "):
        name, _, rest = part.partition("=")
        url, *others = rest.split(";")
        replicas = [item.removeprefix("replica=") for item in others if item.startswith("replica=")]
        weight = next((item for item in others if item.startswith("weight=")), "weight=1")
        table = f'{{url = "{url}", replicas = {replicas}, {weight.replace("=", " = ")}}}'
        lines.append(f"{name} = {table}" if others else f'{name} = "{url}"')
    return "\n".join(lines)


def sources_of(setting: Setting) -> list[str]:
    """Best last."""
    every = [("file", setting.toml_key), ("environment", setting.variable), ("flag", setting.flag)]
    return [source for source, name in every if name is not None]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def refused(argv: Sequence[str] = (), environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(argv, environ or {})
    return str(caught.value)


# --- Every setting, from every source ---------------------------------------------------------------------------------


def test_there_are_samples_of_every_setting() -> None:
    assert list(SAMPLES) == [setting.name for setting in SETTINGS]
    for name, samples in SAMPLES.items():
        assert samples[0][1] != samples[1][1]
        assert any(value != BY_NAME[name].default for _, value in samples)


def test_without_any_source_all_defaults_hold() -> None:
    settings, check_only = parse([], {})
    assert settings == Settings()
    assert not check_only
    assert all(getattr(settings, setting.name) == setting.default for setting in SETTINGS)


def label(value: object) -> str:
    """A setting or a source, in the name of a test."""
    return value.name if isinstance(value, Setting) else str(value)


EVERY_SOURCE = [(setting, source) for setting in SETTINGS for source in sources_of(setting)]


@pytest.mark.parametrize(("setting", "source"), EVERY_SOURCE, ids=label)
def test_every_setting_from_every_source(sources: Sources, setting: Setting, source: str) -> None:
    for text, value in SAMPLES[setting.name]:
        fresh = Sources(sources.file.parent)
        fresh.environ |= ALONG.get(setting.name, {})
        fresh.give(source, setting, text)
        found = getattr(fresh.parse(), setting.name)
        assert found == value
        assert type(found) is type(value)


EVERY_PAIR = [
    (setting, worse, better)
    for setting in SETTINGS
    for number, worse in enumerate(sources_of(setting))
    for better in sources_of(setting)[number + 1 :]
]


@pytest.mark.parametrize(("setting", "worse", "better"), EVERY_PAIR, ids=label)
def test_every_setting_is_taken_from_the_best_source(
    sources: Sources, setting: Setting, worse: str, better: str
) -> None:
    for (bad_text, _), (text, value) in permutations(SAMPLES[setting.name]):
        fresh = Sources(sources.file.parent)
        fresh.environ |= ALONG.get(setting.name, {})
        fresh.give(better, setting, text)
        fresh.give(worse, setting, bad_text)
        assert getattr(fresh.parse(), setting.name) == value


def can_be_wrong(setting: Setting) -> bool:
    """Any text is a path, and where none may be given, empty text says so."""
    return not (setting.kind.metavar == "PATH" and setting.optional)


@pytest.mark.parametrize(("setting", "source"), [item for item in EVERY_SOURCE if can_be_wrong(item[0])], ids=label)
def test_every_setting_names_its_source_when_it_is_wrong(sources: Sources, setting: Setting, source: str) -> None:
    wrong = {"PATH": "", "KEY": "short", "WORD": "debgu", "NAME=URL[;...]": "a=h"}.get(setting.kind.metavar, "?!")
    sources.give(source, setting, wrong)
    name = {
        "flag": f"flag {setting.flag}: ",
        "environment": f"environment variable {setting.variable}: ",
        "file": f"file {sources.file}, key {setting.toml_key}: ",
    }[source]
    message = sources.error()
    assert message.startswith(name)
    if setting.kind.secret:
        assert wrong not in message.removeprefix(name).replace("the URL must look like", "")
    else:
        assert message.removeprefix(name).startswith(f"{wrong!r} ")
    assert len(message.removeprefix(name)) > len(wrong) + 10, "and says why"


@pytest.mark.parametrize(
    "setting", [setting for setting in SETTINGS if setting.kind.numeric], ids=lambda item: item.name
)
def test_numbers_of_the_file_may_be_written_as_numbers(sources: Sources, setting: Setting) -> None:
    """1024 lies within every range but a few, and is a number of bytes, seconds or pieces."""
    try:
        setting.check(1024)
    except SettingError:
        sources.write(f"{setting.toml_key} = 1024")
        assert "'1024' must be between " in sources.error()
        return
    sources.write(f"{setting.toml_key} = 1024\n" + ("max_value = 1\nmax_key = 1\n" if "queue" in setting.name else ""))
    assert getattr(sources.parse(), setting.name) == 1024


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting.toml_key], ids=label)
@pytest.mark.parametrize("value", ["true", "[1]", "1979-05-27", "nan", "-inf"])
def test_values_of_the_file_that_are_of_no_use_anywhere(sources: Sources, setting: Setting, value: str) -> None:
    sources.write(f"{setting.toml_key} = {value}")
    message = sources.error()
    assert message.startswith(f"file {sources.file}, key {setting.toml_key}: ")
    assert re.search(r": must be (text|a number or text|text or a table|a table of NAME = URL)$|is not a ", message)


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting.optional], ids=label)
def test_empty_text_takes_an_optional_setting_back(sources: Sources, setting: Setting) -> None:
    if setting.kind.secret:
        sources.environ[setting.variable] = ""
        assert sources.error().startswith(f"environment variable {setting.variable}: the value must ")
        return
    sources.give("file", setting, SAMPLES[setting.name][0][0])
    sources.give("environment", setting, "")
    assert getattr(sources.parse(), setting.name) is None


def test_one_worker_per_core_is_asked_for_by_a_word_or_by_zero() -> None:
    for text in ("auto", "Auto", "0"):
        assert parse(["--workers", text], {"WIREPROTO_WORKERS": "3"})[0] == Settings()
    for text in ("-1", "1025"):
        assert refused(["--workers", text]) == f"flag --workers: '{text}' must be between 1 and 1024, or auto"
    with pytest.raises(SettingError, match="must be between 1 and 1024"):
        Settings(workers=True)


# --- The command line -------------------------------------------------------------------------------------------------


def test_secrets_are_the_only_settings_without_flag_and_toml_key() -> None:
    assert [setting.name for setting in SETTINGS if setting.flag is None] == ["api_key", "encryption_keys"]
    assert [setting.name for setting in SETTINGS if setting.toml_key is None] == ["api_key", "encryption_keys"]


def test_encryption_keys_are_in_one_place_and_never_shown() -> None:
    message = refused(["--keyring", "k"], {"WIREPROTO_ENCRYPTION_KEYS": f"a={KEY_TEXT}"})
    assert message == "flag --keyring: contradicts encryption_keys: all keys must be in one place"
    assert KEY_TEXT not in repr(parse([], {"WIREPROTO_ENCRYPTION_KEYS": f"a={KEY_TEXT}"})[0])
    for wrong in (KEY_TEXT, f"a={KEY_TEXT[1:]}", f"a={KEY_TEXT},a={KEY_TEXT}"):
        message = refused(environ={"WIREPROTO_ENCRYPTION_KEYS": wrong})
        assert message.startswith("environment variable WIREPROTO_ENCRYPTION_KEYS: the value ")
        assert KEY_TEXT[:16] not in message


def test_names_follow_from_the_field() -> None:
    setting = BY_NAME["max_node_queue_bytes"]
    assert (setting.flag, setting.variable, setting.toml_key) == (
        "--max-node-queue-bytes",
        "WIREPROTO_MAX_NODE_QUEUE_BYTES",
        "max_node_queue_bytes",
    )
    for names in zip(*((setting.flag, setting.variable, setting.name) for setting in SETTINGS), strict=True):
        there = [name for name in names if name is not None]
        assert len(set(there)) == len(there)


def test_node_may_be_given_many_times() -> None:
    settings, _ = parse(["--node", "a=redis://h:1", "--node=b=rediss://u@h:2/3;weight=2"], {})
    assert settings.nodes == (A, B)


WITH_PASSWORD = [
    f"a=redis://:{SECRET}@h",
    f"a=unix://u:{SECRET}@/socket",
    f"a=redis://h?password={SECRET}",
    f"a=redis://h;replica=rediss://u:{SECRET}@i",
    f"a=redis://h,b=redis://h?db=1&username=u&password={SECRET};weight=2",
    f"a=sentinel://u:{SECRET}@h1,h2/m",
    f"a=sentinels://h1,h2/m?password={SECRET}",
]


@pytest.mark.parametrize("nodes", WITH_PASSWORD)
def test_a_password_is_refused_on_a_command_line_alone(nodes: str) -> None:
    found = refused(["--node", nodes])
    assert found.startswith("flag --node: holds a password, ")
    assert "(WIREPROTO_NODES)" in found
    assert SECRET not in found
    assert parse([], {"WIREPROTO_NODES": nodes})[0].nodes


def test_a_user_is_no_secret() -> None:
    parse(["--node", "a=redis://u@h,b=sentinel://h,i/m;weight=1,c=unix:///s?db=5"], {})


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660])
def test_a_file_with_a_password_is_its_owners_alone(sources: Sources, mode: int) -> None:
    sources.write(f'host = "::1"\n[nodes]\na = "redis://:{SECRET}@h"\n')
    assert sources.parse().nodes
    sources.file.chmod(mode)
    found = sources.error()
    assert found == (
        f"file {sources.file}, key nodes: it holds a secret, and other users can use it (mode {mode:04o}); "
        f"run: chmod 600 {sources.file}"
    )
    sources.file.write_text('host = "::1"\n[nodes]\na = "redis://h"\n')
    assert sources.parse().nodes


def test_the_first_node_of_a_list_in_the_file_is_as_good_as_the_others(sources: Sources) -> None:
    sources.write("[nodes]\nc = ['redis://h:3', 'redis://h:4']\ne = ['redis://h:1']")
    assert sources.parse().nodes == (
        ShardAddress("c", "redis://h:3", 1.0, ("redis://h:4",)),
        ShardAddress("e", "redis://h:1"),
    )
    assert sources.parse().nodes[0].node_urls == ("redis://h:3", "redis://h:4")
    assert (D.node_urls, D.has_sentinels, A.has_sentinels) == ((), True, False)


@pytest.mark.parametrize("spaces", ["", " ", "\n  "])
def test_commas_between_sentinels_are_not_those_between_shards(spaces: str) -> None:
    text = f"x=sentinel://h1,h2,h3:1/m?password=p%2Cy%3B;weight=2,{spaces}y=redis://h,{spaces}z=sentinels://h1,h2/n"
    nodes = parse([], {"WIREPROTO_NODES": text})[0].nodes
    assert nodes == (
        ShardAddress("x", "sentinel://h1,h2,h3:1/m?password=p%2Cy%3B", 2.0),
        ShardAddress("y", "redis://h"),
        ShardAddress("z", "sentinels://h1,h2/n"),
    )


def test_how_many_sentinels_are_started_follows_from_the_replicas() -> None:
    assert Settings().sentinel_count == 0
    assert Settings(replicas=1).sentinel_count == 3
    assert Settings(replicas=1, sentinels=0).sentinel_count == 0
    assert Settings(replicas=1, sentinels=5).sentinel_count == 5
    for text in ("auto", "AUTO", ""):
        assert parse(["--sentinels", text], {"WIREPROTO_SENTINELS": "5"})[0] == Settings()
    assert BY_NAME["sentinels"].shown_default == "auto"


def test_numbers_of_namespaces_as_a_table_of_the_file(sources: Sources) -> None:
    sources.write("[namespace_sync]\nshop = 1\nlogs = 0")
    assert sources.parse().namespace_sync == (("shop", 1), ("logs", 0))
    sources.environ["WIREPROTO_NAMESPACE_SYNC"] = ""
    assert sources.parse().namespace_sync == ()


def test_settings_can_be_hashed() -> None:
    settings = Settings(nodes=(A, B, C, D), namespace_sync=(("shop", 1),))
    assert hash(settings) == hash(replace(settings))


def test_the_last_of_two_flags_counts() -> None:
    assert parse(["--port", "1", "--port=2"], {})[0].port == 2


def test_check() -> None:
    assert parse(["--check"], {}) == (Settings(), True)
    assert parse(["--port", "1", "--check"], {}) == (Settings(port=1), True)
    assert refused(["--check", "--port", "x"]) == "flag --port: 'x' is not a whole number"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"wireproto {__version__}\n"


@pytest.mark.parametrize("columns", ["60", "80", "300"])
def test_help_names_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {"WIREPROTO_API_KEY": SECRET, "WIREPROTO_NODES": f"a=redis://:{SECRET}@h"})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for setting in SETTINGS:
        assert setting.variable in words
        if setting.flag is not None:
            assert f"{setting.flag} {setting.kind.metavar} " in words
            assert f"{setting.meaning} [{setting.variable}] (default: {setting.shown_default})" in words
            assert setting.group + ":" in words
    for word in (
        "--check",
        "--config FILE",
        "WIREPROTO_CONFIG",
        "--version",
        "64KiB",
        "10ms",
        "redis://",
        "sentinel://",
        "[nodes]",
    ):
        assert word in words
    assert SECRET not in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prot", "1"], "command line: there is no flag --prot; did you mean --port?"),
        (["--max_value=1"], "command line: there is no flag --max_value; did you mean --max-value?"),
        (["--nodes", f"a=redis://:{SECRET}@h"], "command line: there is no flag --nodes; did you mean --node?"),
        ([f"--ndoe=a=redis://:{SECRET}@h"], "command line: there is no flag --ndoe; did you mean --node?"),
        (["--plain"], "command line: there is no flag --plain; did you mean --plain-port?"),
        (["--xyzzy"], "command line: there is no flag --xyzzy"),
        ([SECRET], "command line: a word belongs to no flag"),
        ([f"a=redis://:{SECRET}@h"], "command line: a word belongs to no flag"),
        ([""], "command line: a word belongs to no flag"),
        (["--port"], "command line: argument --port: expected one argument; --help lists the flags"),
        (
            ["--api-key", SECRET],
            "command line: --api-key: a secret is read from the environment only (WIREPROTO_API_KEY)",
        ),
        (
            [f"--api-key={SECRET}"],
            "command line: --api-key: a secret is read from the environment only (WIREPROTO_API_KEY)",
        ),
    ],
)
def test_command_lines_that_are_refused(argv: list[str], message: str) -> None:
    assert refused(argv) == message


def test_flags_are_not_abbreviated() -> None:
    """A new setting could else make two of what a script has abbreviated."""
    assert refused(["--max-conn", "1"]).startswith("command line: there is no flag --max-conn")


# --- The environment --------------------------------------------------------------------------------------------------


def test_the_rest_of_the_environment_means_nothing() -> None:
    environ = {"PORT": "1", "wireproto_port": "1", "PATH": "/bin", "WIREPROTO": "x", "XWIREPROTO_PORT": "1"}
    assert parse([], environ)[0] == Settings()


@pytest.mark.parametrize("name", ["URL", "CA", "TIMEOUT", "COMPILE"])
def test_variables_of_the_client_and_of_the_build_mean_nothing_here(name: str) -> None:
    assert parse([], {f"WIREPROTO_{name}": "x"})[0] == Settings()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("WIREPROTO_PROT", "there is no such setting; did you mean WIREPROTO_PORT?"),
        ("WIREPROTO_NODE", "there is no such setting; did you mean WIREPROTO_NODES?"),
        ("WIREPROTO_APIKEY", "there is no such setting; did you mean WIREPROTO_API_KEY?"),
        ("WIREPROTO_CONFG", "there is no such setting; did you mean WIREPROTO_CONFIG?"),
        ("WIREPROTO_PORT ", "there is no such setting; did you mean WIREPROTO_PORT?"),
        ("WIREPROTO_XYZZY_PLUGH", "there is no such setting"),
    ],
)
def test_variables_that_are_refused(name: str, message: str) -> None:
    assert refused(environ={name: SECRET}) == f"environment variable {name}: {message}"


# --- The file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_named_by_a_flag_or_by_the_environment(tmp_path: Path) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text("port = 1")
    other.write_text("port = 2")
    assert parse([], {"WIREPROTO_CONFIG": str(one)})[0].port == 1
    assert parse(["--config", str(other)], {"WIREPROTO_CONFIG": str(one)})[0].port == 2
    assert parse(["--config="], {"WIREPROTO_CONFIG": str(one)})[0] == Settings()
    assert parse([], {"WIREPROTO_CONFIG": ""})[0] == Settings()


def test_a_key_may_be_written_like_its_flag(sources: Sources) -> None:
    sources.write("max-value = '2MiB'")
    assert sources.parse().max_value == 2**21
    sources.write("max-value = 1\nmax_value = 1")
    assert sources.error() == f"file {sources.file}, key max_value: is given twice, with '-' and with '_'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", ", key prot: there is no such setting; did you mean port?"),
        ("[server]\nport = 1", ", key server: there is no such setting"),
        ("node = 'a=redis://h'", ", key node: there is no such setting; did you mean nodes?"),
        (f"api_key = '{SECRET}'", ", key api_key: a secret is read from the environment only (WIREPROTO_API_KEY)"),
        (f"api-key = '{SECRET}'", ", key api-key: a secret is read from the environment only (WIREPROTO_API_KEY)"),
        (f"apikey = '{SECRET}'", ", key apikey: there is no such setting"),
        ("port = true", ", key port: must be a number or text"),
        ("port = 1.0", ", key port: '1.0' is not a whole number"),
        ("port = -1", ", key port: '-1' must be between 0 and 65535"),
        ("port = 99999999999999999999", ", key port: '99999999999999999999' is not a whole number"),
        ("host = 1", ", key host: must be text"),
        ("host = {a = 1}", ", key host: must be text"),
        ("cert = 1", ", key cert: must be text"),
        ("node_memory = 256", ", key node_memory: must be text"),
        (f"nodes = 'a=redis://:{SECRET}@h'", ", key nodes: must be a table of NAME = URL"),
        (f"[nodes]\na = ['redis://:{SECRET}@h', 1]", ', key nodes: node a: must be "URL", ["URL", "URL"] or {url = '),
        ("[nodes]\na = []", ", key nodes: node a: must be "),
        ("[nodes]\na = [['redis://h']]", ", key nodes: node a: must be "),
        (f"[nodes]\na = {{url = 'redis://h', replicas = 'redis://:{SECRET}@h'}}", ", key nodes: node a: must be "),
        (f"[nodes]\na = ['redis://h', 'redis://:{SECRET}@']", ", key nodes: node a: the URL must look like redis://"),
        (f"[nodes]\na = 'sentinel://u:{SECRET}@h'", ", key nodes: node a: the URL must look like sentinel://"),
        (
            "[namespace_sync]\nshop = true",
            ", key namespace_sync: {'shop': True} has a number that is not between 0 and 8",
        ),
        (
            "[namespace_sync]\nshop = '1'",
            ", key namespace_sync: {'shop': '1'} has a number that is not between 0 and 8",
        ),
        ("[namespace_sync]\n'a b' = 1", ", key namespace_sync: {'a b': 1} has a namespace that is not 1-64 letters"),
        (f"[nodes]\na = {{uri = 'redis://:{SECRET}@h'}}", ", key nodes: node a: must be "),
        ("[nodes]\na = {weight = 2}", ", key nodes: node a: must be "),
        ("[nodes]\na = {url = 'redis://h', weight = true}", ", key nodes: node a: must be "),
        ("[nodes]\na = {url = 'redis://h', weight = '2'}", ", key nodes: node a: must be "),
        ("[nodes]\na = {url = 'redis://h', weight = nan}", ", key nodes: node a: the weight must be between"),
        ("[nodes]\n'a b' = 'redis://h'", ", key nodes: the name of a node must be 1-64 letters, digits"),
        (f"[nodes]\na = 'http://:{SECRET}@h'", ", key nodes: node a: the URL must look like redis://"),
    ],
)
def test_files_that_are_refused(sources: Sources, content: str, message: str) -> None:
    sources.write(content)
    found = sources.error()
    assert found.startswith(f"file {sources.file}{message}")
    assert SECRET not in found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"port = ", "is not TOML: "),
        (b"port 1", "is not TOML: "),
        (b"port = 1\nport = 2", "is not TOML: Cannot overwrite a value"),
        (b"[nodes]\n[nodes]", "is not TOML: Cannot declare ('nodes',) twice"),
        (b"host = '\xff'", "is not TOML: 'utf-8' codec can't decode byte 0xff"),
        (b"\xff\xfep\0o\0r\0t\0", "is not TOML: "),
        (b"host = 'a\0b'", "is not TOML: "),
        (b"port = " + b"9" * 5000, "is not TOML: Exceeds the limit"),
        (b"port = " + b"[" * 100_000, "is nested too deeply"),
        (b'{"port": 1}', "is not TOML: Invalid statement (at line 1, column 1)"),
    ],
)
def test_damaged_files(sources: Sources, content: bytes, reason: str) -> None:
    sources.write(content)
    assert sources.error().startswith(f"file {sources.file}: {reason}")


def test_damage_does_not_quote_a_secret(sources: Sources) -> None:
    for line in (f"a = redis://:{SECRET}@h", f'a = "redis://:{SECRET}@h', f"a = 'redis://:{SECRET}@h' x"):
        sources.write(f"[nodes]\n{line}\n")
        assert SECRET not in sources.error()


def test_files_that_are_not_there(sources: Sources, tmp_path: Path) -> None:
    assert refused(["--config", "no/such/file.toml"]) == "file no/such/file.toml: No such file or directory"
    assert refused(["--config", str(tmp_path)]) == f"file {tmp_path}: Is a directory"


def test_an_empty_file_will_do(sources: Sources) -> None:
    sources.write("")
    assert sources.parse() == Settings()


def test_a_mistake_in_a_worse_source_is_not_hidden_by_a_better_one(sources: Sources) -> None:
    sources.write("port = 99999")
    sources.argv = ["--port", "1"]
    assert sources.error() == f"file {sources.file}, key port: '99999' must be between 0 and 65535"


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("port", "", "is not a whole number"),
        ("port", " 1", "is not a whole number"),
        ("port", "+1", "is not a whole number"),
        ("port", "1_0", "is not a whole number"),
        ("port", "0x10", "is not a whole number"),
        ("port", "1e3", "is not a whole number"),
        ("port", "٣", "is not a whole number"),
        ("port", "-1", "must be between 0 and 65535"),
        ("port", "65536", "must be between 0 and 65535"),
        ("shards", "0", "must be between 1 and 1024"),
        ("max_value", "0", "must be between 1 and 64MiB"),
        ("max_value", "1MB", "is not a size such as 4096, 64KiB or 8MiB"),
        ("max_value", "1.5MiB", "is not a size such as 4096, 64KiB or 8MiB"),
        ("max_value", "65MiB", "must be between 1 and 64MiB"),
        ("max_value", "-1", "must be between 1 and 64MiB"),
        ("node_timeout", "0", "must be between 1ms and 1h"),
        ("node_timeout", "1us", "is not a duration such as 10ms, 5s, 10m or a number of seconds"),
        ("node_timeout", "nan", "is not a duration such as 10ms, 5s, 10m or a number of seconds"),
        ("node_timeout", "inf", "is not a duration such as 10ms, 5s, 10m or a number of seconds"),
        ("node_timeout", "1e3", "is not a duration such as 10ms, 5s, 10m or a number of seconds"),
        ("node_timeout", "2h", "must be between 1ms and 1h"),
        ("drain_timeout", "-1s", "must be between 0s and 1h"),
        ("token_lifetime", "0.5", "is not a whole number of seconds"),
        ("token_lifetime", "25h", "must be between 1s and 24h"),
        ("tls_minimum", "TLSv1.1", "must be one of TLSv1.3, TLSv1.2; did you mean TLSv1."),
        ("log_level", "warn", "must be one of debug, info, warning, error; did you mean warning?"),
        ("log_level", "INFO", "must be one of debug, info, warning, error"),
        ("eviction", "allkeys_lru", "; did you mean allkeys-lru?"),
        ("node_memory", "256 mb", "must be a size such as 256mb or 2gb"),
        ("node_memory", "0", "must be a size such as 256mb or 2gb"),
        ("node_memory", "1mib", "must be a size such as 256mb or 2gb"),
        ("namespace", "", "must be 1-64 letters, digits, '.', '_' and '-'"),
        ("namespace", "a:b", "must be 1-64 letters, digits, '.', '_' and '-'"),
        ("namespace", "a\n", "must be 1-64 letters, digits, '.', '_' and '-'"),
        ("host", "", "must be a host's name or an IP address"),
        ("host", "a b", "must be a host's name or an IP address"),
        ("host", "http://h/", "must be a host's name or an IP address"),
        ("state_folder", "", "must be a path"),
        ("sentinels", "10", "must be between 0 and 9, or auto"),
        ("sentinels", "yes", "is not a whole number"),
        ("reads", "slave", "must be one of master, replica"),
        ("max_replica_lag", "0.2", "must be between 300ms and 1h"),
        ("failover_grace", "2m", "must be between 0s and 1m"),
        ("sync", "9", "must be between 0 and 8"),
        ("namespace_sync", "shop", "does not look like shop=1,logs=0"),
        ("namespace_sync", "shop=", "does not look like shop=1,logs=0"),
        ("namespace_sync", "shop=1,", "does not look like shop=1,logs=0"),
        ("namespace_sync", "shop=-1", "does not look like shop=1,logs=0"),
        ("namespace_sync", "shop=9", "has a number that is not between 0 and 8"),
        ("namespace_sync", "=1", "has a namespace that is not 1-64 letters"),
        ("namespace_sync", "a=1,a=2", "names a namespace twice"),
    ],
)
def test_values_that_are_refused(name: str, text: str, reason: str) -> None:
    message = refused(environ={BY_NAME[name].variable: text})
    assert message.startswith(f"environment variable {BY_NAME[name].variable}: {text!r}"[:120])
    assert reason in message
    assert len(message) < 300


def test_a_long_value_is_cut_short() -> None:
    assert refused(["--port", "9" * 5000]) == f"flag --port: '{'9' * 79}... is not a whole number"


def test_what_contradicts_what() -> None:
    assert refused(["--cert", "c.pem"]) == "flag --cert: needs the setting key too"
    assert (
        refused(environ={"WIREPROTO_KEY": "k.pem"}) == "environment variable WIREPROTO_KEY: needs the setting cert too"
    )
    assert refused(["--plain-port", "7379"]) == "flag --plain-port: must differ from port"
    assert refused(["--max-node-queue-bytes", "1MiB"]).startswith("flag --max-node-queue-bytes: must have room for")
    assert refused(["--max-value", "64MiB"]).startswith("setting max_node_queue_bytes: must have room for")
    assert parse(["--port", "0", "--plain-port", "0"], {})[0].plain_port == 0
    assert refused(["--sentinels", "3"]).startswith("flag --sentinels: needs the setting replicas too")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_a_plain_port_on_loopback(host: str) -> None:
    assert parse(["--plain-port", "1", "--host", host], {})[0].plain_port == 1


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "cache.example.com", "localhost.example.com", "127.0.0.1.example.com", "127.1"],
)
def test_a_plain_port_anywhere_else_is_refused(sources: Sources, host: str) -> None:
    sources.write("plain_port = 7380")
    sources.argv = ["--host", host]
    assert sources.error() == (
        f"file {sources.file}, key plain_port: refused, because host '{host}' is not a loopback address"
        " and API keys would travel in the clear"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "cache.example.com", "localhost.example.com"])
def test_development_secrets_are_for_loopback(host: str) -> None:
    assert refused(["--host", host]) == (
        f"flag --host: '{host}' is not a loopback address, and the development certificate is for those alone;"
        " give cert and key, or for a lab development_secrets = anywhere"
    )
    own, _ = parse(["--host", host, "--cert", "c.pem", "--key", "k.pem"], {})
    assert not own.may_use_development_secrets
    assert parse(["--host", host, "--development-secrets", "anywhere"], {})[0].may_use_development_secrets


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_development_secrets_will_do_on_loopback(host: str) -> None:
    assert parse(["--host", host], {})[0].may_use_development_secrets


def test_the_authority_of_clients_and_its_use_belong_together() -> None:
    for choice in ("optional", "required"):
        assert refused(["--client-certificates", choice]) == (
            "flag --client-certificates: needs the setting client_ca too"
        )
    assert refused(["--client-ca", "ca.pem"]) == (
        "flag --client-ca: does nothing unless client_certificates is optional or required"
    )


@pytest.mark.parametrize(
    "name",
    ["shards", "replicas", "sentinels", "sentinel_down_after", "redis_server", "node_memory", "eviction"],
)
def test_nodes_to_start_contradict_nodes_that_run(sources: Sources, name: str) -> None:
    setting = BY_NAME[name]
    sources.write(toml(setting, SAMPLES[name][0][0]))
    sources.argv = ["--node", "a=redis://h"]
    assert sources.error() == (
        f"file {sources.file}, key {name}: is for nodes that are started here and contradicts flag --node"
    )
    sources.argv = []
    sources.environ["WIREPROTO_NODES"] = "a=redis://h"
    assert sources.error().endswith("and contradicts environment variable WIREPROTO_NODES")
    sources.environ.pop("WIREPROTO_NODES")
    assert getattr(sources.parse(), name) == SAMPLES[name][0][1]


# --- Settings made by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", True),
        ("port", "1"),
        ("port", 1.0),
        ("port", None),
        ("host", None),
        ("host", 1),
        ("node_timeout", float("nan")),
        ("node_timeout", False),
        ("state_folder", "text"),
        ("state_folder", Path("a\0b")),
        ("cert", ""),
        ("nodes", [A]),
        ("nodes", ("a=redis://h",)),
        ("sentinels", True),
        ("sentinels", 3),
        ("namespace_sync", {"shop": 1}),
        ("namespace_sync", (("shop", True),)),
        ("namespace_sync", ("shop",)),
        ("namespace_sync", (("shop", 1), ("shop", 1))),
        ("nodes", (A, A)),
        ("api_key", b"x" * 16),
        ("api_key", "short"),
        ("namespace", None),
        ("log_level", []),
    ],
)
def test_settings_made_by_hand_are_checked_too(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"^setting {name}: ") as caught:
        Settings(**{name: value})
    assert caught.value.name == name
    assert isinstance(caught.value, ConfigurationError)


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
    with pytest.raises(SettingError):
        replace(Settings(), port=-1)


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    settings, _ = parse(
        [], {"WIREPROTO_API_KEY": SECRET, "WIREPROTO_NODES": f"a=redis://u:{SECRET}@h:1;replica=redis://:{SECRET}@i:1"}
    )
    assert settings.api_key == SECRET
    assert all(SECRET in url for url in settings.nodes[0].node_urls)
    assert SECRET not in repr(settings) + str(settings) + repr(settings.nodes)
    assert "name='a'" in repr(settings)


@pytest.mark.parametrize("value", [f"{SECRET}.{SECRET}", f"{SECRET} ", SECRET * 50, SECRET[:15], f"{SECRET}é"])
def test_a_bad_api_key_is_not_quoted(value: str) -> None:
    message = refused(environ={"WIREPROTO_API_KEY": value})
    assert message.startswith("environment variable WIREPROTO_API_KEY: the value must ")
    assert SECRET[:8] not in message


def test_the_limits_agree_with_the_defaults_of_a_session() -> None:
    for item in fields(Limits):
        assert BY_NAME[item.name].default == item.default


# --- Nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h:6379/0",
        "rediss://:p%40ss%2Cword@10.0.0.1:6380/15",
        "redis://user:pa:ss@h:1",
        "redis://user:p@ss@h:1",
        "redis://user@h",
        "redis://[::1]:6379",
        "redis://h?db=3&username=u&password=p",
        "rediss://h?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false",
        "unix:///run/redis.sock",
        "unix://u:p@/run/redis.sock?db=1",
    ],
)
def test_urls_of_nodes(url: str) -> None:
    assert ShardAddress("a", url).url == url
    expected = parse_url(url)
    assert expected.get("path", "/run/redis.sock") == "/run/redis.sock"
    assert url.startswith("unix:") or expected["host"] in ("h", "10.0.0.1", "::1")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://h",
        "redis:/h",
        "REDIS://h",
        "redis://",
        "redis://:p@",
        "redis://h:port",
        "redis://h:123456",
        "redis://h/x",
        "redis://h/0/1",
        "redis://h ",
        "redis://h\n",
        "redis://u:12#word@h:1",
        "redis://u:12?word@h:1",
        "redis://u:12/word@h:1",
        "redis://u:pa[ss@h:1",
        "redis://u:pässword@h:1",
        "redis://\uff48",
        "redis://h?timeout=5",
        "redis://h?db=x",
        "redis://h?db",
        "redis://h?",
        "redis://h?ssl_ca_cert=x",
        "redis://h#x",
        "redis://h1,h2",
        "unix://",
        "unix://relative/path",
        "unix://u:p@",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ShardAddress("a", url)
    assert str(caught.value).startswith("node a: the URL must look like redis://")


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
@pytest.mark.parametrize("text", ["a=redis://h:{}", "a=redis://h;replica=redis://i:{}", "a=sentinel://h,i:{}/m"])
def test_ports_that_are_refused(text: str, port: str) -> None:
    assert refused(["--node", text.format(port)]) == "flag --node: node a: the port must be between 1 and 65535"


LIKE = "the value must look like NAME=URL, with ;replica=URL for each further node"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", LIKE),
        ("a", LIKE),
        ("a=", LIKE),
        ("a=redis://h,", LIKE),
        (f"redis://:{SECRET}@h", LIKE),
        (f"redis://:{SECRET}=@h", "the name of a node must be 1-64 letters, digits, '.', '_' and '-'"),
        ("=redis://h", "the name of a node must be 1-64 letters, digits, '.', '_' and '-'"),
        ("a=redis://h;weight=", LIKE),
        ("a=redis://h;wight=2", LIKE),
        (f"a=redis://:{SECRET};x@h", LIKE),
        (f"a=redis://:{SECRET},x@h", LIKE),
        ("a=redis://h;weight=-1", LIKE),
        ("a=redis://h;weight=1;weight=1", LIKE),
        ("a=redis://h;replica=", LIKE),
        ("a=redis://h;replicas=redis://i", LIKE),
        ("a=redis://h;replica=redis://i,j", LIKE),
        ("a=;replica=redis://i", LIKE),
        ("a=redis://h;", LIKE),
        ("a=redis://h;replica=http://i", "node a: the URL must look like redis://"),
        ("a=redis://h;replica=sentinel://i/m", "node a: the URL must look like redis://"),
        ("a=redis://h;replica=redis://i;replica=redis://i", "node a: the same URL is given twice"),
        ("a=sentinel://h/m;replica=redis://i", "node a: Sentinels know the replicas"),
        (f"a=sentinel://:{SECRET},x@h/m", "node a: the URL must look like sentinel://"),
        ("a=sentinel://h,i", "node a: the URL must look like sentinel://"),
        ("a=redis://h;weight=0", "node a: the weight must be between 0.01 and 1000"),
        ("a=redis://h;weight=1000.5", "node a: the weight must be between 0.01 and 1000"),
        ("a=redis://h,a=redis://i", "the value must not name a node twice: a"),
        ("a=sentinel://h,i/m,b=sentinel://j,h:26379/m", "the value must not give two shards the same master: a, b"),
    ],
)
def test_nodes_that_are_refused(text: str, reason: str) -> None:
    for source, message in (
        ("environment variable WIREPROTO_NODES", refused(environ={"WIREPROTO_NODES": text})),
        ("flag --node", refused(["--node", text])),
    ):
        # A comma in the first of two parts leaves the URL cut short, which is found first.
        assert message.startswith(f"{source}: {reason}") or ("," in text and "the URL must look like" in message)
        assert SECRET not in message


TEXTS = st.text(min_size=1, max_size=30)


@hypothesis_settings(max_examples=50)
@given(TEXTS, TEXTS, st.integers(1, 65535), st.integers(0, 99999), st.booleans())
def test_redis_py_reads_a_url_as_it_was_meant(user: str, password: str, port: int, database: int, tls: bool) -> None:
    scheme = "rediss" if tls else "redis"
    url = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@node-1.example.com:{port}/{database}"
    settings, _ = parse([], {"WIREPROTO_NODES": f"a={url}"})
    endpoint = NodeEndpoint.from_url(settings.nodes[0].url)
    assert (endpoint.host, endpoint.port, endpoint.database) == ("node-1.example.com", port, database)
    assert (endpoint.username, endpoint.password) == (user, password)
    assert (endpoint.tls is not None) == tls


@given(st.text(max_size=20))
def test_no_password_changes_where_a_node_is(password: str) -> None:
    """A password with characters that should have been escaped is refused, or does no harm."""
    try:
        node = ShardAddress("a", f"redis://user:12{password}@node-1:7000/3")
    except ConfigurationError:
        return
    parts = parse_url(node.url)
    assert (parts["host"], parts["port"], parts["db"]) == ("node-1", 7000, 3)


# --- The documentation's table ----------------------------------------------------------------------------------------


def test_the_table_agrees_with_the_declaration() -> None:
    lines = settings_table().splitlines()
    assert all(re.fullmatch(r"\|( [^|]+ \|){5}", line.replace("| |", "| - |")) for line in lines if "---" not in line)
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[3:]]
    assert len(rows) == len(SETTINGS)
    for setting, (flag, variable, key, default, meaning) in zip(SETTINGS, rows, strict=True):
        assert flag == (f"{setting.flag} {setting.kind.metavar}" if setting.flag else "(never on a command line)")
        assert variable == setting.variable
        assert key == (setting.toml_key or "(never in a file)")
        assert meaning == setting.meaning
        assert default == setting.shown_default
    assert "WIREPROTO_CONFIG" in lines[2]


@pytest.mark.parametrize(
    "setting",
    [setting for setting in SETTINGS if setting.default not in (None, ())],
    ids=label,
)
def test_a_shown_default_can_be_typed(setting: Setting) -> None:
    settings, _ = parse([], {setting.variable: setting.shown_default})
    assert getattr(settings, setting.name) == setting.default
