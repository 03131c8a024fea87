"""Runs Django's own tests of a cache, and of sessions in a cache, with ours: `python -m` this, with WIREPROTO_URL.

In a process of its own, as Django's settings hold for a whole process. Its arguments are those that the tests are
chosen by, as in `-k test_incr`; the last line is how many ran.
"""

from __future__ import annotations

import sys
import unittest
from typing import Any

import django
from django.conf import settings

from tests.adapters.hosts import tests_of

BACKEND = {
    "BACKEND": "wireproto.adapters.django.WireprotoCache",
    "LOCATION": "",
    "OPTIONS": {"clear_within": 0},
}
# Nothing is culled here: a node that is short of memory evicts by itself.
NOT_APPLICABLE = ("test_cull", "test_cull_delete_when_store_empty", "test_zero_cull")


def set_up() -> None:
    """Django, with a database in memory for the tests that store objects of one."""
    sys.path.insert(0, str(tests_of("django")))
    settings.configure(
        CACHES={"default": BACKEND},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.sessions", "cache", "sessions_tests"],
        LOGGING_CONFIG=None,
        SECRET_KEY="only for tests",
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        USE_TZ=False,
    )
    django.setup()


def suite(patterns: list[str]) -> unittest.TestSuite:
    """Their tests, those whose names hold one of the patterns."""
    from cache.tests import BaseCacheTests, caches_setting_for_tests
    from django.contrib.sessions.backends.cache import SessionStore
    from django.test import SimpleTestCase, TestCase, override_settings
    from sessions_tests.tests import SessionTestsMixin

    caches = caches_setting_for_tests(base=BACKEND, exclude={"cull", "zero_cull"})

    @override_settings(CACHES=caches)
    class WireprotoCacheTests(BaseCacheTests, TestCase):  # type: ignore[misc]  # Django has no types
        pass

    class WireprotoSessionTests(SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]  # as above
        backend = SessionStore

    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in patterns] or None
    kinds: tuple[Any, ...] = (WireprotoCacheTests, WireprotoSessionTests)
    chosen = [test for kind in kinds for test in loader.loadTestsFromTestCase(kind)]
    return unittest.TestSuite(test for test in chosen if test.id().rpartition(".")[2] not in NOT_APPLICABLE)


def main() -> int:
    """The exit code: 0 if all went well, and none was skipped."""
    set_up()
    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=1)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    result = runner.run_suite(suite(sys.argv[1:]))
    runner.teardown_databases(databases)
    print(f"{result.testsRun} tests ran, {len(result.skipped)} were skipped")
    return 0 if result.wasSuccessful() and not result.skipped else 1


if __name__ == "__main__":
    sys.exit(main())
