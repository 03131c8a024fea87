"""What is asked of the server in the steps of loading a value."""

from __future__ import annotations

import pytest

from wireproto.core.calls import Calls
from wireproto.core.codec import Codec
from wireproto.core.load_calls import LoadCalls
from wireproto.core.load_steps import GiveBack, Read, Remove, Store, StoreAbsence
from wireproto.core.load_terms import LoadTerms
from wireproto.errors import ArgumentError


def test_requests() -> None:
    calls = LoadCalls(Calls(Codec.json()), b"k", LoadTerms(ttl=60, stale=5, lease=2, missing_ttl=3))
    assert calls.call(Read(None)).request == b"READ 1:k lease=2000\n"
    assert calls.call(Read(0.0015)).request == b"READ 1:k lease=2000 early=2\n"
    assert calls.call(Store([1], "x1")).request == b"WRITE 1:k 3:[1] px=60000 stale=5 lease=x1\n"
    assert calls.call(StoreAbsence("x1")).request == b"WRITE 1:k 7:\xc1absent px=3000 lease=x1\n"
    assert calls.call(GiveBack("x1")).request == b"DELETE 1:k lease=x1\n"
    assert calls.call(Remove()).request == b"DELETE 1:k\n"
    with pytest.raises(ArgumentError):
        calls.call(Store(object(), "x1"))
