"""The dashboard's door: log in by password or by a provider, log out, and the quiet renewal of a login that ran out.

Two cookies, both HttpOnly and SameSite=Lax: `cf_session` goes with every request; `cf_refresh` only to RENEW, where it
is traded for a new pair. A third lives while somebody is away at the provider. It knows no page and no SQL.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from orchestrator.auth import (
    COOKIE,
    LIMITED,
    PUBLIC,
    SESSION_COOKIE_S,
    Authenticator,
    Principal,
    address_of,
    cookie_is_secure,
)
from orchestrator.config import Config
from orchestrator.dashboard.desk import local_path, page
from orchestrator.errors import ApiProblem, Forbidden, NotFound, TooMany, Unauthorized
from orchestrator.live import sign_on as signing_on
from orchestrator.live.sign_on import Arrival, SignOn
from orchestrator.wire import Tokens

REFRESH_COOKIE: Final = "cf_refresh"
WRONG: Final = "The e-mail address or the password is wrong."
RENEW: Final = "/dashboard-session"
OPTIONAL: Final[dict[str, Any]] = {**PUBLIC, "optional_principal": True}
AnyRequest = Request[Any, Any, State]


def same_origin(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A guard for forms: the browser must say that one of our own pages sent it. Raises Forbidden."""
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin", "").rstrip("/")
    config: Config = connection.app.state.config
    own = {f"{connection.url.scheme}://{connection.headers.get('host', '')}", config.base_url}
    if site != "same-origin" and (site is not None or origin not in own):
        raise Forbidden("This form was not sent by a page of this dashboard. Open the page again.", code="cross_site")


@get("/login", opt=PUBLIC, include_in_schema=False)
async def login_page(config: Config, next_page: str = "/", email: str = "") -> Template:
    """The form."""
    return _form(config, 200, local_path(next_page), email)


def _form(config: Config, status: int, target: str, email: str = "", error: str = "") -> Template:
    button = config.oidc_label if signing_on.is_on(config) else ""
    away = f"/login/oidc?next_page={quote(target, safe='')}"
    return page(config, "login", status, next=target, email=email, error=error, button=button, away=away)


@post("/login", opt=PUBLIC, guards=[same_origin], status_code=200, include_in_schema=False)
async def login(request: AnyRequest, config: Config, auth: Authenticator) -> Response[Any]:
    """Open a login and set its cookies, or show the form again with the reason."""
    form = await request.form()
    email, password = str(form.get("email", "")), str(form.get("password", ""))
    target = local_path(str(form.get("next", "/")))
    agent = request.headers.get("user-agent", "")[:500]
    try:
        tokens = await auth.login(email, password, None, address_of(request.scope), agent)
    except Unauthorized:
        return _form(config, 401, target, email, WRONG)
    except TooMany as error:
        wait = f"Too many attempts. Try again in {max(1, round(error.retry_after_s or 1))} s."
        return _form(config, 429, target, email, wait)
    return Redirect(target, status_code=303, cookies=cookies(config, auth, tokens))


@get("/login/oidc", opt=LIMITED, status_code=303, include_in_schema=False)
async def to_provider(config: Config, sign_on: SignOn, next_page: str = "/") -> Response[Any]:
    """Send the browser to the OpenID provider."""
    if not signing_on.is_on(config):
        raise NotFound("Single sign-on is not set up here.")
    target = local_path(next_page)
    try:
        departure = await sign_on.depart(target)
    except ApiProblem as problem:
        return _form(config, problem.status, target, error=problem.detail)
    cookie = _cookie(config, signing_on.COOKIE, departure.cookie, signing_on.CALLBACK, signing_on.FLOW_S)
    return Redirect(departure.url, status_code=303, cookies=[cookie])


