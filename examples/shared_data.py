"""Data shared by microservices: two services change one record, and neither undoes what the other did.

Without versions, both read the record, both write it, and the later write undoes the earlier one. With them, `update`
and `compare_and_set` write only over what they have read; if it was changed meanwhile, they read again.

Then a slow filler: it has loaded a value from the database; the value is changed there, and the key removed from the
cache; and only now the filler writes what it has loaded. Without a lease the old value is back, for as long as it
lives. With a lease the DELETE has ended it, the write is a CONFLICT, and whoever comes next loads the new value.
(`get_or_load` does all this by itself.)

    python -m examples.shared_data --users 1000
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from examples.common import Report, numbers, own_prefix, start
from wireproto import Client, Codec

Record = dict[str, int]
Cache = Client[Record]
LIFETIME = 60
"""Seconds."""


def change_blindly(cache: Cache, key: str, field: str) -> None:
    """Without: whatever the other service has written since the read is lost."""
    record = cache.read(key) or {}
    record[field] = record.get(field, 0) + 1
    cache.write(key, record, ex=LIFETIME)


def change_with_update(cache: Cache, key: str, field: str) -> None:
    """With: the function is called again if another was faster."""

    def changed(record: Record | None) -> Record:
        record = record or {}
        return record | {field: record.get(field, 0) + 1}

    cache.update(key, changed, ex=LIFETIME)


def change_by_hand(cache: Cache, key: str, field: str) -> None:
    """With, too: the same in steps, for those who want to decide anew each time."""
    while True:
        found = cache.read(key, with_version=True)
        if found is None:
            is_done = cache.write(key, {field: 1}, nx=True, ex=LIFETIME)
        else:
            record = found.value | {field: found.value.get(field, 0) + 1}
            is_done = cache.compare_and_set(key, record, found.version, ex=LIFETIME) is not None
        if is_done:
            return


def run_services(key: str, users: int, orders: Callable[..., None], parcels: Callable[..., None]) -> Record:
    """Two services, each with its own client; each changes the record once for each user. What the record is then."""
    faults: list[Exception] = []

    def service(change: Callable[..., None], field: str) -> None:
        try:
            with Client(codec=Codec.json()) as cache:
                for _ in range(users):
                    change(cache, key, field)
        except Exception as fault:
            faults.append(fault)

    threads = [
        threading.Thread(target=service, args=(orders, "orders")),
        threading.Thread(target=service, args=(parcels, "parcels")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    with Client(codec=Codec.json()) as cache:
        return cache.read(key) or {}


def fill_without_lease(cache: Cache, key: str, database: Record) -> bool:
    """A slow filler, and a change between its two steps. Whether it has written."""
    assert cache.read(key) is None
    loaded = dict(database)
    change_price(cache, key, database)
    return cache.write(key, loaded, ex=LIFETIME)


def fill_with_lease(cache: Cache, key: str, database: Record) -> bool:
    """The same, but the filler has the lease of the key."""
    lease = cache.read_or_lease(key, lease=10).lease
    assert lease is not None  # nobody else wants the key
    loaded = dict(database)
    change_price(cache, key, database)
    return cache.write(key, loaded, ex=LIFETIME, lease=lease)


def change_price(cache: Cache, key: str, database: Record) -> None:
    """What another service does: first the database, then the cache."""
    database["price"] += 1
    cache.delete(key)


def main() -> int:
    """Run both, without and with. The exit code."""
    users = numbers(__doc__, users=1000).users
    prefix = own_prefix("shared")
    report = Report(f"Two services change one record, {users:,} times each")

    lost = 2 * users - sum(run_services(prefix + "blind", users, change_blindly, change_blindly).values())
    kept = run_services(prefix + "versions", users, change_with_update, change_by_hand)
    lost_with = 2 * users - sum(kept.values())
    report.row(f"changes lost, of {2 * users:,}", lost, lost_with)
    report.check(lost_with == 0, f"with versions no change is lost: orders {kept['orders']}, parcels {kept['parcels']}")

    with Client(codec=Codec.json()) as cache:
        database = {"price": 100}
        fill_without_lease(cache, prefix + "no-lease", database)
        found = cache.read(prefix + "no-lease")
        report.row("price in the database, changed during a slow fill", 101, 101)
        database = {"price": 100}
        is_written = fill_with_lease(cache, prefix + "lease", database)
        found_with = cache.get_or_load(prefix + "lease", lambda: dict(database), ttl=LIFETIME)
    report.row("price that the next reader gets", found and found["price"], found_with and found_with["price"])
    report.row("the late write of the old price", "stored", "stored" if is_written else "CONFLICT")
    report.check(not is_written, "with a lease the late write of the old price is a CONFLICT")
    report.check(found_with == database, "with a lease the next reader gets the new price")
    return report.finish()


if __name__ == "__main__":
    start(main)
