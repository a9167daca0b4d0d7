"""Sets up the virtual environment for `make`: finds a Python, makes the environment, installs ComfyFleet into it.

Run by the system's own Python, so it uses the standard library only and keeps to syntax that Python 3.7 still reads.
It does not know what ComfyFleet is made of: pyproject.toml and constraints.txt say what to install.

    python3 deploy/bootstrap.py .venv
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE = (
    "import sys, importlib.util as u;"
    "print(sys.version_info[0], sys.version_info[1], int(u.find_spec('venv') is not None),"
    " int(u.find_spec('ensurepip') is not None), sys.executable)"
)


class SetupError(Exception):
    """Set-up cannot go on; the text says why and what to do."""


def say(text: str) -> None:
    """One line for the person who waits."""
    print("set-up: " + text, flush=True)


def run(command: list[str], hint: str) -> None:
    """Runs a command with its output shown; a failure becomes a SetupError that ends in the hint."""
    code = subprocess.run(command, cwd=str(ROOT), check=False).returncode
    if code != 0:
        raise SetupError("this command ended with code {}: {}\n{}".format(code, " ".join(command), hint))


def probe(command: str) -> tuple[tuple[int, int], bool, str] | None:
    """Version, whether it can make environments with pip, and path of an interpreter; None when it does not start."""
    try:
        answer = subprocess.run(
            [command, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = answer.stdout.decode().strip().split(" ", 4)
    if answer.returncode != 0 or len(words) != 5:
        return None
    return (int(words[0]), int(words[1])), words[2:4] == ["1", "1"], words[4]


def find_python() -> str:
    """The interpreter to build on: this one when it is new enough and whole, else the first such on PATH."""
    without_pip = ""
    for command in (sys.executable, *CANDIDATES):
        found = probe(command)
        if found is None or found[0] < OLDEST:
            continue
        if found[1]:
            return found[2]
        without_pip = without_pip or f"python{found[0][0]}.{found[0][1]}"
    if without_pip:
        raise SetupError(
            f"{without_pip} is here, but its 'venv' or 'ensurepip' module is missing.\n"
            f"On Debian or Ubuntu: sudo apt-get install {without_pip}-venv"
        )
    raise SetupError(
        "Python {}.{} or newer is needed, this is {}.{} and no newer one is on PATH.\n"
        "On Debian or Ubuntu: sudo apt-get install python3.11 python3.11-venv; elsewhere https://www.python.org; "
        "or name one: make PYTHON=/path/to/python3.12".format(*OLDEST, *sys.version_info[:2])
    )


def make_environment(base: str, venv: Path) -> str:
    """Makes the environment when it is not there or not usable; answers the path of its Python."""
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = venv / folder / name
    if python.exists() and pip_works(str(python)):
        say(f"using the environment in {venv}")
        return str(python)
    say(f"making an environment in {venv} with {base}")
    hint = f"Is there room on the disk, and may this user write to {venv.parent}?"
    run([base, "-m", "venv", "--clear", str(venv)], hint)
    if not pip_works(str(python)):
        raise SetupError(f"the new environment in {venv} has no working pip.\n{hint}")
    return str(python)


def pip_works(python: str) -> bool:
    """Whether this interpreter starts and has pip."""
    return quiet([python, "-m", "pip", "--version"])


def quiet(command: list[str]) -> bool:
    """Whether a command ends well, its output not shown."""
    try:
        return (
            subprocess.run(
                command, cwd=str(ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


def has_nvidia() -> bool:
    """Whether this host has an NVIDIA GPU with its driver."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def answers(url: str) -> bool:
    """Whether a package index answers within 3 seconds."""
    try:
        with urllib.request.urlopen(url, timeout=3) as reply:  # noqa: S310  a fixed https address
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def pinned_torch() -> str:
    """The requirement that constraints.txt makes of torch."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith("torch=="):
            return line.strip()
    raise SetupError("constraints.txt does not pin torch; restore the file from git.")


def torch_options(python: str) -> list[str]:
    """pip options that get torch's CPU build where a GPU build would be a waste of 3 GB, else none."""
    if not sys.platform.startswith("linux") or has_nvidia():
        return []
    torch = pinned_torch()
    version = torch.split("==")[1]
    have = f"import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '{version}')"
    if quiet([python, "-c", have]):
        return []
    if quiet([python, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--no-index", torch]):
        say("torch: the wheel that pip is configured to find")
        return []
    if answers(TORCH_CPU_INDEX + "/torch/"):
        say("torch: the CPU build, since this host has no NVIDIA GPU")
        return ["--extra-index-url", TORCH_CPU_INDEX]
    say("torch: the build on the package index (several GB; the index of CPU builds does not answer)")
    return []


def install(python: str) -> None:
    """Installs the checkout, editable, with everything pinned."""
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-warn-script-location"]
    command += torch_options(python)
    command += ["-c", "constraints.txt", "-e", ".[dev]"]
    say("installing the packages of constraints.txt (one to three minutes the first time, seconds afterwards)")
    run(command, "Is the package index reachable? A proxy is set by HTTPS_PROXY, another index by PIP_INDEX_URL.")


def main(arguments: list[str]) -> int:
    """Sets up the environment named on the command line; 0 when it is ready."""
    if len(arguments) != 1:
        print("usage: python3 deploy/bootstrap.py FOLDER_OF_THE_ENVIRONMENT", file=sys.stderr)
        return 2
    began = time.monotonic()
    venv = Path(arguments[0])
    try:
        install(make_environment(find_python(), venv if venv.is_absolute() else ROOT / venv))
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    say(f"ready after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