@get(signing_on.CALLBACK, opt=LIMITED, status_code=303, include_in_schema=False)
async def from_provider(
    request: AnyRequest,
    config: Config,
    auth: Authenticator,
    sign_on: SignOn,
    code: str = "",
    returned: Annotated[str, QueryParameter(name="state")] = "",
    error: str = "",
    iss: str = "",
) -> Response[Any]:
    """The browser comes back: open a login and set its cookies, or show the form with the reason."""
    if not signing_on.is_on(config):
        raise NotFound("Single sign-on is not set up here.")
    held, agent = request.cookies.get(signing_on.COOKIE, ""), request.headers.get("user-agent", "")[:500]
    used = _cookie(config, signing_on.COOKIE, "", signing_on.CALLBACK, 0)
    try:
        tokens, target = await sign_on.arrive(Arrival(code, returned, error, iss), held, agent)
    except ApiProblem as problem:
        form = _form(config, problem.status, "/", error=problem.detail)
        form.cookies.append(used)
        return form
    return Redirect(target, status_code=303, cookies=[*cookies(config, auth, tokens), used])


def cookies(config: Config, auth: Authenticator, tokens: Tokens) -> list[Cookie]:
    """Both cookies of a login."""
    return [
        _cookie(config, COOKIE, auth.session_cookie(tokens.access_token), "/", SESSION_COOKIE_S),
        _cookie(config, REFRESH_COOKIE, tokens.refresh_token, RENEW, config.refresh_token_s),
    ]


def _cookie(config: Config, name: str, value: str, path: str, max_age: int) -> Cookie:
    secure = cookie_is_secure(config)
    return Cookie(name, value=value, path=path, max_age=max_age, httponly=True, secure=secure, samesite="lax")


def _no_cookies(config: Config) -> list[Cookie]:
    return [_cookie(config, COOKIE, "", "/", 0), _cookie(config, REFRESH_COOKIE, "", RENEW, 0)]


@post("/logout", opt=OPTIONAL, guards=[same_origin], status_code=303, include_in_schema=False)
async def logout(config: Config, auth: Authenticator, principal: Principal | None) -> Redirect:
    """End the login everywhere and forget its cookies."""
    if principal is not None and principal.session_id is not None:
        await auth.close(principal.session_id)
    return Redirect("/login", status_code=303, cookies=_no_cookies(config))


@get(f"{RENEW}/renew", opt=OPTIONAL, status_code=303, include_in_schema=False)
async def renew_and_return(
    request: AnyRequest, config: Config, auth: Authenticator, principal: Principal | None, next_page: str = "/"
) -> Redirect:
    """A page met no valid cookie: trade the refresh token and go back there, or to the door."""
    target = local_path(next_page)
    if principal is not None:
        return Redirect(target, status_code=303)
    try:
        fresh = await _renewed(request, config, auth)
    except Unauthorized:
        return Redirect(door(target), status_code=303, cookies=_no_cookies(config))
    return Redirect(target, status_code=303, cookies=fresh)


@post(f"{RENEW}/renew", opt=OPTIONAL, guards=[same_origin], status_code=204, include_in_schema=False)
async def renew(
    request: AnyRequest, config: Config, auth: Authenticator, principal: Principal | None
) -> Response[None]:
    """The same for a page's script: 204, or 401 when only a new login helps. A login that still holds is kept."""
    if principal is not None:
        return Response(None, status_code=204)
    try:
        fresh = await _renewed(request, config, auth)
    except Unauthorized:
        return Response(None, status_code=401)
    return Response(None, status_code=204, cookies=fresh)


async def _renewed(request: AnyRequest, config: Config, auth: Authenticator) -> list[Cookie]:
    held = request.cookies.get(REFRESH_COOKIE, "")
    if not held:
        raise Unauthorized("there is no refresh token")
    return cookies(config, auth, await auth.refresh(held))


def door(target: str) -> str:
    """The login form's address, which leads back to target."""
    return "/login" if target == "/" else f"/login?next_page={quote(target, safe='')}"


def renewal(target: str) -> str:
    """Where a request without a valid cookie is sent first."""
    return f"{RENEW}/renew?next_page={quote(target, safe='')}"


handlers: Final = [login_page, login, to_provider, from_provider, logout, renew_and_return, renew]
