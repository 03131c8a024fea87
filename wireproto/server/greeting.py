"""What a person wants to know after the start, with lines to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from wireproto import __version__
from wireproto.core.build import BUILD
from wireproto.core.keyring import Keyring
from wireproto.server.certificates import CertificateFiles
from wireproto.server.router import Shard
from wireproto.server.serving import ListeningSockets
from wireproto.server.state_folder import State
from wireproto.settings import Settings


def greeting(
    settings: Settings,
    *,
    state: State,
    files: CertificateFiles,
    sockets: ListeningSockets,
    shards: Sequence[Shard],
    down: Sequence[str],
    workers: Sequence[int],
    keyring: Keyring,
) -> list[str]:
    """The lines. `down` names the nodes that cannot be reached, `workers` the processes, if this one does not serve."""
    host, port = sockets.tls.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    lines = [f"wireproto {__version__} ({BUILD})", f"listening on {shown_host}:{port} (TLS)"]
    if sockets.plain is not None:
        lines.append(f"listening on {shown_host}:{sockets.plain.getsockname()[1]} (plain TCP, for nc)")
    if workers:
        lines.append(f"workers: {len(workers)} (processes {' '.join(map(str, workers))})")
    lines.append(f"nodes: {' '.join(sorted(shard.name for shard in shards))} ({_kind_of_nodes(settings)})")
    if down:
        lines.append(f"nodes that cannot be reached: {' '.join(down)}")
    lines.append(f"values: {_how_values_are_stored(keyring)}")
    if files.ca is not None:
        lines.append(f"certificate authority for clients: {files.ca}")
    api_key = "your-api-key"
    if state.new_api_key is not None:
        api_key = state.new_api_key
        lines.append(f"API key, shown this once: {api_key}")
    elif settings.api_key is not None:
        lines.append("API key: the one in WIREPROTO_API_KEY")
    elif not state.records:
        lines.append("API key: there is none; make one with: wireproto keys create CLIENT")
    else:
        lines.append(f"API key: shown at the first start; its hash is in {settings.state_folder}")
    target = "localhost" if host in ("127.0.0.1", "::1") else shown_host
    authority = "" if files.ca is None else shlex.quote(str(files.ca))
    return [*lines, *_to_paste(f"{target}:{port}", authority, api_key)]


def _kind_of_nodes(settings: Settings) -> str:
    if settings.nodes:
        return "named"
    kind = f"started here, {settings.node_memory} each"
    if not settings.replicas:
        return kind
    return f"{kind}, with {settings.replicas} replicas for each shard and {settings.sentinel_count} Sentinels"


def _how_values_are_stored(keyring: Keyring) -> str:
    """A server whose keyring is gone must not look like one that encrypts."""
    sealing = [key for key in keyring.keys if key.use == "seal"]
    if not sealing:
        return "stored as they are; to encrypt them: wireproto keyring add"
    if any(key.namespace is None for key in sealing):
        return "encrypted" + (f", but not those of {', '.join(keyring.plain)}" if keyring.plain else "")
    return f"encrypted in {', '.join(sorted({key.namespace or '' for key in sealing}))}"


def _to_paste(target: str, authority: str, api_key: str) -> list[str]:
    """`authority` is a file's path as a shell takes it, or empty."""
    lines = [
        "to try it, paste:",
        f"  openssl s_client -quiet -connect {target}" + (authority and f" -CAfile {authority}"),
        f'  auth "{api_key}"',
        '  write "my_key" "my_value" ex=60',
        '  read "my_key"',
        "  quit",
        "for the clients, paste in a shell:",
        f"  export WIREPROTO_URL={shlex.quote(f'wireproto://{api_key}@{target}')}",
    ]
    return [*lines, f"  export WIREPROTO_CA={authority}"] if authority else lines
