"""Game state: players move on one board at the same time, and no move is overwritten.

Without: a player reads the board, takes a free field, and writes the board. Who moves meanwhile is undone.
With: `compare_and_set` writes the board only over the one that the player has seen; otherwise the player looks again.

The score of all moves is a counter: `incr` counts them all. And a turn is a lock, which is a lease that nobody fills:
`read_or_lease` gives it to one player; it ends by itself if the player goes away; and `give_back` ends no turn but the
player's own, so that one who was too slow does not end the turn of the next.

    python -m examples.game_state --users 1000
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from examples.common import Report, numbers, own_prefix, start
from wireproto import Client, Codec

PLAYERS = "ABCDEFGH"
ROUNDS = 25
FREE = "."
LIFETIME = 60
"""Seconds."""
Cache = Client[str]
Take = Callable[[Cache, str, str, float], str | None]
End = Callable[[Cache, str, str], bool]


def claimed(board: str, player: str) -> str:
    """The board with one more field of this player."""
    field = random.choice([place for place, owner in enumerate(board) if owner == FREE])
    return board[:field] + player + board[field + 1 :]


def move_blindly(cache: Cache, game: str, player: str) -> None:
    """Without: who has moved between the read and the write is undone, on the board and in the score."""
    board = cache.read(game + "board")
    assert board is not None
    cache.write(game + "board", claimed(board, player), ex=LIFETIME)
    score = cache.read(game + "score")
    cache.write(game + "score", str(int(score or 0) + 1), ex=LIFETIME)


def move(cache: Cache, game: str, player: str) -> None:
    """With: a move is made on the board that the player has seen, or not at all."""
    while True:
        seen = cache.read(game + "board", with_version=True)
        assert seen is not None
        if cache.compare_and_set(game + "board", claimed(seen.value, player), seen.version, ex=LIFETIME):
            break
    with cache.pipeline() as pipeline:
        pipeline.incr(game + "score", ex=LIFETIME)
        pipeline.incr(f"{game}score:{player}", ex=LIFETIME)


def play(cache: Cache, game: str, moves: int, make_move: Callable[[Cache, str, str], None]) -> tuple[str, int]:
    """All players move at the same time, so many times each. The board in the end, and the score."""
    cache.write(game + "board", FREE * (2 * moves * len(PLAYERS)), ex=LIFETIME)

    def player(name: str) -> None:
        for _ in range(moves):
            make_move(cache, game, name)

    with ThreadPoolExecutor(len(PLAYERS)) as threads:
        list(threads.map(player, PLAYERS))
    return cache.read(game + "board") or "", int(cache.read(game + "score") or 0)


def take_turn_blindly(cache: Cache, turn: str, player: str, seconds: float) -> str | None:
    """Without: all who look before the first has written get the turn."""
    if cache.read(turn) is not None:
        return None
    cache.write(turn, player, px=int(seconds * 1000))
    return player


def end_turn_blindly(cache: Cache, turn: str, _player: str) -> bool:
    """Without: whoever ends a turn ends it, be it another's. Whether there was one."""
    return cache.delete(turn)


def take_turn(cache: Cache, turn: str, _player: str, seconds: float) -> str | None:
    """With: one gets the turn: its lease, to end it with. None: another has it."""
    return cache.read_or_lease(turn, seconds).lease


def end_turn(cache: Cache, turn: str, lease: str) -> bool:
    """With: a turn is ended by who has it. Whether it was still this player's."""
    return cache.give_back(turn, lease)


def most_at_once(cache: Cache, turn: str, take: Take) -> int:
    """All players want each turn at the same time. How many had the same one, at most."""
    barrier = threading.Barrier(len(PLAYERS), timeout=10)

    def wants(player: str) -> list[bool]:
        got = []
        for number in range(ROUNDS):
            barrier.wait()
            got.append(take(cache, f"{turn}{number}", player, 5) is not None)
        return got

    with ThreadPoolExecutor(len(PLAYERS)) as threads:
        return max(map(sum, zip(*threads.map(wants, PLAYERS), strict=True)))


def late_end(cache: Cache, turn: str, take: Take, end: End) -> bool:
    """A is so slow that its turn is over and B's has begun; then A ends its turn. Whether B still has its own."""
    turn_of_a = take(cache, turn, "A", 0.2)
    assert turn_of_a is not None  # nobody else has wanted it yet
    while (turn_of_b := take(cache, turn, "B", 5)) is None:
        time.sleep(0.01)
    end(cache, turn, turn_of_a)
    return end(cache, turn, turn_of_b)


def main() -> int:
    """Run both, without and with. The exit code."""
    moves = -(-numbers(__doc__, users=1000).users // len(PLAYERS))
    made = moves * len(PLAYERS)
    prefix = own_prefix("game")
    with Client(codec=Codec.text()) as cache:
        naive_board, naive_score = play(cache, prefix + "naive:", moves, move_blindly)
        board, score = play(cache, prefix + "careful:", moves, move)
        scores = cache.read_many([f"{prefix}careful:score:{player}" for player in PLAYERS])
        at_once = most_at_once(cache, prefix + "naive-turn:", take_turn_blindly)
        at_once_with = most_at_once(cache, prefix + "turn:", take_turn)
        survives = late_end(cache, prefix + "naive-late", take_turn_blindly, end_turn_blindly)
        survives_with = late_end(cache, prefix + "late", take_turn, end_turn)

    report = Report(f"{len(PLAYERS)} players make {made:,} moves on one board")
    report.row(
        "moves that were overwritten", made - (len(naive_board) - naive_board.count(FREE)), board.count(FREE) - made
    )
    report.row("moves counted in the score", naive_score, score)
    report.row("players who had the same turn, at most", at_once, at_once_with)
    report.row(
        "a turn, when another ends its own too late", *("lasts" if s else "is gone" for s in (survives, survives_with))
    )
    report.check(board.count(FREE) == made, f"with compare_and_set all {made:,} moves are on the board")
    report.check(
        score == made and list(scores.values()) == [str(moves)] * len(PLAYERS), "with incr the scores have all of them"
    )
    report.check(at_once_with == 1, f"with a lease one of {len(PLAYERS)} players gets a turn, {ROUNDS} times")
    report.check(survives_with, "with give_back a player who is late does not end another's turn")
    return report.finish()


if __name__ == "__main__":
    start(main)
