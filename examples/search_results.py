"""Search results: expensive queries that are spelled in many ways, and many that find nothing.

Without: the text as it was typed is the key, and only what was found is kept. So `Red  Shoes` is searched for although
`red shoes` is kept, and a query that finds nothing is searched for each time.
With: `@cached` with a key of the normalised words, `missing_ttl` for what finds nothing, and a codec that compresses
large results (`pip install wireproto[zstd]` before Python 3.14).

    python -m examples.search_results --users 1000
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from examples.common import Report, numbers, own_prefix, start
from wireproto import Client, Codec, cached
from wireproto.errors import ConfigurationError

Results = list[dict[str, str]]
Cache = Client[Results]
THREADS = 8
COLOURS = ["red", "green", "blue", "black"]
THINGS = ["shoes", "boots", "hats"]
TYPOS = ["shose", "boost", "hast", "sheos", "btoos", "ahts"]


class Shop:
    """A database of articles. Its search looks at each of them, and is counted."""

    def __init__(self) -> None:
        self.searches = 0
        self._turn = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("create table article (name text, description text)")
        rows = (
            (f"{colour} {thing} {number}", f"{colour} {thing} for every day, made by hand, of good leather. " * 4)
            for colour, thing, number in itertools.product(COLOURS, THINGS, range(60))
        )
        self._database.executemany("insert into article values (?, ?)", rows)

    def search(self, query: str) -> Results | None:
        """The articles that have all of these words, or None."""
        words = normalised(query).split()
        condition = " and ".join(["name like ?"] * len(words))
        with self._turn:
            self.searches += 1
            found = self._database.execute(
                f"select name, description from article where {condition}", [f"%{word}%" for word in words]
            ).fetchall()
        return [{"name": name, "description": description} for name, description in found] or None


def normalised(query: str) -> str:
    """One text for all that mean the same: the words in lower case, in order."""
    return " ".join(sorted(query.lower().split()))


def typed_queries(count: int) -> list[str]:
    """What users type: two words of a few, of which some are not spelled right, in some order and in some case."""
    dice = random.Random(7)
    queries = []
    for _ in range(count):
        words = [dice.choice(COLOURS), dice.choice(THINGS if dice.random() < 0.6 else TYPOS)]
        dice.shuffle(words)
        queries.append(dice.choice([" ", "  "]).join(dice.choice([str.lower, str.title, str.upper])(w) for w in words))
    return queries


def search_without(cache: Cache, shop: Shop, prefix: str) -> Callable[[str], Results | None]:
    """The key is what was typed; what finds nothing is not kept."""

    def search(query: str) -> Results | None:
        results = cache.read(prefix + query)
        if results is None:
            results = shop.search(query)
            if results is not None:
                cache.write(prefix + query, results, ex=60)
        return results

    return search


def search_with(cache: Cache, shop: Shop, prefix: str) -> Callable[[str], Results | None]:
    """The same results, with less work."""

    @cached(cache, ttl=60, missing_ttl=20, key=lambda query: prefix + normalised(query))
    def search(query: str) -> Results | None:
        return shop.search(query)

    return search


def bytes_kept(keys: set[str]) -> int:
    """How much the cache holds under these keys."""
    with Client() as cache:
        return sum(len(value) for value in cache.read_many(keys).values() if isinstance(value, bytes))


def compressing() -> Codec[Results] | None:
    """A codec that compresses, or None where it is not installed."""
    try:
        return Codec.compressed(Codec.json())
    except ConfigurationError as error:
        print(f"(not compressed: {error})")
        return None


def main() -> int:
    """Run both, without and with. The exit code."""
    users = numbers(__doc__, users=1000).users
    prefix = own_prefix("search")
    queries = typed_queries(users)
    distinct = {normalised(query) for query in queries}
    without, with_it, codec = Shop(), Shop(), compressing()
    with (
        Client(codec=Codec.json()) as plain,
        Client(codec=codec or Codec.json()) as small,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        naive = list(threads.map(search_without(plain, without, prefix + "typed:"), queries))
        kept = list(threads.map(search_with(small, with_it, prefix + "words:"), queries))

    empty = sum(results is None for results in naive)
    report = Report(f"{users:,} searches for {len(distinct)} different things; {empty:,} of them find nothing")
    report.row("searches of the database", without.searches, with_it.searches)
    size = bytes_kept({prefix + "typed:" + query for query in queries})
    size_with = bytes_kept({prefix + "words:" + query for query in distinct})
    report.row("bytes kept in the cache", size, size_with)
    report.check(naive == kept, "with the cache everybody finds the same as without")
    report.check(
        with_it.searches == len(distinct),
        f"with the cache each of {len(distinct)} different things is searched for once, found or not",
    )
    if codec is not None and size:
        report.check(size_with < size / 10, "with one key for each thing, and compressed, less than a tenth is kept")
    return report.finish()


if __name__ == "__main__":
    start(main)
