"""The watch over secrets: what is new is taken, what is damaged is refused once, and nothing is done twice."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server import secrets_watch
from wireproto.server.secrets_watch import SecretsWatch, WatchedSecret


class Watched:
    """A word in a file, watched."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "secret"
        self.path.write_text("first")
        self.taken: list[str] = []
        self.loads = 0
        self.hangup = asyncio.Event()

    def load(self) -> str:
        self.loads += 1
        word = self.path.read_text()
        if word == "damaged":
            raise ConfigurationError(f"file {self.path}: damaged")
        return word

    def secret(self) -> WatchedSecret[str]:
        return WatchedSecret("the words", (self.path,), self.load, self.taken.append, "first")

    def replace(self, word: str) -> None:
        """As careful programs do it."""
        new = self.path.with_suffix(".new")
        new.write_text(word)
        new.replace(self.path)


@pytest.fixture
def watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.INFO)
    return Watched(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets_watch, "LOOK_INTERVAL", 0.01)


@asynccontextmanager
async def watching(*all_watched: Watched) -> AsyncIterator[None]:
    watch = SecretsWatch([watched.secret() for watched in all_watched], all_watched[0].hangup)
    running = asyncio.create_task(watch.run())
    try:
        await eventually(lambda: all(watched.loads for watched in all_watched))
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.005)


async def some_looks() -> None:
    await asyncio.sleep(0.1)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def changes(caplog: pytest.LogCaptureFixture) -> int:
    return caplog.text.count("the words have changed; the new ones are in force")


@pytest.mark.usefixtures("quick")
async def test_what_is_new_is_taken_however_it_is_written(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(watched):
        assert watched.taken == []
        watched.replace("second")
        await eventually(lambda: watched.taken == ["second"])
        with watched.path.open("r+") as file:  # the same file, size and inode
            file.write("sec0nd")
        await eventually(lambda: watched.taken == ["second", "sec0nd"])
        os.utime(watched.path, ns=(1, 1))
        watched.replace("third")
        os.utime(watched.path, ns=(1, 1))  # as `cp --preserve` does it
        await eventually(lambda: watched.taken[-1] == "third")
    assert changes(caplog) == 3
    assert not errors(caplog)


@pytest.mark.usefixtures("quick")
async def test_what_is_as_it_was_is_not_even_read(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(watched):
        await some_looks()
        assert watched.loads == 1
        os.utime(watched.path)
        await eventually(lambda: watched.loads == 2)
        await some_looks()
    assert watched.loads == 2
    assert watched.taken == []
    assert not caplog.records


async def test_what_changed_before_the_watch_began_is_found(watched: Watched) -> None:
    watched.replace("second")
    async with watching(watched):
        await eventually(lambda: watched.taken == ["second"])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", ["damaged", None], ids=["damaged", "gone"])
async def test_what_is_damaged_is_told_once_and_changes_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture, damage: str | None
) -> None:
    async with watching(watched):
        if damage is None:
            watched.path.unlink()
        else:
            watched.replace(damage)
        await eventually(lambda: errors(caplog))
        await some_looks()
        (error,) = errors(caplog)
        assert error.startswith("the words stay as they are: ")
        assert str(watched.path) in error
        assert watched.taken == []
        watched.replace("second")
        await eventually(lambda: watched.taken == ["second"])
        if damage is not None:
            watched.replace(damage)
            await eventually(lambda: len(errors(caplog)) == 2)


@pytest.mark.usefixtures("quick")
async def test_what_is_put_back_is_in_order_again(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(watched):
        watched.replace("damaged")
        await eventually(lambda: errors(caplog))
        watched.replace("first")
        await eventually(lambda: "the words are in order again, and as they were" in caplog.text)
        await some_looks()
    assert watched.taken == []
    assert caplog.text.count("in order again") == 1


async def test_what_is_wrong_for_a_moment_is_not_told(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate is replaced, and then its key: a look in between finds two that are no pair."""
    kept = secrets_watch._Kept(watched.secret())
    await kept.look(asked=False)
    watched.replace("damaged")
    await kept.look(asked=False)
    watched.replace("second")
    await kept.look(asked=False)
    assert watched.taken == ["second"]
    assert not errors(caplog)


async def test_a_hangup_has_an_answer_at_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(watched):
        started = asyncio.get_running_loop().time()
        watched.replace("second")
        watched.hangup.set()
        await eventually(lambda: watched.taken == ["second"])
        watched.replace("damaged")
        for number in range(1, 3):  # whoever asks again hears it again
            watched.hangup.set()
            await eventually(lambda: len(errors(caplog)) == number)  # noqa: B023
        watched.replace("second")
        watched.hangup.set()
        await eventually(lambda: "in order again" in caplog.text)
        assert asyncio.get_running_loop().time() - started < secrets_watch.LOOK_INTERVAL
        loads = watched.loads
        watched.hangup.set()
        await eventually(lambda: watched.loads > loads)
    assert watched.taken == ["second"]
    assert caplog.text.count("SIGHUP: the files of the words have been looked at") >= 4


@pytest.mark.usefixtures("quick")
async def test_one_that_is_damaged_holds_up_no_other(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Watched(tmp_path / "other")
    async with watching(watched, other):
        watched.replace("damaged")
        await some_looks()
        other.replace("second")
        await eventually(lambda: other.taken == ["second"])


async def test_a_look_costs_next_to_nothing(tmp_path: Path) -> None:
    paths = tuple(tmp_path / str(number) for number in range(10))
    for path in paths:
        path.write_text("")
    started = asyncio.get_running_loop().time()
    for _ in range(100):
        secrets_watch._fingerprint(paths)
    took = (asyncio.get_running_loop().time() - started) / 100
    print(f"{took * 1e6:.0f} us for ten files")
    assert took < 0.01


@pytest.mark.usefixtures("quick")
async def test_what_cannot_be_put_in_force_changes_nothing_and_ends_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def take(word: str) -> None:
        if word == "too much":
            raise ConfigurationError("the words: too many")
        watched.taken.append(word)

    watch = SecretsWatch([WatchedSecret("the words", (watched.path,), watched.load, take, "first")], watched.hangup)
    running = asyncio.create_task(watch.run())
    try:
        watched.replace("too much")
        await eventually(lambda: errors(caplog))
        watched.replace("second")
        await eventually(lambda: watched.taken == ["second"])
        assert errors(caplog) == ["the words stay as they are: the words: too many"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
