"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from wireproto.core.build import BUILD

# A busy machine may take long for any example; how fast things are is measured elsewhere.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# What was meant to be tested is what is tested: `make test` does it with both.
assert os.environ.get("EXPECTED_BUILD", BUILD) == BUILD, f"the {BUILD} build is found"
