"""Logging in by an OpenID provider: the whole way, against the real server and a provider in a process of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from tests.wire.conftest import Orchestrator, start_orchestrator
from tests.wire.sign_on import DOMAIN, is_at_provider, provider_process

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a provider, which is its issuer."""
    with provider_process(tmp_path_factory.mktemp("provider")) as url:
        yield url


@pytest.fixture(scope="module")
def orchestrator(
    tmp_path_factory: pytest.TempPathFactory, module_database_url: str, provider: str
) -> Iterator[Orchestrator]:
    """A server whose people of one domain may join as developers."""
    running = start_orchestrator(
        tmp_path_factory.mktemp("orchestrator"),
        module_database_url,
        oidc_issuer=provider,
        oidc_client_id="comfyfleet",
        oidc_client_secret="a secret",
        oidc_domains=DOMAIN,
        oidc_role="developer",
        oidc_label="Log in with Example",
        oidc_private="true",
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def browser(orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies, follows nothing by itself."""
    async with httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as client:
        yield client


@pytest.fixture
async def database(orchestrator: Orchestrator) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the server's database."""
    connection = await asyncpg.connect(orchestrator.database_url)
    yield connection
    await connection.close()


async def _depart(browser: httpx.AsyncClient, target: str = "/") -> str:
    answer = await browser.get("/login/oidc", params={"next_page": target})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def _consent(address: str, subject: str) -> str:
    """Log in at the provider: the address to which it sends the browser back."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(address, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


async def _sign_on(browser: httpx.AsyncClient, subject: str, target: str = "/") -> httpx.Response:
    return await browser.get(await _consent(await _depart(browser, target), subject))


def _changed(address: str, **query: str) -> str:
    parts = urlsplit(address)
    known = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return urlunsplit(parts._replace(query=urlencode({**known, **query})))


def _refused(answer: httpx.Response, status: int, words: str) -> None:
    """The form with the reason: no login, and nothing that the provider gave."""
    assert answer.status_code == status, answer.text
    assert words in unescape(answer.text), answer.text
    assert "cf_session" not in answer.headers.get("set-cookie", "")
    assert "eyJ" not in answer.text


async def _me(browser: httpx.AsyncClient) -> dict[str, Any]:
    answer = await browser.get("/api/v1/auth/me")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_person_of_the_domain_joins_and_comes_back_as_the_same_user(browser, provider, api, orchestrator):
    """The way there has PKCE, state and nonce; the first login makes a user, later ones find it by its subject."""
    await is_at_provider(provider, "anna")
    there = await _depart(browser, "/machines?x=1")
    asked = parse_qs(urlsplit(there).query)
    assert there.startswith(f"{provider}/oauth2/authorize?")
    assert asked["code_challenge_method"] == ["S256"]
    assert all(len(asked[name][0]) >= 32 for name in ("state", "nonce", "code_challenge"))
    back = await browser.get(await _consent(there, "anna"))
    assert (back.status_code, back.headers["location"]) == (303, "/machines?x=1")
    first = await _me(browser)
    assert (first["email"], first["role"], first["organisation"]) == ("anna@example.org", "developer", "default")
    assert (await browser.get("/machines")).status_code == 200
    # the address at the provider changes, the subject does not
    await is_at_provider(provider, "anna", email="anna.new@example.org")
    async with httpx.AsyncClient(base_url=orchestrator.url) as other:
        assert (await _sign_on(other, "anna")).status_code == 303
        assert (await _me(other))["user_id"] == first["user_id"]
    entries = (await api.get("/api/v1/audit", params={"actor": f"user:{first['user_id']}"})).json()["items"]
    told = [(entry["action"], entry["detail"].get("issuer")) for entry in reversed(entries)]
    assert told == [("member.join", provider), ("session.open", provider), ("session.open", provider)]


async def test_the_login_is_a_login_like_any_other(browser, provider, orchestrator):
    """Its cookie is renewed by its refresh token once, and logging out ends it."""
    await is_at_provider(provider, "berta")
    assert (await _sign_on(browser, "berta")).status_code == 303
    held = dict(browser.cookies)
    assert {"cf_session", "cf_refresh"} == set(held)
    browser.cookies.delete("cf_session")
    renewed = await browser.get("/dashboard-session/renew", params={"next_page": "/runs"})
    assert (renewed.status_code, renewed.headers["location"]) == (303, "/runs")
    assert browser.cookies["cf_refresh"] != held["cf_refresh"]
    await browser.post("/logout", headers={"Origin": orchestrator.url})
    answer = await browser.get("/api/v1/auth/me", headers={"Cookie": f"cf_session={held['cf_session']}"})
    assert answer.status_code == 401


async def test_somebody_who_is_a_member_is_linked_and_stays_what_they_are(browser, provider, api, database):
    """By the verified address: role and password are kept, and no second user is made."""
    invited = await api.post("/api/v1/invitations", json={"email": "carla@example.org", "role": "admin"})
    body = {"token": invited.json()["token"], "password": "carla's password"}
    assert (await browser.post("/api/v1/auth/accept-invitation", json=body)).status_code == 200
    await is_at_provider(provider, "carla", email="CARLA@example.org")
    assert (await _sign_on(browser, "carla")).status_code == 303
    assert (await _me(browser))["role"] == "admin"
    by_password = {"email": "carla@example.org", "password": "carla's password"}
    assert (await browser.post("/api/v1/auth/login", json=by_password)).status_code == 200
    assert await database.fetchval("select count(*) from users where email like 'carla%'") == 1
    # another subject with her address is somebody else
    await is_at_provider(provider, "thief", email="carla@example.org")
    _refused(await _sign_on(browser, "thief"), 403, "another account of the provider")


async def test_an_invitation_is_accepted_by_logging_in(browser, provider, api):
    """With the role that it names, not with the one of the domain."""
    made = (await api.post("/api/v1/invitations", json={"email": "dora@example.org", "role": "viewer"})).json()
    await is_at_provider(provider, "dora")
    assert (await _sign_on(browser, "dora")).status_code == 303
    assert (await _me(browser))["role"] == "viewer"
    known = (await api.get("/api/v1/invitations")).json()["items"]
    assert next(one for one in known if one["id"] == made["id"])["accepted_at"]
    body = {"token": made["token"], "password": "a longer password"}
    assert (await browser.post("/api/v1/auth/accept-invitation", json=body)).status_code == 410


async def test_a_removed_member_who_is_invited_again_has_no_old_password(browser, provider, api):
    """Whoever once knew the password of an account without an organisation does not share it."""
    invited = (await api.post("/api/v1/invitations", json={"email": "emil@example.org", "role": "viewer"})).json()
    body = {"token": invited["token"], "password": "emil's password"}
    tokens = (await browser.post("/api/v1/auth/accept-invitation", json=body)).json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    user = (await browser.get("/api/v1/auth/me", headers=bearer)).json()["user_id"]
    assert (await api.delete(f"/api/v1/members/{user}")).status_code == 204
    await is_at_provider(provider, "emil")
    assert (await _sign_on(browser, "emil")).status_code == 303
    assert (await _me(browser))["user_id"] == user
    by_password = {"email": "emil@example.org", "password": "emil's password"}
    assert (await browser.post("/api/v1/auth/login", json=by_password)).status_code == 401


async def test_a_state_that_is_not_this_browsers_is_refused(browser, provider, orchestrator):
    """Another state, another browser's answer, none at all, and a cookie that was changed."""
    await is_at_provider(provider, "franz")
    back = await _consent(await _depart(browser), "franz")
    _refused(await browser.get(_changed(back, state="x" * 32)), 401, "by somebody else")
    async with httpx.AsyncClient(base_url=orchestrator.url) as other:
        _refused(await other.get(back), 401, "not begun here")
        theirs = await _consent(await _depart(other), "franz")
    await _depart(browser)
    _refused(await browser.get(theirs), 401, "by somebody else")
    await _depart(browser)
    cookie = browser.cookies["cf_sign_on"]
    browser.cookies.clear()
    forged = {"Cookie": f"cf_sign_on={cookie[:-3]}{'AAA' if cookie[-3:] != 'AAA' else 'BBB'}"}
    _refused(await browser.get(back, headers=forged), 401, "not begun here")


async def test_a_code_works_once(browser, provider, orchestrator):
    """Sent again with the same cookie, it opens no second login; a code that nobody gave opens none."""
    await is_at_provider(provider, "gerda")
    back = await _consent(await _depart(browser), "gerda")
    held = {"Cookie": f"cf_sign_on={browser.cookies['cf_sign_on']}"}
    assert (await browser.get(back)).status_code == 303
    async with httpx.AsyncClient(base_url=orchestrator.url) as other:
        _refused(await other.get(back, headers=held), 401, "did not accept")
        there = await _depart(other)
        state = parse_qs(urlsplit(there).query)["state"][0]
        made_up = f"/login/oidc/callback?{urlencode({'code': 'made up', 'state': state})}"
        _refused(await other.get(made_up), 401, "did not accept")


async def test_a_code_is_worth_nothing_without_its_verifier(browser, provider, orchestrator):
    """Whoever catches a code cannot bring it into a login of their own: the provider asks for the verifier."""
    await is_at_provider(provider, "hanna")
    caught = parse_qs(urlsplit(await _consent(await _depart(browser), "hanna")).query)["code"][0]
    async with httpx.AsyncClient(base_url=orchestrator.url) as thief:
        own = parse_qs(urlsplit(await _depart(thief)).query)["state"][0]
        answer = await thief.get("/login/oidc/callback", params={"code": caught, "state": own})
    _refused(answer, 401, "did not accept")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"nonce": "another login's"}, "of another login"),
        ({"aud": "another-client"}, "not valid"),
        ({"aud": ["comfyfleet", "another-client"]}, "not for this installation"),
        ({"azp": "another-client"}, "not for this installation"),
        ({"iss": "https://evil.example.org"}, "not valid"),
        ({"exp": 1_700_000_000}, "not valid"),
        ({"exp": "soon"}, "not valid"),
        ({"iat": 4_000_000_000}, "not valid"),
    ],
)
async def test_a_token_that_is_not_for_this_login_is_refused(browser, provider, claims, words):
    """Its nonce, audience, party, issuer and times are looked at, though its signature is right."""
    await is_at_provider(provider, "ida", **claims)
    _refused(await _sign_on(browser, "ida"), 401, words)


