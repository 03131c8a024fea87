"""One run of libFuzzer over one target: `python -m fuzz` starts it, for it ends its process when it is done.

It needs Atheris. The core is instrumented, so that mutants which reach something new are kept and mutated further.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

import atheris


def main() -> None:
    """`engine.py --target=NAME`, then what libFuzzer takes (https://llvm.org/docs/LibFuzzer.html#options)."""
    name = sys.argv[1].removeprefix("--target=")
    with atheris.instrument_imports(include=["wireproto"]):
        from fuzz.targets import target

        check: Callable[[bytes], None] = target(name).check
    # libFuzzer starts itself again to merge, by the shell, with these arguments; it does not look at those with `--`.
    atheris.Setup([shlex.join((sys.executable, sys.argv[0])), *sys.argv[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
