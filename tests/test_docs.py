"""The documentation is true today: tables come from the declarations, links lead somewhere, codes are all there."""

from __future__ import annotations

import re
from pathlib import Path

import mmh3
import pytest

from wireproto.core.ring import HashRing, hashed_part, place
from wireproto.core.verbs import SPECS
from wireproto.errors import BY_CODE, Effect
from wireproto.settings import settings_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "PROTOCOL.md").read_text()
FOLDERS = [ROOT, ROOT / "certs", ROOT / "bench" / "kept", ROOT / "examples"]
PAGES = [*(folder / "README.md" for folder in FOLDERS), *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_lists_the_settings_as_they_are_declared() -> None:
    assert settings_table().strip() in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", page.read_text())


def test_the_protocol_page_has_every_code_with_its_effect() -> None:
    rows = {
        found[1]: found[2] for found in re.finditer(r"^\| `([A-Z]+)` \| [^|]+ \| ([^|]+) \|", PROTOCOL, re.MULTILINE)
    }
    assert rows.keys() >= BY_CODE.keys()
    for code, error in BY_CODE.items():
        effect = rows[code].strip(" *")
        assert effect == {Effect.NO: "no", Effect.YES: "yes", Effect.MAYBE: "maybe"}[error.took_effect], code


def test_the_protocol_page_has_every_verb_and_option() -> None:
    section = PROTOCOL.partition("## 3.")[2].partition("## 4.")[0]
    for spec in SPECS:
        assert f"`{spec.verb.name}" in section
        assert all(re.search(rf"\b{option}\b", section) for option in spec.options)


def test_the_golden_vectors_of_the_protocol_page() -> None:
    columns_of_a_seed = r"\| `(0x\w+)` \| (\d+) \| `([\w-]+)` "
    rows = re.findall(rf"^\| (?:`([^`]+)`|bytes `([0-9a-f ]+)`) {columns_of_a_seed * 2}", PROTOCOL, re.MULTILINE)
    assert len(rows) == 7
    rings = {seed: HashRing(["shard-1", "shard-2", "shard-3", "shard-4"], seed=seed) for seed in (0, 7)}
    for text, octets, *columns in rows:
        key = text.encode() if text else bytes.fromhex(octets)
        for seed, (digest, spot, owner) in zip((0, 7), (columns[:3], columns[3:]), strict=True):
            assert mmh3.hash(hashed_part(key), seed, signed=False) == int(digest, 16)
            assert place(key, seed) == int(spot)
            assert rings[seed].owner(key) == owner
