"""A process with an executor put together in it and ComfyUI's names on its path: what a node pack's code sees.

Code is sent to it and its `answer` comes back, so that the process of the tests keeps its own modules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
COMPAT = ROOT / "comfy_core" / "compat"
INSIDE = """
import json, sys
from comfy_core.config import read_settings
from comfy_core.surface import Surface, attach

attach(surface := Surface(read_settings(sys.argv[2:])))
sys.path.insert(0, sys.argv[1])
names, answers = {"surface": surface}, sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    try:
        exec(json.loads(line), names)
        said = {"answer": names.pop("answer", None)}
    except BaseException as error:
        said = {"raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(said, default=str), file=answers, flush=True)
"""
ASSEMBLE = "from comfy_core.start import assemble; surface.complete(assemble(surface))"


class Raised(Exception):
    """What the code raised, as text."""


class PackSide:
    """The process. assembled: with the executor's parts, as when packs are imported; else as in prestart scripts."""

    def __init__(self, base: Path, *, assembled: bool = True) -> None:
        argv = [sys.executable, "-c", INSIDE, str(COMPAT), "--cpu", "--base-directory", str(base)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        if assembled:
            self.run(ASSEMBLE)

    def run(self, code: str) -> Any:
        """Run code and give what it left in `answer`. Raises Raised."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(textwrap.dedent(code)) + "\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
        if "raised" in said:
            raise Raised(said["raised"])
        return said["answer"]

    def value(self, expression: str, *modules: str) -> Any:
        """What an expression gives, after these modules are imported."""
        return self.run("\n".join([*(f"import {module}" for module in modules), f"answer = {expression}"]))

    def end(self) -> None:
        """Close its input, which ends it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
