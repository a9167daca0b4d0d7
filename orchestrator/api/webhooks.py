"""Webhooks under /api/v1/webhooks: endpoints, their secrets, a test message, and what became of each delivery.

Secrets are derived from the master key and never stored, so an answer shows one only when it was made or rotated.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import Parameter, QueryParameter

from drivers import egress
from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.errors import Conflict, FieldError, Invalid, NotFound
from orchestrator.live.starting import refuse_url
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.webhooks import ping_body, signed_headers, webhook_secret
from orchestrator.store import revisions
from orchestrator.store import webhooks as store
from orchestrator.store.db import Database
from orchestrator.store.ids import new_id
from orchestrator.store.webhooks import Endpoint
from orchestrator.wire import (
    Delivery,
    DeliveryTry,
    Page,
    Replayed,
    Webhook,
    WebhookCreate,
    WebhookSecret,
    WebhookTest,
    WebhookUpdate,
)

MOST_ENDPOINTS: Final = 50
MOST_REPLAYED: Final = 1000

DeliveryState = Annotated[
    Literal["pending", "delivered", "dead"] | None,
    QueryParameter(name="state", description="Only deliveries in this state."),
]
WebhookFilter = Annotated[UUID | None, Parameter(description="Only deliveries to this endpoint.")]
RunFilter = Annotated[UUID | None, Parameter(description="Only deliveries about this run.")]


@post(
    operation_id="create_webhook",
    summary="Register an endpoint",
    responses=documented(400, 403, 409),
    opt=requires("developer", "webhooks:write"),
)
async def create(data: WebhookCreate, principal: Principal, db: Database, config: Config, master: bytes) -> Webhook:
    """The answer holds the secret that signs its messages; it is not shown again, but can be rotated."""
    if not data.events:
        raise Invalid("events: name at least one", errors=[FieldError("events", "name at least one")])
    refuse_url("url", data.url, allow_private=config.webhook_private)
    events: list[str] = list(dict.fromkeys(data.events))
    made = await store.add_endpoint(
        db, principal.organisation_id, data.url, events, principal.actor, most=MOST_ENDPOINTS
    )
    if made is None:
        raise Conflict(f"an organisation has at most {MOST_ENDPOINTS} webhooks", code="too_many_webhooks")
    return _shown(made, master)


@get(
    operation_id="list_webhooks",
    summary="List endpoints",
    responses=documented(400, 403),
    opt=requires("viewer", "webhooks:read"),
)
async def list_endpoints(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[Webhook]:
    """Newest first, never with their secrets."""
    found = await store.endpoints(db, principal.organisation_id, decode_cursor(cursor), limit + 1)
    return page_of([_shown(item) for item in found], limit)


@get(
    "/{webhook_id:uuid}",
    operation_id="get_webhook",
    summary="One endpoint",
    responses={**documented(403, 404), **UNCHANGED},
    opt=requires("viewer", "webhooks:read"),
)
async def get_endpoint(
    webhook_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Webhook]:
    """Without its secret; its ETag names this state of it."""
    return await _tagged(db, principal, webhook_id, if_none_match)


async def _tagged(
    db: Database, principal: Principal, webhook_id: UUID, if_none_match: str | None = None
) -> Response[Webhook]:
    revision = await revisions.present(db, "webhook", principal.organisation_id, webhook_id)
    found = await store.endpoint(db, principal.organisation_id, webhook_id)
    if found is None:
        raise _absent(webhook_id)
    return tagged(_shown(found), revision, if_none_match=if_none_match)


@patch(
    "/{webhook_id:uuid}",
    operation_id="update_webhook",
    summary="Change an endpoint",
    responses=documented(400, 403, 404, 412),
    opt=requires("developer", "webhooks:write"),
)
async def update(
    webhook_id: UUID,
    data: WebhookUpdate,
    principal: Principal,
    db: Database,
    config: Config,
    if_match: IfMatch = None,
) -> Response[Webhook]:
    """Its URL or its events; what is left out stays. The secret stays too."""
    if data.events is not None and not data.events:
        raise Invalid("events: name at least one", errors=[FieldError("events", "name at least one")])
    if data.url is not None:
        refuse_url("url", data.url, allow_private=config.webhook_private)
    events: list[str] | None = None if data.events is None else list(dict.fromkeys(data.events))
    change, seen = store.EndpointChange(data.url, events), expected(if_match)
    if not await store.update_endpoint(db, principal.organisation_id, webhook_id, change, principal.actor, seen):
        raise _absent(webhook_id)
    return await _tagged(db, principal, webhook_id)


@delete(
    "/{webhook_id:uuid}",
    status_code=204,
    operation_id="delete_webhook",
    summary="Delete an endpoint",
    responses=documented(403, 404, 412),
    opt=requires("developer", "webhooks:write"),
)
async def remove(webhook_id: UUID, principal: Principal, db: Database, if_match: IfMatch = None) -> None:
    """Its waiting messages and its deliveries go with it."""
    if not await store.remove_endpoint(db, principal.organisation_id, webhook_id, principal.actor, expected(if_match)):
        raise _absent(webhook_id)


@post(
    "/{webhook_id:uuid}/rotate",
    status_code=200,
    operation_id="rotate_webhook_secret",
    summary="Rotate the secret",
    responses=documented(403, 404),
    opt=requires("developer", "webhooks:write"),
)
async def rotate(webhook_id: UUID, principal: Principal, db: Database, master: bytes) -> Webhook:
    """The answer holds the new secret, which signs everything sent from now on, retries too."""
    changed = await store.rotate_secret(db, principal.organisation_id, webhook_id, principal.actor)
    if changed is None:
        raise _absent(webhook_id)
    return _shown(changed, master)


@post(
    "/{webhook_id:uuid}/enable",
    status_code=200,
    operation_id="enable_webhook",
    summary="Enable an endpoint again",
    responses=documented(403, 404),
    opt=requires("developer", "webhooks:write"),
)
async def enable(webhook_id: UUID, principal: Principal, db: Database) -> Webhook:
    """An endpoint that answered 410 was disabled. What it missed can be replayed."""
    changed = await store.enable_endpoint(db, principal.organisation_id, webhook_id, principal.actor)
    if changed is None:
        raise _absent(webhook_id)
    return _shown(changed)


@post(
    "/{webhook_id:uuid}/disable",
    status_code=200,
    operation_id="disable_webhook",
    summary="Tell an endpoint nothing more",
    responses=documented(403, 404),
    opt=requires("developer", "webhooks:write"),
)
async def disable(webhook_id: UUID, principal: Principal, db: Database) -> Webhook:
    """Until it is enabled again. Messages that come due meanwhile are dead, and can be replayed."""
    changed = await store.disable_endpoint(db, principal.organisation_id, webhook_id, principal.actor)
    if changed is None:
        raise _absent(webhook_id)
    return _shown(changed)


@post(
    "/{webhook_id:uuid}/replay",
    status_code=202,
    operation_id="replay_webhook",
    summary="Send an endpoint's dead messages again",
    responses=documented(403, 404, 409),
    opt=requires("developer", "webhooks:write"),
)
async def replay_dead(webhook_id: UUID, principal: Principal, db: Database) -> Replayed:
    """Oldest first, 1,000 at most in one call, under their old ids."""
    if await store.endpoint(db, principal.organisation_id, webhook_id) is None:
        raise _absent(webhook_id)
    moved = await store.replay_dead(db, principal.organisation_id, webhook_id, principal.actor, MOST_REPLAYED)
    if moved is None:
        raise Conflict("the endpoint is disabled; enable it first", code="webhook_disabled")
    return Replayed(*moved)


@post(
    "/{webhook_id:uuid}/test",
    status_code=200,
    operation_id="test_webhook",
    summary="Send a test message now",
    responses=documented(403, 404),
    opt=requires("developer", "webhooks:write"),
)
async def send_test(webhook_id: UUID, principal: Principal, db: Database, config: Config, master: bytes) -> WebhookTest:
    """Sends one signed `ping` and answers with what came back. It is neither retried nor listed."""
    target = await store.endpoint(db, principal.organisation_id, webhook_id)
    if target is None:
        raise _absent(webhook_id)
    now = datetime.now(UTC)
    body = ping_body(target.id, now)
    headers = signed_headers(webhook_secret(master, target.id, target.secret_generation), new_id(), now, body)
    return await _ping(target.url, body, headers, config)


async def _ping(url: str, body: bytes, headers: dict[str, str], config: Config) -> WebhookTest:
    started = time.monotonic()
    private = config.webhook_private
    try:
        async with egress.guarded_session(private, config.webhook_timeout_s, connections=1) as session:
            answer = await egress.post(session, url, body, headers, allow_private=private)
    except (egress.Refused, egress.Undelivered) as error:
        return WebhookTest(delivered=False, duration_ms=int((time.monotonic() - started) * 1000), error=str(error))
    complaint = egress.complaint(answer)
    return WebhookTest(complaint is None, answer.duration_ms, answer.code, complaint)


@get(
    "/deliveries",
    operation_id="list_deliveries",
    summary="List deliveries",
    responses=documented(400, 403),
    opt=requires("viewer", "webhooks:read"),
)
async def list_deliveries(
    principal: Principal,
    db: Database,
    cursor: Cursor = None,
    limit: Limit = 20,
    run_id: RunFilter = None,
    webhook_id: WebhookFilter = None,
    in_state: DeliveryState = None,  # `state` is Litestar's own word
) -> Page[Delivery]:
    """Every message, newest first, with what came of its last try."""
    found = await store.deliveries(
        db,
        principal.organisation_id,
        before=decode_cursor(cursor),
        limit=limit + 1,
        run_id=run_id,
        state=in_state,
        endpoint_id=webhook_id,
    )
    return page_of(found, limit)


@get(
    "/deliveries/{delivery_id:uuid}/tries",
    operation_id="list_delivery_tries",
    summary="Every try of a delivery",
    responses=documented(400, 403, 404),
    opt=requires("viewer", "webhooks:read"),
)
async def list_tries(
    delivery_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[DeliveryTry]:
    """Newest first, with what came back."""
    if not await store.deliveries(db, principal.organisation_id, only=delivery_id, limit=1):
        raise NotFound(f"there is no delivery {delivery_id}", code="delivery_not_found")
    found = await store.tries_of(db, principal.organisation_id, delivery_id, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


@post(
    "/deliveries/{delivery_id:uuid}/replay",
    status_code=202,
    operation_id="replay_delivery",
    summary="Send a message again",
    responses=documented(403, 404, 409),
    opt=requires("developer", "webhooks:write"),
)
async def replay(delivery_id: UUID, principal: Principal, db: Database) -> Delivery:
    """Under the same webhook-id, so that a receiver that already has it can tell."""
    moved = await store.replay(db, principal.organisation_id, delivery_id, principal.actor)
    if moved is False:
        raise Conflict("the endpoint is disabled; enable it first", code="webhook_disabled")
    found = await store.deliveries(db, principal.organisation_id, only=delivery_id, limit=1) if moved else []
    if not found:
        raise NotFound(f"there is no delivery {delivery_id}", code="delivery_not_found")
    return found[0]


@get(
    "/run-url-secret",
    operation_id="get_run_url_secret",
    summary="The secret of per-run URLs",
    responses=documented(403),
    opt=requires("developer", "webhooks:write"),
)
async def run_url_secret(principal: Principal, master: bytes) -> WebhookSecret:
    """Signs what goes to a run's own `webhook_url`; one for the whole organisation."""
    return WebhookSecret(webhook_secret(master, principal.organisation_id, 1))


def _absent(webhook_id: UUID) -> NotFound:
    return NotFound(f"there is no webhook {webhook_id}", code="webhook_not_found")


def _shown(item: Endpoint, master: bytes | None = None) -> Webhook:
    secret = None if master is None else webhook_secret(master, item.id, item.secret_generation)
    return Webhook(
        id=item.id,
        url=item.url,
        events=item.events,
        created_at=item.created_at,
        disabled_at=item.disabled_at,
        disabled_reason=item.disabled_reason,
        secret=secret,
    )


def _master(state: State) -> bytes:
    secret: bytes = state.services.secret
    return secret


routes = [
    Router(
        "/api/v1/webhooks",
        route_handlers=[
            create,
            list_endpoints,
            get_endpoint,
            update,
            remove,
            rotate,
            enable,
            disable,
            replay_dead,
            send_test,
            list_deliveries,
            list_tries,
            replay,
            run_url_secret,
        ],
        dependencies={"master": Provide(_master, sync_to_thread=False)},
        opt=requires("viewer"),
        tags=["webhooks"],
    )
]
