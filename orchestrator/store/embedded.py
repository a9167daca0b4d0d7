"""The embedded PostgreSQL: a server of our own in a folder, run as our child, reached by a Unix socket only.

It knows no schema. It never changes the permissions of a folder that it did not make, creates no account, and says
"ready" only when the server answers: a process that exists proves nothing (a zombie exists too). A server left running
by an orchestrator that was killed is adopted. Only two accounts get in, by peer: ourselves and the server's own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from orchestrator.store.installation import (
    CLEAN_ENVIRONMENT,
    REMEDY,
    Account,
    EmbeddedPostgresError,
    Installation,
    choose_installation,
    reachable,
    unprivileged_account,
    within_reach,
)

log = structlog.get_logger("embedded")

PORT = 5432  # only names the socket file; nothing listens on TCP
LONGEST_SOCKET_FOLDER = 90  # the kernel allows 107 bytes with the file's name
READY_TIMEOUT_S = 600.0  # crash recovery after a long write load takes minutes, not seconds
FAILING_TIMEOUT_S = 15.0  # ... but a server that exits again and again for so long will not come up
LOG_LIMIT = 20_000_000
ELSEWHERE = (Path("/var/lib/comfyfleet"), Path("/tmp"))  # noqa: S108 - a private folder is made in it

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "10s",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests: a power cut would ruin it. Commits still reach the kernel at once, so that a killed process loses nothing.
FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class EmbeddedPostgres:
    """A PostgreSQL server under home. The database survives stop() and kill; `durable=False` is for tests only."""

    def __init__(
        self,
        home: Path,
        *,
        durable: bool = True,
        installation: Installation | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._server = _Server(home.absolute(), durable, installation, {**(settings or {})})

    async def start(self) -> str:
        """Start the server, or adopt the one that runs here; returns its DSN. Raises EmbeddedPostgresError."""
        return await asyncio.to_thread(self._server.start)

    async def stop(self) -> None:
        """Shut the server down: connections end, all that was committed is on disk."""
        await asyncio.to_thread(self._server.stop)

    async def watch(self) -> None:
        """Start the server again whenever it dies, until cancelled."""
        while True:
            await asyncio.sleep(0.1 if self._server.is_child else 1.0)
            if await asyncio.to_thread(self._server.alive):
                continue
            log.warning("the embedded database is gone; starting it again")
            try:
                await self.start()
            except EmbeddedPostgresError as error:
                log.error("the embedded database does not start", reason=str(error))


class _Server:
    """The blocking side: every method may wait, none runs on the event loop."""

    def __init__(self, home: Path, durable: bool, installation: Installation | None, settings: dict[str, str]) -> None:
        self._home = home
        self._durable = durable
        self._installation = installation
        self._settings = settings
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._bin = Path()
        self._data = Path()
        self._run = Path()

    @property
    def is_child(self) -> bool:
        return self._child is not None

    def start(self) -> str:
        with self._one_at_a_time:
            self._stopping.clear()
            self.alive()  # reaps a dead child: a zombie looks like a server to the one that follows it
            account = unprivileged_account()
            self._home.mkdir(parents=True, exist_ok=True)
            with _locked(self._home / "lock", self._stopping):
                base = _choose_base(self._home, account)
                chosen = self._installation or choose_installation()
                installation = within_reach(chosen, account, base)
                self._bin, self._data = installation.bin, base / "data"
                self._run = _socket_folder(self._home, base, account)
                if not self._answers():
                    self._initialise(base, account)
                    self._check_version(installation)
                    _write_access_rules(self._data, account)
                    self._bring_up(account)
        folder = quote(str(self._run), safe="/")
        return f"postgresql://postgres@/postgres?host={folder}&port={PORT}"

    def alive(self) -> bool:
        if self._child is None:
            return self._bin != Path() and self._answers()
        if self._child.poll() is None:
            return True
        self._child = None
        return False

    def stop(self) -> None:
        self._stopping.set()
        with self._one_at_a_time:
            if self._child is not None:
                _end_child(self._child)
            else:
                _end_process(_running_postmaster(self._data / "postmaster.pid"))
            self._child = None

    def _answers(self) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-h", str(self._run), "-p", str(PORT), "-t", "2"]
        return subprocess.run(command, env=CLEAN_ENVIRONMENT, cwd="/", check=False).returncode == 0

    def _initialise(self, base: Path, account: Account | None) -> None:
        """Make the cluster beside its place and move it there whole: a killed initdb leaves nothing half-made."""
        if (self._data / "PG_VERSION").exists():
            return
        draft = base / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        _private_folder(draft, account)
        options = ["-U", "postgres", "-A", "peer", "--no-locale", "-E", "UTF8", "--no-instructions"]
        if not self._durable:
            options.append("--no-sync")
        command = [str(self._bin / "initdb"), "-D", str(draft), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_account(account))
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.strip()[-500:]}; {REMEDY}")
        draft.rename(self._data)
        _sync_folder(base)
        log.info("a new embedded database was made", data=str(self._data))

    def _check_version(self, installation: Installation) -> None:
        version = (self._data / "PG_VERSION").read_text().strip()
        if version != str(installation.major):
            raise EmbeddedPostgresError(
                f"{self._data} was written by PostgreSQL {version} and the binaries found are version "
                f"{installation.major}: install version {version}, or move the data with pg_dump and pg_restore"
            )

    def _bring_up(self, account: Account | None) -> None:
        """Start until it answers. After a kill the old backends hold shared memory for a moment: try again."""
        began = time.monotonic()
        failing_since: float | None = None
        while not self._answers():
            if self._stopping.wait(0.02):
                raise EmbeddedPostgresError("the server was told to stop while it started")
            if self._child is not None and self._child.poll() is None:
                self._give_up_after(began, READY_TIMEOUT_S)
                continue
            if self._child is not None:
                failing_since = failing_since or time.monotonic()
                self._give_up_after(failing_since, FAILING_TIMEOUT_S)
                self._stopping.wait(0.2)
            _disown_stale_lock(self._data / "postmaster.pid")
            _disown_stale_lock(self._run / f".s.PGSQL.{PORT}.lock")
            self._child = self._launch(account)
        if self._child is not None and self._child.poll() is not None:
            self._child = None  # another server answered: ours found the folder taken and went

    def _give_up_after(self, since: float, limit: float) -> None:
        if time.monotonic() - since > limit:
            raise EmbeddedPostgresError(f"the server does not start: {self._log_end()}; {REMEDY}")

    def _log_end(self) -> str:
        return (self._home / "postgres.log").read_text(errors="replace")[-1000:].strip()

    def _launch(self, account: Account | None) -> subprocess.Popen[bytes]:
        settings = {**SETTINGS, **({} if self._durable else FORGETFUL), **self._settings}
        settings["unix_socket_directories"] = str(self._run)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._data), *options]
        path = self._home / "postgres.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log_file:
            path.chmod(0o600)
            # A session of its own: Ctrl-C in our terminal must not end the database before we have drained.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                **_as_account(account),
            )


def _as_account(account: Account | None) -> dict[str, Any]:
    common: dict[str, Any] = {"env": CLEAN_ENVIRONMENT, "cwd": "/", "umask": 0o077}
    if account is None:
        return common
    return {**common, "user": account.uid, "group": account.gid, "extra_groups": []}


def _choose_base(home: Path, account: Account | None) -> Path:
    """Where the data goes: home, or a folder of ours elsewhere when the account cannot pass through home's parents."""
    if [entry.name for entry in home.iterdir()] == ["lock"]:  # new, whatever the umask made of it
        home.chmod(0o711 if account else 0o700)
    if reachable(home, account):
        return home
    assert account is not None, "our own home is always within our reach"
    pointer = home / "data-is-elsewhere"
    if pointer.exists():
        base = Path(pointer.read_text().strip())
        if base.is_dir() and reachable(base, account):
            return base
        raise EmbeddedPostgresError(f"{pointer} names {base}, which is not there or out of reach for {account.name}")
    base = _make_base_elsewhere(home, account)
    pointer.write_text(f"{base}\n")
    log.warning("the database's account cannot enter this folder", home=str(home), account=account.name, data=str(base))
    return base


