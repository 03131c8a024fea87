"""Sessions: two tabs of one user save the same session, and nothing that was put into the cart is lost.

Without: both tabs load the session, one puts something into the cart, the other changes the language, and both save.
The last one wins: it has never seen the full cart.
With: `SessionStore.save` says that another has saved meanwhile; the tab loads again, makes its change anew, and saves.

A session ends some time after it was last used, not after it was made: every `load` makes it live on.

    python -m examples.sessions --users 1000
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from examples.common import Report, numbers, own_prefix, start
from wireproto import Client, Codec, SessionStore

Data = dict[str, Any]
Change = Callable[[Data], None]
THREADS = 8
"""What a web server has. They share one client."""
LIFETIME = 1.0
"""Seconds that the sessions of the second part live when they are not used."""


def fill_cart(data: Data) -> None:
    """What one tab changes."""
    data["cart"] = [*data["cart"], "two apples"]


def choose_language(data: Data) -> None:
    """What the other changes."""
    data["language"] = "eo"


def new_session() -> Data:
    """What a session is before the tabs change it."""
    return {"cart": [], "language": "en"}


def save_blindly(cache: Client[Data], key: str) -> Data | None:
    """Without. Both tabs have loaded the session before either saves it. What is kept in the end."""
    cache.write(key, new_session(), ex=60)
    first_tab, second_tab = cache.read(key), cache.read(key)
    assert first_tab is not None
    assert second_tab is not None
    fill_cart(first_tab)
    cache.write(key, first_tab, ex=60)
    choose_language(second_tab)
    cache.write(key, second_tab, ex=60)
    return cache.read(key)


def save_with_store(store: SessionStore[Data]) -> tuple[Data, int]:
    """With: the same two tabs. What is kept in the end, and how many saves were refused."""
    cookie = store.create(new_session())
    first_tab, second_tab = store.load(cookie), store.load(cookie)
    assert first_tab is not None
    assert second_tab is not None
    fill_cart(first_tab.data)
    refused = not store.save(first_tab)
    choose_language(second_tab.data)
    refusals = int(refused)
    while not store.save(second_tab):
        refusals += 1
        second_tab = store.load(cookie)
        assert second_tab is not None
        choose_language(second_tab.data)  # again, to what is there now
    kept = store.load(cookie)
    assert kept is not None
    return kept.data, refusals


def is_whole(data: Data | None) -> bool:
    """Whether it has what either tab has changed."""
    return data is not None and data["cart"] == ["two apples"] and data["language"] == "eo"


def rolling_expiry(store: SessionStore[Data]) -> tuple[bool, bool]:
    """For twice the lifetime one session is used and one is not. Whether they are there still."""
    used, idle = store.create(new_session()), store.create(new_session())
    ends = time.monotonic() + 2 * LIFETIME
    is_there = True
    while time.monotonic() < ends:
        is_there = is_there and store.load(used) is not None
        time.sleep(LIFETIME / 5)
    return is_there, store.load(idle) is not None


def main() -> int:
    """Run both, without and with. The exit code."""
    users = numbers(__doc__, users=1000).users
    prefix = own_prefix("session")
    report = Report(f"{users:,} users, each with two tabs that save the same session")
    with Client(codec=Codec.json()) as cache, ThreadPoolExecutor(THREADS) as threads:
        store = SessionStore(cache, ttl=60, prefix=prefix)
        blind = list(threads.map(lambda number: save_blindly(cache, f"{prefix}blind:{number}"), range(users)))
        careful = list(threads.map(lambda _number: save_with_store(store), range(users)))
        used_lives, idle_lives = rolling_expiry(SessionStore(cache, ttl=LIFETIME, prefix=prefix))

    lost = sum(not is_whole(data) for data in blind)
    lost_with = sum(not is_whole(data) for data, _refusals in careful)
    report.row("carts lost", lost, lost_with)
    report.row("saves that were told to look again", 0, sum(refusals for _data, refusals in careful))
    report.row(f"a session of {LIFETIME} s, used for {2 * LIFETIME} s", None, "lives" if used_lives else "gone")
    report.row("the same, not used", None, "lives" if idle_lives else "gone")
    report.check(
        lost_with == 0, "with SessionStore every session has the cart of one tab and the language of the other"
    )
    report.check(used_lives, "a session that is used lives on")
    report.check(not idle_lives, "a session that is not used ends")
    return report.finish()


if __name__ == "__main__":
    start(main)