async def test_keys_may_change_but_not_be_anybodys(browser, provider):
    """A token under a new key that the provider shows is accepted at once; one under a key it does not show is not."""
    await is_at_provider(provider, "jan")
    assert (await _sign_on(browser, "jan")).status_code == 303
    async with httpx.AsyncClient(base_url=provider) as client:
        await client.post("/test/keys", json={"publish": False})
        _refused(await _sign_on(browser, "jan"), 401, "not the provider's")
        await client.post("/test/keys", json={"publish": True})
    # keys are fetched afresh for an unknown one, but not for every token that somebody makes up
    deadline = time.monotonic() + 20
    while (answer := await _sign_on(browser, "jan")).status_code != 303:
        assert time.monotonic() < deadline, answer.text


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"email_verified": False}, "not verified"),
        ({"email": "karl@evil.example.com"}, "e-mail domain"),
        ({"email": "no address"}, "did not tell"),
    ],
)
async def test_only_verified_addresses_of_the_domain_come_in(browser, provider, database, claims, words):
    """The reason is told, and no user is left behind."""
    await is_at_provider(provider, "karl", **claims)
    _refused(await _sign_on(browser, "karl"), 403, words)
    assert await database.fetchval("select count(*) from users where email like 'karl%'") == 0


async def test_a_disabled_user_stays_outside(browser, provider, database):
    """Though the provider vouches for them."""
    await is_at_provider(provider, "lena")
    assert (await _sign_on(browser, "lena")).status_code == 303
    await database.execute("update users set disabled_at = now() where email = 'lena@example.org'")
    _refused(await _sign_on(browser, "lena"), 403, "disabled")


