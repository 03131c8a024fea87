"""A server that runs: `WIREPROTO_URL` in the environment says where, `WIREPROTO_API_KEY` as whom."""

from __future__ import annotations

from typing import Final

from wireproto import __version__
from wireproto.admin.checks.findings import Case, Finding, ok, problem, warning
from wireproto.client.options import ClientOptions, OptionArguments
from wireproto.client.sync import Client
from wireproto.errors import AuthError, DeniedError, WireprotoError
from wireproto.settings.kinds import is_loopback

PATIENCE: Final = 5.0
"""Seconds for each question."""


def running_server(case: Case) -> list[Finding]:
    """Whether it can be reached, is who it says, lets this key in, and is of this version."""
    url = case.environment.get("WIREPROTO_URL")
    if not url:
        return []
    arguments = _arguments(case, url)
    options = ClientOptions.from_sources(url, arguments, case.environment)
    subject = f"server {options.address}"
    arguments["api_key"] = options.api_key
    found = []
    if not options.tls and not is_loopback(options.host):
        text = "keys and values travel in the clear"
        found.append(problem(subject, text, "use wireproto:// and not wireproto+plain://"))
    try:
        with Client(url, **arguments) as client:
            took = client.ping(timeout=PATIENCE)
            way = "its certificate is verified" if options.tls else "without TLS"
            found.append(ok(subject, f"it answers, {way}"))
            if took > 1:
                found.append(warning(subject, f"it took {took:.1f} s to answer", "look at STATS and the network"))
            found += _version(subject, client.stats(timeout=PATIENCE))
    except DeniedError:
        found.append(warning(subject, "this API key may not ask for STATS", "use one that is allowed stats"))
    except AuthError as error:
        remedy = "set WIREPROTO_API_KEY" if options.api_key is None else "use an API key that is known to it"
        found.append(problem(subject, f"no login: {error}", remedy))
    except WireprotoError as error:
        found.append(problem(subject, str(error), "start it, or correct WIREPROTO_URL and WIREPROTO_CA"))
    return found


def _arguments(case: Case, url: str) -> OptionArguments:
    """The authority of the development certificates is trusted where the server would show one of them."""
    authority = case.settings.certs_folder / "ca.pem"
    is_named = case.environment.get("WIREPROTO_CA") or "ca=" in url.partition("?")[2]
    if is_named or case.settings.cert is not None or not authority.is_file():
        return {}
    return {"ca": authority}


def _version(subject: str, stats: dict[str, object]) -> list[Finding]:
    version = str(stats.get("version", "unknown"))
    if version != __version__:
        text = f"it is version {version}, and this is {__version__}"
        return [warning(subject, text, "restart it, or use the doctor of its version")]
    return [ok(subject, f"version {version}, {stats.get('build')}, up {stats.get('uptime_s')} s")]
