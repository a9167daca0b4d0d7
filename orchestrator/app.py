"""The composition root: builds the application from a Config. The only file that knows all others.

To add a resource: write `orchestrator/api/x.py` with `routes`, and put the module into MODULES. To add a background
loop: put it into `_loops`. What handlers share is a field of Services and is injected by its name.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import LitestarDeprecationWarning
from litestar.types import Scope
from msgspec import Struct

from orchestrator import dashboard, engine, first_admin
from orchestrator.api import (
    agent,
    audit,
    batches,
    deployments,
    grants,
    headers,
    health,
    keys,
    machine_care,
    machine_secrets,
    machines,
    members,
    organisation,
    problems,
    run_facts,
    runs,
    schema,
    shares,
    uploads,
    usage,
    versions,
    webhooks,
    workflows,
)
from orchestrator.api import auth as auth_api
from orchestrator.api import files as files_api
from orchestrator.api.exchange import Answer, Asked
from orchestrator.api.idempotency import Idempotency
from orchestrator.auth import Authenticate, Authenticator, MachineCredentials, Principal
from orchestrator.config import Config, load_secret
from orchestrator.dialects import comfy_v2, comfydeploy, comfyui
from orchestrator.dialects.comfydeploy.reporting import PluginReports
from orchestrator.files import Files
from orchestrator.limits import Limits
from orchestrator.live.abilities import Abilities
from orchestrator.live.fleet import Fleet
from orchestrator.live.hub import Hub
from orchestrator.live.machine_secrets import MachineSecrets
from orchestrator.live.parts import Parts
from orchestrator.live.queue import Queue
from orchestrator.live.secret_values import SecretValues
from orchestrator.live.sign_on import SignOn
from orchestrator.loops.runner import Bell, Loop, run_for_ever
from orchestrator.store import idempotency
from orchestrator.store import limits as rate_buckets
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.ledger import Ledger
from orchestrator.store.migrate import migrate
from orchestrator.vault import Vault

log = structlog.get_logger("app")

MODULES: Final = (
    health,
    schema,
    auth_api,
    keys,
    members,
    organisation,
    audit,
    machines,
    machine_care,
    machine_secrets,
    workflows,
    versions,
    deployments,
    shares,
    files_api,
    uploads,
    grants,
    runs,
    run_facts,
    batches,
    agent,
    webhooks,
    usage,
    comfy_v2,
    comfyui,
    comfydeploy,
    dashboard,
)
DATABASE_PATIENCE_S: Final = 60.0


class Services(Struct):
    """What handlers share. on_machine_changed gets the id of a machine that was changed or deleted; "": of several."""

    config: Config
    secret: bytes
    db: Database
    auth: Authenticator
    files: Files
    hub: Hub
    queue: Queue
    ledger: Ledger
    fleet: Fleet
    parts: Parts
    plugin: PluginReports
    vault: Vault
    sign_on: SignOn
    on_machine_changed: Callable[[str], None]


INJECTED: Final = tuple(name for name in Services.__struct_fields__ if name != "secret")


def create_app(config: Config, *, up_file: Path | None = None) -> Litestar:
    """The application. up_file: where the first administrator's credentials go (default: data/up.json)."""
    up_file = up_file or config.data / "up.json"

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            app.state.services = await _start(app, config, up_file, stack)
            yield

    app_config = AppConfig(
        route_handlers=[route for module in MODULES for route in module.routes],
        lifespan=[lifespan],
        middleware=[Authenticate(), Idempotency()],
        exception_handlers=problems.HANDLERS,
        before_send=[headers.completing(config)],
        cors_config=headers.cors(config),
        before_request=problems.check_body,
        dto=problems.JsonBody,
        return_dto=None,
        request_class=Asked,
        response_class=Answer,
        dependencies={**{name: _provided(name) for name in INJECTED}, "principal": _principal()},
        request_max_body_size=config.max_body,
        openapi_config=schema.openapi_config(),
        template_config=dashboard.template_config(),
        state=State({"draining": asyncio.Event(), "config": config}),
    )
    with warnings.catch_warnings():
        # Litestar 3 will want every parameter marked with where it comes from; we stay below 3.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        app = Litestar.from_config(app_config)
    app.asgi_handler = comfyui.by_host(app.asgi_handler, config.comfyui_host)
    return app


