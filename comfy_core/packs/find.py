"""Which node packs there are: one folder with an `__init__.py`, or one .py file, each. It imports none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_core.config import PackSettings
from comfy_core.packs.commit import commit_of
from comfy_core.packs.report import PackReport

ENTRY = "__init__.py"
MODULE_PARENT = "custom_nodes"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack and what is known of it so far. path: its folder or file."""

    path: Path
    report: PackReport

    @property
    def wanted(self) -> bool:
        """Whether it is to be imported."""
        return self.report.status != "skipped"

    @property
    def home(self) -> Path:
        """The folder its files are in."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def entry(self) -> Path:
        """The file that is imported."""
        return self.path / ENTRY if self.path.is_dir() else self.path

    @property
    def module_name(self) -> str:
        """Its name in sys.modules: the path, so that names with dashes and packs of one name do not matter."""
        path = self.path if self.path.is_dir() else self.path.with_suffix("")
        return str(path).replace(".", "_x_") if self.path.is_dir() else str(path)

    @property
    def shown_module(self) -> str:
        """The module that clients see its nodes come from."""
        return f"{MODULE_PARENT}.{self.report.name}"


def find(searched: Iterable[str], settings: PackSettings) -> list[Pack]:
    """Every pack in the searched folders, by name within each, then those named one by one; none twice."""
    found: dict[Path, Pack] = {}
    for folder in searched:
        for path in _entries(Path(folder)):
            found.setdefault(path, _pack(path, settings))
    for path in settings.named:
        found.setdefault(path, _pack(path, settings))
    return list(found.values())


def _entries(folder: Path) -> Iterator[Path]:
    home = folder.resolve()
    if not home.is_dir():
        return
    for path in sorted(home.iterdir()):
        hidden = path.name.startswith(".") or path.name == "__pycache__"
        if not hidden and (path.is_dir() or path.suffix == ".py"):
            yield path


def _pack(path: Path, settings: PackSettings) -> Pack:
    report = PackReport(path.name if path.is_dir() else path.stem, str(path))
    report.commit = commit_of(path)
    pack = Pack(path, report)
    why = _why_not(pack, settings)
    if why is not None:
        report.status, report.reason = "skipped", why
    return pack


def _why_not(pack: Pack, settings: PackSettings) -> str | None:
    if settings.disabled and not {pack.path.name, pack.report.name} & settings.allowed:
        return "node packs are disabled and this one is not among those let in"
    if pack.path.name.endswith(".disabled"):
        return "its name says that it is disabled"
    if not pack.entry.is_file():
        return f"there is no {ENTRY} in it" if pack.path.is_dir() else "there is no such file"
    return None
