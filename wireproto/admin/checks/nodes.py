"""The shards whose nodes run already: every node, its replicas, and the Sentinels that watch them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final

from wireproto.admin.checks.findings import Case, Finding, ok, problem, warning
from wireproto.admin.checks.node_facts import NodeFacts, ask_node, open_client, why
from wireproto.errors import ConfigurationError
from wireproto.server.node_monitor import NO_ANSWER
from wireproto.server.sentinel_address import SentinelAddress
from wireproto.settings import ShardAddress
from wireproto.settings.kinds import is_loopback

SLOW_FAILOVER: Final = 10_000
"""Milliseconds of `down-after-milliseconds` above which a failover is not what people expect of one."""
FEWEST_SENTINELS: Final = 3
"""With two, both must live for a majority."""
BASIC: Final = frozenset({"PING", "GET", "SET", "UNLINK"})
"""Commands of a node without which not even plain values are served."""
MOST_NODES: Final = 20
"""Of a shard that Sentinels name: the others are taken to be like them."""


def shards(case: Case) -> list[Finding]:
    """All shards, one after the other."""
    return [finding for shard in case.settings.nodes for finding in check_shard(shard)]


def check_shard(shard: ShardAddress) -> list[Finding]:
    """One shard. A URL that cannot be used is a problem of its own."""
    try:
        if shard.has_sentinels:
            return _with_sentinels(shard.name, SentinelAddress.from_url(shard.url))
        facts = [ask_node(url) for url in shard.node_urls]
    except ConfigurationError as error:
        return [problem(f"shard {shard.name}", str(error), "name files that are there in the shard's URL")]
    return [finding for one in facts for finding in check_node(shard.name, one)] + _roles(shard.name, facts)


# -- a node


def check_node(shard: str, facts: NodeFacts) -> list[Finding]:
    """How it is reached, how much it keeps, whom it copies from."""
    subject = f"shard {shard}, node {facts.address}"
    found = _way(subject, facts)
    if facts.problem:
        return [*found, problem(subject, facts.problem, "start it, or correct its URL")]
    program = facts.info.get("server_name") or "redis"
    version = facts.info.get(f"{program}_version") or facts.info.get("redis_version", "unknown")
    found.append(ok(subject, f"{facts.role or 'no role told'}, {program} {version}"))
    return (
        found
        + _rights(subject, facts)
        + _memory(subject, facts.info)
        + _disk(subject, facts.info)
        + _copying(subject, facts.info)
    )


def _way(subject: str, facts: NodeFacts) -> list[Finding]:
    """Whether somebody between here and there can read or change what passes."""
    found = []
    tls = facts.endpoint.tls
    if tls is None and not facts.is_local:
        text = "keys, values and the password travel in the clear"
        found.append(warning(subject, text, "use rediss://, or a network that nobody else can reach"))
    if tls is not None and tls.verify_mode is not ssl.CERT_REQUIRED:
        text = "its certificate is not verified, so anybody can take its place"
        found.append(warning(subject, text, "leave out ssl_cert_reqs, and name its authority in ssl_ca_certs"))
    elif tls is not None and not tls.check_hostname:
        text = (
            "the name in its certificate is not verified: any other certificate of the authority will do in its place"
        )
        found.append(warning(subject, text, "leave out ssl_check_hostname"))
    if facts.endpoint.password is None and not facts.is_local:
        text = "whoever can reach it can read and write everything: there is no password"
        found.append(warning(subject, text, "give it a user or requirepass, and the password in its URL"))
    return found


def _rights(subject: str, facts: NodeFacts) -> list[Finding]:
    """Whether its user may do what a server does."""
    if facts.denies_keys:
        text = "its user may not read and write all keys of the namespace default"
        return [warning(subject, text, "permit those of each namespace in use: ACL SETUSER name ~default:*")]
    if not facts.denied:
        return []
    hint = "permit it to the user: ACL SETUSER name " + " ".join(f"+{command.lower()}" for command in facts.denied)
    text = f"its user may not give {', '.join(facts.denied)}"
    if BASIC & set(facts.denied):
        return [problem(subject, f"{text}: requests are answered DOWN", hint)]
    if facts.denied == ("ROLE",):
        return [warning(subject, f"{text}: that it is no master shows only when it refuses a write", hint)]
    return [warning(subject, f"{text}: versions, leases, conditions, INCR and TOUCH are answered DOWN", hint)]


def _memory(subject: str, info: dict[str, Any]) -> list[Finding]:
    limit, policy = info.get("maxmemory"), info.get("maxmemory_policy")
    if limit is None:
        return []
    if limit == 0:
        text = "it has no limit of memory, and grows until the system ends it"
        return [warning(subject, text, "set maxmemory, and maxmemory-policy allkeys-lfu")]
    if policy == "noeviction":
        text = "it evicts nothing: when it is full, writes are answered BUSY"
        return [warning(subject, text, "set maxmemory-policy allkeys-lfu")]
    return [
        ok(subject, f"maxmemory {limit / 2**20:.0f} MiB, {policy}, {info.get('used_memory', 0) / 2**20:.0f} in use")
    ]


def _disk(subject: str, info: dict[str, Any]) -> list[Finding]:
    found = []
    for field, what in (("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "write to its log (AOF)")):
        if info.get(field, "ok") != "ok":
            text = f"its last {what} has failed, and it may refuse writes for that"
            found.append(warning(subject, text, "look at its log and its disk"))
    if info.get("loading"):
        found.append(warning(subject, "it is loading its data, and answers nothing meanwhile", "wait"))
    if "aof_enabled" in info:
        kept = "values are kept on its disk too (AOF)" if info["aof_enabled"] else "it keeps no log of writes (AOF)"
        found.append(ok(subject, kept))
    return found


def _copying(subject: str, info: dict[str, Any]) -> list[Finding]:
    if info.get("role") == "slave":
        if info.get("master_link_status") != "up":
            text = f"it has lost its master {info.get('master_host')}:{info.get('master_port')}"
            return [problem(subject, text, "look at its log; masterauth must be the master's password")]
        return [ok(subject, f"a replica of {info.get('master_host')}:{info.get('master_port')}, connected")]
    found = []
    for number in range(int(info.get("connected_slaves", 0))):
        replica = info.get(f"slave{number}")
        if isinstance(replica, dict) and replica.get("state") != "online":
            text = f"its replica {replica.get('ip')}:{replica.get('port')} is not in step: {replica.get('state')}"
            found.append(warning(subject, text, "wait until it has copied everything"))
    return found


def _roles(shard: str, facts: Sequence[NodeFacts]) -> list[Finding]:
    """Whether the nodes of a list are one master and its replicas."""
    asked = [one for one in facts if not one.problem]
    masters = [one.address for one in asked if one.role == "master"]
    subject = f"shard {shard}"
    if asked and not masters:
        return [problem(subject, "none of its nodes is a master: it is answered DOWN", "promote one: REPLICAOF NO ONE")]
    if len(masters) > 1:
        text = f"several of its nodes are masters: {', '.join(masters)}"
        return [problem(subject, text, "make all but one a replica of it: REPLICAOF host port")]
    return []


# -- Sentinels


def _with_sentinels(shard: str, address: SentinelAddress) -> list[Finding]:
    found: list[Finding] = []
    nodes: dict[tuple[str, int], None] = {}
    for host, port in address.sentinels:
        more, named = _ask_sentinel(shard, address, host, port)
        found += more
        nodes.update(dict.fromkeys(named))
    for host, port in list(nodes)[:MOST_NODES]:
        found += check_node(shard, ask_node(address.node_url(host, port)))
    return found


def _ask_sentinel(
    shard: str, address: SentinelAddress, host: str, port: int
) -> tuple[list[Finding], list[tuple[str, int]]]:
    """What a Sentinel says of the shard, and the nodes that it names, the master first."""
    subject = f"shard {shard}, Sentinel {host}:{port}"
    found = []
    if not address.tls and not is_loopback(host):
        text = "whoever is on the way can name another node as the master"
        found.append(warning(subject, text, "use sentinels://, or a network that nobody else can reach"))
    if address.password is None and not is_loopback(host):
        text = "whoever can reach it can name another master: there is no password"
        found.append(warning(subject, text, "give it a requirepass, and the password before the @ of the URL"))
    client = open_client(address.sentinel_url(host, port))
    try:
        state = client.sentinel_masters().get(address.master_name)
        if state is None:
            text = f"it does not watch {address.master_name}"
            return [*found, problem(subject, text, "have it watch: SENTINEL MONITOR, or correct the name")], []
        found += check_sentinel(subject, state)
        replicas = client.sentinel_slaves(address.master_name)
        return found, [(str(one["ip"]), int(one["port"])) for one in (state, *replicas)]
    except NO_ANSWER as error:
        return [*found, problem(subject, why(error), "start it, or correct the URL")], []
    finally:
        client.close()


def check_sentinel(subject: str, state: dict[str, Any]) -> list[Finding]:
    """Whether what a Sentinel says of a master makes for a failover when one is needed."""
    sentinels, quorum = int(state["num-other-sentinels"]) + 1, int(state["quorum"])
    found = list(_majority(subject, sentinels, quorum))
    down_after = int(state["down-after-milliseconds"])
    if down_after > SLOW_FAILOVER:
        text = f"a master must be silent for {down_after / 1000:.0f} s before another takes over"
        found.append(warning(subject, text, "set down-after-milliseconds to 1000, or what your network allows"))
    if int(state["num-slaves"]) == 0:
        text = "the master has no replica: nobody can take over"
        found.append(warning(subject, text, "add a replica, or leave the Sentinels out"))
    flags = state["flags"]
    if {"s_down", "o_down"} & set(flags.split(",") if isinstance(flags, str) else flags):
        found.append(
            problem(subject, "it takes the master for down", "look at the master; if it lives, at the network")
        )
    text = f"{sentinels} Sentinels, quorum {quorum}, down after {down_after / 1000:g} s"
    return [ok(subject, text), *found]


def _majority(subject: str, sentinels: int, quorum: int) -> Iterable[Finding]:
    majority = sentinels // 2 + 1
    if quorum > sentinels:
        text = f"the quorum is {quorum}, and there are {sentinels} Sentinels: there is never a failover"
        yield problem(subject, text, f"set the quorum to {majority}: SENTINEL SET name quorum {majority}")
    elif quorum < majority:
        text = f"the quorum is {quorum} of {sentinels}: a minority that is cut off takes the master for down"
        yield warning(subject, text, f"set the quorum to {majority}: SENTINEL SET name quorum {majority}")
    if sentinels < FEWEST_SENTINELS:
        yield warning(subject, f"there are only {sentinels}: if one is lost there is no failover", "run three of them")