async def _start(app: Litestar, config: Config, up_file: Path, stack: AsyncExitStack) -> Services:
    """Bring everything up in order; the stack takes it down in reverse."""
    config.data.mkdir(parents=True, exist_ok=True)
    secret = load_secret(config)
    dsn = config.database_url or await _embedded(config, stack)
    await _migrated(dsn)
    db = await Database.open(dsn, max_size=config.database_connections)
    stack.push_async_callback(db.close)
    await first_admin.ensure(db, config, up_file)
    files = Files(config, secret)
    await files.open()
    running = await engine.start(config, db, dsn, secret, files, stack)
    plugin = PluginReports(db, running.reports, running.hub)
    limits = Limits(db, config.rate_limit, config.rate_burst, config.public_share_runs)
    limits.start()
    stack.push_async_callback(limits.stop)
    parts = Parts(config, db, files, running.queue, running.ledger, MachineCredentials(db), Abilities(db), plugin)
    auth = Authenticator(config, secret, db, limits)
    services = Services(
        config=config,
        secret=secret,
        db=db,
        auth=auth,
        files=files,
        hub=running.hub,
        queue=running.queue,
        ledger=running.ledger,
        fleet=running.fleet,
        parts=parts,
        plugin=plugin,
        vault=Vault(secret, "vault"),
        sign_on=SignOn(config, secret, db, auth),
        on_machine_changed=lambda _machine_id: running.machine_changed(),
    )
    for loop in [*running.loops, *_loops(services)]:
        _keep_running(run_for_ever(loop), loop.name, stack)
    return services


def _loops(services: Services) -> list[Loop]:
    machine_secrets_of = MachineSecrets(services.db, services.vault)
    return [
        Loop("api key use", services.auth.flush, Bell(), poll_s=15.0),
        Loop("full rate buckets", partial(rate_buckets.sweep, services.db), Bell(), poll_s=60.0),
        Loop("secrets of an older master key", SecretValues(services.db, services.vault).reseal, Bell(), poll_s=300.0),
        Loop("machines' secrets of an older key", machine_secrets_of.reseal, Bell(), poll_s=300.0),
        Loop("old idempotency keys", partial(idempotency.sweep, services.db), Bell(), poll_s=60.0),
    ]


async def _embedded(config: Config, stack: AsyncExitStack) -> str:
    server = EmbeddedPostgres(config.data / "postgres")
    dsn = await server.start()
    stack.push_async_callback(server.stop)
    _keep_running(server.watch(), "embedded postgres", stack)
    return dsn


async def _migrated(dsn: str) -> None:
    """Migrate; a database that is not there yet is waited for."""
    async with asyncio.timeout(DATABASE_PATIENCE_S):
        while True:
            try:
                applied = await migrate(dsn)
            except DatabaseUnavailable as error:
                log.warning("waiting for the database", error=str(error))
                await asyncio.sleep(1.0)
                continue
            if applied:
                log.info("migrated", applied=applied)
            return


def _keep_running(work: Any, name: str, stack: AsyncExitStack) -> None:
    task = asyncio.get_running_loop().create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


def _provided(name: str) -> Provide:
    # by the scope: the framework would copy its state for each request
    def provide(scope: Scope) -> Any:
        return getattr(scope["litestar_app"].state.services, name)

    return Provide(provide, sync_to_thread=False)


def _principal() -> Provide:
    def provide(scope: Scope) -> Principal | None:
        principal: Principal | None = scope["user"]
        return principal

    return Provide(provide, sync_to_thread=False)
