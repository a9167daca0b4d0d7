"""`python -m bench [NAME ...]`: run the suites, print the table, write build/bench.json."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import access, executor, fleet, leak
from bench.table import Measure, save, show

SUITES: dict[str, Callable[[], Awaitable[list[Measure]]]] = {
    "access": access.measures,
    "fleet": fleet.measures,
    "executor": executor.measures,
    "leak": leak.measures,
}
RESULT = Path("build/bench.json")


async def main(names: list[str]) -> int:
    """Run the named suites, all without names."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n\nSuites, all without a name: {', '.join(SUITES)}")
        return 0
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no suite named {unknown[0]}; there are: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    found: list[Measure] = []
    for name in names or SUITES:
        print(f"measuring {name} ...", flush=True)
        found += await SUITES[name]()
    show(found)
    save(found, RESULT)
    print(f"written to {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1:])))
