"""Conversations for the model test that chance would seldom have: what is asked, but not what must be answered."""

from __future__ import annotations

SCENARIOS = {
    "a counter that might have been stale": """
        WRITE k 5 px=60 stale=60 ; INCR k ; READ k ttl ; READ k ver
        pause 80
        READ k ; READ k lease=1000 ; READ k""",
    "more than 53 bits": """
        WRITE k 9007199254740991 ; INCR k ; INCR k ; INCR k by=9007199254740993 ; INCR k by=-4611686018427387905
        INCR n by=9007199254740993 px=5000 ; INCR n ; READ n ver ; INCR n by=-9223372036854775808""",
    "an overflow keeps the time": """
        WRITE k 9223372036854775807 px=60
        READ k ver ; INCR k ; READ k ttl ver
        pause 80
        READ k ; WRITE k 9223372036854775807 px=60 stale=1 ; INCR k ; READ k ttl
        pause 80
        READ k ; READ k lease=1000""",
    "a stale value: one gets the lease": """
        WRITE k v px=40 stale=60
        pause 60
        READ k lease=9000 ; READ k lease=9000 ; READ k lease=9000 ttl ver
        READ k lease=9000 ; READ k ; READ k ttl ver ; TOUCH k px=90 ; WRITE k w xx ; DELETE k ver=
        WRITE k w lease= px=40 stale=60 ; READ k ttl
        pause 60
        READ k lease=9000""",
    "the version of a stale value": """
        WRITE k v px=60 stale=60
        READ k ver
        pause 80
        WRITE k w ver= ; DELETE k ver= ; READ k ver lease=9000""",
    "a lease of a stale value is given back": """
        WRITE k v px=40 stale=60
        pause 60
        READ k lease=9000
        DELETE k lease= ; DELETE k lease= ; READ k lease=9000
        READ k lease=9000 ; READ k""",
    "an early lease is given back": """
        WRITE k v px=5000 ; READ k lease=9000 early=4000
        READ k lease=9000 early=6000
        READ k lease=9000 early=6000 ; DELETE k lease= ; READ k ttl ver ; READ k lease=9000 early=6000 ; READ k""",
    "a lease lives longer than its value": """
        WRITE k v px=60 ; READ k lease=9000 early=6000
        pause 80
        READ k ; READ k lease=9000 ; READ k lease=9000 ttl ; WRITE k w xx ; READ k ver
        WRITE k w lease= ; READ k ttl ; READ k lease=9000""",
    "a lease lives longer than its value may be stale": """
        WRITE k v px=40 stale=1
        pause 60
        READ k lease=9000
        pause 1100
        READ k lease=9000 ; READ k lease=9000 ttl ; READ k ; TOUCH k ex=9
        WRITE k w lease= keepttl ; READ k ttl""",
    "a lease ends with its time": """
        READ k lease=60
        pause 80
        WRITE k v lease= ; DELETE k lease= ; READ k lease=60 ; DELETE k
        WRITE k v px=5000 ; READ k lease=60 early=6000
        pause 80
        WRITE k w lease= ; READ k ttl ; READ k lease=60 early=6000""",
    "a new time to live": """
        WRITE k v px=5000 stale=1 ; READ k ver ; TOUCH k px=60 ; READ k ttl ver
        pause 80
        READ k ; TOUCH k px=90 ; READ k lease=9000
        pause 1050
        READ k ; READ k lease=9000
        INCR n ; READ n ver ; TOUCH n px=60 ; INCR n ; READ n ttl
        pause 80
        INCR n px=5000 ; READ n ttl""",
    "a time that is kept": """
        WRITE k v px=60 stale=1 ; WRITE k w keepttl ; READ k ttl ver
        WRITE k x keepttl ver= ; READ k ttl
        pause 80
        READ k ; READ k lease=9000
        WRITE k y keepttl ; READ k ttl
        WRITE j v px=60 ; READ j ver
        WRITE j w keepttl xx ; READ j ttl
        pause 80
        READ j ; WRITE j x keepttl nx ; READ j ttl""",
    "no time is kept where there is only a lease": """
        READ k lease=60
        WRITE k v keepttl ; READ k ttl
        READ j lease=60
        WRITE j v keepttl lease= ; READ j ttl
        READ i lease=60 ; WRITE i v keepttl nx
        pause 80
        READ k ttl ; READ j ttl ; READ i ttl ; READ k lease=9000""",
    "while there is only a lease": """
        READ k lease=9000
        READ k ; READ k ttl ver ; TOUCH k px=90 ; READ k lease=9000 ; READ k lease=9000 ttl early=90
        WRITE k v xx ; WRITE k v ver=x ; WRITE k v lease=x ; DELETE k lease=x ; DELETE k ver=x
        READ k lease=9000 ; WRITE k v nx ; WRITE k w lease= ; READ k
        READ j lease=9000
        WRITE j v px=60 stale=60 nx ; WRITE j w lease=""",
    "what creates a key": """
        WRITE k v nx px=5000 stale=60 ; READ k ttl ; WRITE k w nx stale=60 px=90 ; READ k
        WRITE j v xx px=5000 stale=60 ; READ j ; WRITE j v ; WRITE j w xx px=60 stale=1
        pause 80
        WRITE j x xx ; WRITE j x nx ; READ j ttl""",
    "in flight behind a read with a lease": """
        READ k lease=9000
        READ k lease=9000 ; DELETE k ; WRITE k v lease= ; READ k lease=9000 ; INCR k ; READ k
        DELETE k ; READ k lease=9000 ; WRITE k v ; READ k ; READ k lease=9000
        DELETE k ; READ k lease=9000 ; INCR k ; READ k ; READ k lease=9000 ttl
        DELETE k ; READ k lease=9000 ; READ k lease=9000 ; WRITE k v px=40 stale=60 ; READ k lease=9000
        pause 60
        READ k lease=9000 ; WRITE k w px=40 stale=60 ; READ k lease=9000 ; READ k
        pause 60
        READ k lease=9000 ; INCR k ; READ k lease=9000 ; DELETE k ; READ k ; READ k lease=9000""",
}
"""Packets, line by line; a token that is left out is the newest."""
