"""The compiled build, which is optional; all else about the package stands in setup.cfg.

The modules of the hot path are compiled by mypyc where a C compiler is at hand, and are Python where none is.
WIREPROTO_COMPILE=1 makes a build fail that cannot compile them, WIREPROTO_COMPILE=0 leaves it out. An editable install
is compiled only on demand, as what is compiled would hide what is edited.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HOT_PATH = (
    "client/blocking_connection.py",
    "core/admission.py",
    "core/answers.py",
    "core/bundle.py",
    "core/call_plan.py",
    "core/client_session.py",
    "core/commands.py",
    "core/confirmations.py",
    "core/dispatch.py",
    "core/envelope.py",
    "core/lease_reads.py",
    "core/limits.py",
    "core/login.py",
    "core/metrics.py",
    "core/node_pipeline.py",
    "core/node_replies.py",
    "core/opening.py",
    "core/queue_bound.py",
    "core/replica_reads.py",
    "core/replication_policy.py",
    "core/quota_gate.py",
    "core/quotas.py",
    "core/reply_lines.py",
    "core/reply_wire.py",
    "core/request_encoding.py",
    "core/request_wire.py",
    "core/server_session.py",
    "core/sealing.py",
    "core/session_context.py",
    "core/shard_lane.py",
    "core/stamps.py",
    "core/stored_values.py",
    "core/verbs.py",
    "core/waiting.py",
    "server/connection.py",
    "server/connection_hub.py",
    "server/tls_link.py",
)
CHOICE = os.environ.get("WIREPROTO_COMPILE", "")
FORCED = CHOICE == "1"


def is_wanted() -> bool:
    """Whether this call of setup.py is to compile."""
    if CHOICE not in ("", "0", "1"):
        raise SystemExit(f"WIREPROTO_COMPILE is 1 or 0, not {CHOICE!r}")
    if CHOICE == "0" or not {"bdist_wheel", "build", "build_ext", "editable_wheel", "install"} & set(sys.argv):
        return False
    return FORCED or ("editable_wheel" not in sys.argv and has_compiler())


def has_compiler() -> bool:
    """Whether the C compiler that extensions are built with can be found."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(shlex.split(command)[0]) is not None


def extensions() -> list[Extension]:
    """The hot path as C. Where that fails and is not demanded, none."""
    try:
        from mypyc.build import mypycify

        files = [f"wireproto/{name}" for name in HOT_PATH]
        options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
        # The one library that holds the code of all modules is named by the group.
        compiled: list[Any] = mypycify([*files, *options], opt_level="3", debug_level="0", group_name="wireproto")
        return compiled
    except (Exception, SystemExit) as error:
        if FORCED:
            raise
        print(f"not compiled: {error}", file=sys.stderr)
        return []


class BuildAllOrNothing(build_ext):
    """Half of the hot path in C could not be imported."""

    def run(self) -> None:
        """Compile; where that fails and is not demanded, leave nothing of it behind."""
        try:
            super().run()
        except Exception as error:
            if FORCED:
                raise
            print(f"not compiled: {error}", file=sys.stderr)
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []


setup(ext_modules=extensions() if is_wanted() else [], cmdclass={"build_ext": BuildAllOrNothing})
