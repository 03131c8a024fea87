"""The files of a server: whose they are, and who else can use them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wireproto.admin.checks.findings import Case, Finding, ok, problem, warning
from wireproto.private_files import sharing_problem, sharing_remedy


def config_file(case: Case) -> list[Finding]:
    """The file of settings. That it keeps the passwords in it to itself is looked at when it is read."""
    if case.config is None:
        return []
    subject = f"file of settings {case.config}"
    status = case.config.stat()
    if status.st_mode & 0o022:
        remedy = f"run: chmod go-w {case.config}"
        return [problem(subject, f"other users can change it (mode {stat.S_IMODE(status.st_mode):04o})", remedy)]
    if status.st_uid not in (0, os.geteuid()):
        return [warning(subject, "it belongs to another user, who can change it", "let it be root's or the server's")]
    return [ok(subject, f"mode {stat.S_IMODE(status.st_mode):04o}")]


def state_folder(case: Case) -> list[Finding]:
    """The state folder and all that is in it."""
    folder = case.settings.state_folder
    subject = f"state folder {folder}"
    try:
        status = folder.stat()
    except FileNotFoundError:
        return [ok(subject, "not there yet; the first start makes it")]
    if not stat.S_ISDIR(status.st_mode):
        return [problem(subject, "it is not a folder", "remove it, or name another in state_folder")]
    # Root may look after the folder of a server that runs as somebody else.
    owner = status.st_uid if os.geteuid() == 0 else os.geteuid()
    found = _private(subject, folder, status, owner, "700")
    for path in sorted(folder.iterdir()):
        found += _state_file(path, owner)
    return found or [ok(subject, "the folder and its files are the server's alone")]


def _state_file(path: Path, owner: int) -> list[Finding]:
    subject = f"state file {path}"
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return [problem(subject, "it is a link; what it leads to may be anybody's", "put the file itself in its place")]
    if not stat.S_ISREG(status.st_mode):
        return [warning(subject, "it is not a file, and does not belong here", "remove it")]
    if path.name.startswith(".") and path.name.endswith(".new"):
        return [
            warning(subject, "a write was cut short by a crash; nothing is lost", "it is removed by the next write")
        ]
    found = _private(subject, path, status, owner, "600")
    if status.st_nlink > 1:
        text = "it has another name elsewhere (a hard link)"
        found.append(warning(subject, text, f"find it: find / -xdev -samefile {path}"))
    return found


def _private(subject: str, path: Path, status: os.stat_result, owner: int, mode: str) -> list[Finding]:
    if status.st_uid != owner:
        return [problem(subject, "it belongs to another user", f"run: chown {owner} {path}")]
    if status.st_mode & 0o077:
        text = f"other users can use it (mode {stat.S_IMODE(status.st_mode):04o})"
        return [problem(subject, text, f"run: chmod {mode} {path}")]
    return []


def keyring(case: Case) -> list[Finding]:
    """The file of the keys that encrypt values, where it does not lie in the state folder."""
    path = getattr(case.settings, "keyring", None)
    if path is None:
        return []
    subject = f"keyring {path}"
    try:
        status = path.stat()
    except FileNotFoundError:
        return [problem(subject, "it is not there", "restore it: without it no stored value can be read")]
    reason = sharing_problem(status)
    if reason is not None:
        return [problem(subject, reason, sharing_remedy(path, status))]
    return [ok(subject, "nobody else can read it")]


def audit_log(case: Case) -> list[Finding]:
    """The audit log, and whether it could be written."""
    path = case.settings.audit_log
    if path is None:
        return []
    subject = f"audit log {path}"
    if not path.parent.is_dir():
        return [problem(subject, f"there is no folder {path.parent}", f"run: mkdir -p {path.parent}")]
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return [problem(subject, "it cannot be written by this user", f"run: chown {os.geteuid()} {path.parent}")]
    if path.exists() and path.stat().st_mode & 0o077:
        return [warning(subject, "other users can read who logs in from where", f"run: chmod 600 {path}")]
    return [ok(subject, "it can be written")]
