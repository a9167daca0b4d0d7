"""Which commit a pack's folder has checked out, read from git's files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from comfy_core.packs.commit import commit_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("files", "commit"),
    [
        ({"HEAD": COMMIT}, COMMIT),
        ({"HEAD": "ref: refs/heads/main\n", "refs/heads/main": f"{COMMIT}\n"}, COMMIT),
        ({"HEAD": "ref: refs/heads/main", "packed-refs": f"# pack-refs\n{COMMIT} refs/heads/main\n"}, COMMIT),
        ({"HEAD": "ref: refs/heads/none"}, None),
        ({"HEAD": "ref: ../../secret", "../secret": COMMIT}, None),
        ({"HEAD": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_commit_is_read_wherever_git_keeps_it(tmp_path: Path, files: dict[str, str], commit: str | None):
    """Detached, by a branch's own file or packed; a repository that says nothing sensible has none."""
    for name, text in files.items():
        path = tmp_path / "pack" / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert commit_of(tmp_path / "pack") == commit


def test_it_is_what_git_says(tmp_path: Path):
    """A real repository, with its branch's file and after packing."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
    git("pack-refs", "--all")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