def _make_base_elsewhere(home: Path, account: Account) -> Path:
    for parent in ELSEWHERE:
        name = re.sub(r"\W", "", home.name)[:20] or "data"
        base = parent / f"comfyfleet-{name}-{secrets.token_hex(4)}"
        try:
            if not parent.exists():
                parent.mkdir(mode=0o755)
            base.mkdir()
            base.chmod(0o711)
        except OSError:
            continue
        if reachable(base, account):
            return base
        base.rmdir()
    raise EmbeddedPostgresError(
        f"the account {account.name} can enter neither {home} nor {ELSEWHERE[0]}: choose another data folder, or set "
        "DATABASE_URL"
    )


def _private_folder(path: Path, account: Account | None) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _socket_folder(home: Path, base: Path, account: Account | None) -> Path:
    """A private folder for the socket: in base, or a short one when base's path is too long or oddly spelt."""
    near = base / "run"
    if len(os.fsencode(near)) <= LONGEST_SOCKET_FOLDER and re.fullmatch(r"[\w./+@:-]+", str(near)):
        _private_folder(near, account)
        return near
    note = home / "socket-folder"
    owner = account.uid if account else os.geteuid()
    if note.exists():
        known = Path(note.read_text().strip())
        if known.is_dir() and not known.is_symlink() and known.stat().st_uid == owner:
            return known
    short = Path(tempfile.mkdtemp(prefix="comfyfleet-", dir="/tmp"))
    _private_folder(short, account)
    note.write_text(f"{short}\n")
    return short


