"""The orchestrator's settings: the only place that reads its environment. Knows no other module of ours.

Every field has its variable: FLEET_<FIELD IN CAPITALS>; DATABASE_URL is also read by its usual name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field


class Config(Struct, frozen=True, kw_only=True):
    """One orchestrator process. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8420
    data: Path = Path(".comfyfleet")
    database_url: str | None = None  # None: the embedded PostgreSQL under data
    public_url: str | None = None  # how clients reach us; None: http://host:port
    secret: str = ""  # master key: everything signed or derived hangs on it; empty: made once under data

    files_url: str | None = None  # s3://bucket/prefix; None: local disk under data/files
    files_endpoint: str | None = None  # of an S3-compatible service
    files_region: str = "us-east-1"
    files_access_key: str = ""
    files_secret_key: str = ""
    file_url_s: int = 3600  # life of a signed URL

    database_connections: int = 12
    beat_s: float = 5.0  # agents beat this often
    lease_s: float = 15.0  # a machine silent for so long has lost its runs
    claim_s: float = 20.0  # an assigned attempt is claimed within this
    poll_s: float = 1.0  # safety net under every wake-up
    run_timeout_s: int = 3600
    queue_timeout_s: int = 86400  # a run that waited so long is given up

    access_token_s: int = 900
    refresh_token_s: int = 30 * 86400
    max_body: int = 10 * 1024 * 1024
    max_upload: int = 512 * 1024 * 1024
    quarantine_after: int = 10  # runs in a row that fail by a machine's own fault and take it out of use; 0: never
    fetch_private: bool = False  # may files be fetched from private addresses (tests, LAN)
    fetch_timeout_s: float = 120.0  # a file by URL is there by then
    usage_metadata: str = "project,team"  # names, comma-separated, of runs' metadata by which usage is told
    retention_days: int = 0  # runs that ended so long ago are deleted with their files; 0: never
    webhook_private: bool = False  # may webhooks reach private addresses (tests, LAN)
    webhook_timeout_s: float = 15.0
    rate_limit: float = 200.0  # requests a second of a key, a user, or an address without a credential; 0: no limit
    rate_burst: int = 2000  # so many at once
    public_share_runs: int = 0  # runs an hour of one address through public links, without a login; 0: none
    cors_origins: str = ""  # origins, comma-separated, whose pages may use the API with a bearer credential
    comfyui_host: str | None = None  # a host name on which the ComfyUI facade stands alone, at the root
    insecure_cookies: bool = False  # session cookies without Secure; implied for http://127.0.0.1 and localhost
    oidc_issuer: str | None = None  # log in by this OpenID provider as well; None: by password only
    oidc_client_id: str = ""
    oidc_client_secret: str = ""  # empty: a public client, which has PKCE alone
    oidc_domains: str = ""  # e-mail domains, comma-separated, whose people may log in and join; empty: members only
    oidc_organisation: str = "default"  # slug of the organisation that they join
    oidc_role: Literal["admin", "developer", "viewer", "playground"] = "viewer"  # what they are there
    oidc_label: str = "Log in with single sign-on"  # of the button
    oidc_private: bool = False  # may the provider lie at a private address, or speak plain HTTP (tests, LAN)
    log_level: str = "info"
    log_json: bool = True

    admin_email: str | None = None  # first admin, made when the database has no user
    admin_password: str | None = None
    admin_api_key: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """Where clients and agents reach this orchestrator, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def from_environment(environ: Mapping[str, str] | None = None, **overrides: object) -> Config:
    """Settings from FLEET_* variables, then overrides (None means not given).

    Raises msgspec.ValidationError naming the field when a value does not fit its type.
    """
    source = os.environ if environ is None else environ
    values: dict[str, object] = {
        name: source[f"FLEET_{name.upper()}"]
        for name in Config.__struct_fields__
        if name != "extra" and f"FLEET_{name.upper()}" in source
    }
    if "database_url" not in values and source.get("DATABASE_URL"):
        values["database_url"] = source["DATABASE_URL"]
    values.update({name: value for name, value in overrides.items() if value is not None})
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return msgspec.convert(values, Config, strict=False, dec_hook=_decode)


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)


def counted_names(setting: str) -> list[str]:
    """The names of a comma-separated setting."""
    return [name for part in setting.split(",") if (name := part.strip())]


def load_secret(config: Config) -> bytes:
    """The master key: FLEET_SECRET, or the one made once in data/secret.key (mode 0600).

    Replicas must share it: set FLEET_SECRET where several orchestrators serve one database.
    """
    if config.secret:
        return config.secret.encode()
    path = config.data / "secret.key"
    config.data.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes().strip()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_hex(32).encode())
    return path.read_bytes().strip()