async def test_an_address_that_is_told_on_asking_only_is_asked_for(browser, provider):
    """As OpenID Connect has it for this flow: claims may stand in the userinfo alone."""
    await is_at_provider(provider, "maria", only_on_asking=True)
    assert (await _sign_on(browser, "maria")).status_code == 303
    assert (await _me(browser))["email"] == "maria@example.org"


async def test_whoever_declines_is_told_so(browser):
    """The provider's error is not shown as it came."""
    state = parse_qs(urlsplit(await _depart(browser)).query)["state"][0]
    answer = await browser.get("/login/oidc/callback", params={"error": "access_denied", "state": state})
    _refused(answer, 401, "declined")
    state = parse_qs(urlsplit(await _depart(browser)).query)["state"][0]
    answer = await browser.get("/login/oidc/callback", params={"error": "<script>", "state": state})
    _refused(answer, 401, "reports an error")
    assert "<script>" not in answer.text.partition("role=")[2]


async def test_the_way_back_leads_to_a_page_of_ours_only(browser, provider):
    """Another site as the next page is the overview instead."""
    await is_at_provider(provider, "nina")
    answer = await _sign_on(browser, "nina", "//evil.example.org/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_two_first_logins_at_once_make_one_user(provider, orchestrator, database):
    """Both come in, as the same user."""
    await is_at_provider(provider, "otto")
    async with (
        httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as one,
        httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as two,
    ):
        backs = [await _consent(await _depart(each), "otto") for each in (one, two)]
        answers = await asyncio.gather(one.get(backs[0]), two.get(backs[1]))
    assert [answer.status_code for answer in answers] == [303, 303]
    assert await database.fetchval("select count(*) from users where email = 'otto@example.org'") == 1


async def test_the_button_is_there_and_the_log_tells_no_secret(browser, orchestrator):
    """The form leads to the provider; what the provider gave is in no line of the log."""
    page = (await browser.get("/login", params={"next_page": "/runs"})).text
    assert "Log in with Example" in page
    assert 'href="/login/oidc?next_page=%2Fruns"' in page
    lines = (orchestrator.data / "orchestrator.log").read_text()
    assert any(json.loads(line)["event"] == "sign-on refused" for line in lines.splitlines() if line[:1] == "{")
    assert "eyJ" not in lines
    assert "a secret" not in lines