def _write_access_rules(data: Path, account: Account | None) -> None:
    """Peer only, over the socket only: the kernel says who calls, and we and the server's account may be postgres."""
    names = {pwd.getpwuid(os.geteuid()).pw_name}
    if account is not None:
        names.add(account.name)
    (data / "pg_hba.conf").write_text("local all all peer map=comfyfleet\n")
    (data / "pg_ident.conf").write_text("".join(f'comfyfleet "{name}" postgres\n' for name in sorted(names)))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, stopping: threading.Event) -> Generator[None, None, None]:
    """One starter at a time, of all processes on this machine."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping.wait(0.05):
                    raise EmbeddedPostgresError("the server was told to stop while it started") from None
        yield


def _command_line(pid: int) -> str | None:
    """What the process runs; empty for a zombie or none, None where /proc cannot say."""
    if not Path("/proc/self").exists():
        return None
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _running_postmaster(lock_file: Path) -> int:
    """The process id of the server that a lock file names, or 0."""
    pid = _recorded_pid(lock_file)
    line = _command_line(pid) if pid else ""
    return pid if line is None or "postgres" in line else 0


def _recorded_pid(lock_file: Path) -> int:
    try:
        return abs(int(lock_file.read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return 0


def _disown_stale_lock(lock_file: Path) -> None:
    """Mend a lock file whose process id now belongs to some other program, as after a container's restart.

    Never removed: PostgreSQL finds in it the shared memory that a killed server's last backends may still write to.
    It ignores its own parent's process id, so that is put in the stranger's place.
    """
    pid = _recorded_pid(lock_file)
    if pid and _command_line(pid) and not _running_postmaster(lock_file):
        with lock_file.open("r+") as file:
            rest = file.read().split("\n", 1)[1]
            file.seek(0)
            file.write(f"{os.getpid()}\n{rest}")
            file.truncate()


def _end_child(child: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def _end_process(pid: int) -> None:
    """End a server that is not our child: it cannot be waited for, only watched."""
    for number, patience in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0)):
        deadline = time.monotonic() + patience
        if not _signalled(pid, number):
            return
        while _signalled(pid, None) and time.monotonic() < deadline:
            time.sleep(0.02)


def _signalled(pid: int, number: signal.Signals | None) -> bool:
    """Send the signal, or only ask, when the process still is a server. False: it is gone."""
    if pid <= 0 or _command_line(pid) == "":
        return False
    try:
        os.kill(pid, number or 0)
    except ProcessLookupError:
        return False
    return True
