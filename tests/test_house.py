"""The house's one law: imports go down, and `core` touches no socket, clock or dice. And the error table is whole."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import wireproto
from wireproto import errors

PACKAGE = Path(wireproto.__file__).parent
FORBIDDEN_IN_CORE = {"asyncio", "socket", "ssl", "time", "os", "random", "secrets", "logging", "threading"}
BELOW_CLIENTS = ("wireproto.core", "wireproto.errors")
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules that a file imports, with `wireproto.x.y` written out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    names = imports(path)
    ours = {name for name in names if name.startswith("wireproto.")}
    if room == "core":
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN_IN_CORE
        assert all(name.startswith(BELOW_CLIENTS) for name in ours)
    if room == "server":
        assert not any(name.startswith("wireproto.client") for name in ours)
    if room == "client":
        assert not any(name.startswith(("wireproto.server", "wireproto.recipes")) for name in ours)
    if room == "recipes":
        assert not any(name.startswith("wireproto.server") for name in ours)
    if room == "adapters":
        assert all(name.startswith(("wireproto.adapters", "wireproto.client", *BELOW_CLIENTS)) for name in ours)
    else:
        assert not any(name.startswith("wireproto.adapters") for name in ours)


def test_core_has_no_circles() -> None:
    graph = {
        f"wireproto.core.{path.stem}": {name for name in imports(path) if name.startswith("wireproto.core.")}
        for path in (PACKAGE / "core").glob("*.py")
    }

    def below(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a circle: {' -> '.join((*above, module))}"
        for name in graph.get(module, set()):
            below(name, (*above, module))

    for module in graph:
        below(module, ())


def test_the_reading_order_of_core_names_every_module() -> None:
    import wireproto.core

    listed = {line.split()[0] for line in (wireproto.core.__doc__ or "").splitlines() if line.startswith("    ")}
    assert listed == {path.stem for path in (PACKAGE / "core").glob("*.py")} - {"__init__"}


def test_every_error_has_its_own_code_and_stands_in_the_tree_above() -> None:
    assert len(errors.BY_CODE) == len(errors.ERROR_CLASSES)
    for code, error_class in errors.BY_CODE.items():
        assert error_class.code == code
        assert f"{error_class.__name__} " in (errors.__doc__ or "")
        assert error_class.__doc__
    assert not [cls for cls in errors.ERROR_CLASSES if cls.took_effect is errors.Effect.MAYBE and cls.retryable]


def test_the_public_names_exist() -> None:
    for name in wireproto.__all__:
        assert getattr(wireproto, name) is not None
