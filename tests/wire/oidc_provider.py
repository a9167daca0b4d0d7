"""An OpenID provider in a process of its own: `oidc-provider-mock`, which holds us to PKCE here, and can misbehave.

    python tests/wire/oidc_provider.py PORT

POST /test/keys with {"publish": bool} makes it sign with a new key, which its key set shows only when told to. Claims
of a user that the ID token has by itself (nonce, aud, exp ...) take the place of the true ones; those of a user with
the claim only_on_asking stand in the userinfo alone.
"""

from __future__ import annotations

import os
import sys
import warnings

warnings.simplefilter("ignore")

import flask  # noqa: E402
import uvicorn  # noqa: E402
from authlib import jose  # noqa: E402
from authlib.oauth2.rfc7636 import CodeChallenge  # noqa: E402
from oidc_provider_mock import _app, _storage, app  # noqa: E402

CHALLENGES: dict[str, str] = {}
PUBLISHED: list[jose.RSAKey] = []


class Challenge(CodeChallenge):
    """PKCE with S256 and nothing else."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012

    def get_authorization_code_challenge(self, authorization_code):
        return CHALLENGES.pop(authorization_code.code)

    def get_authorization_code_challenge_method(self, authorization_code):
        return "S256"


class Grant(_app.AuthorizationCodeGrant):
    """The provider's own, which keeps the challenge of a code and takes clients without a secret."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]  # noqa: RUF012

    def save_authorization_code(self, code, request):
        CHALLENGES[code] = request.payload.data["code_challenge"]
        super().save_authorization_code(code, request)


class Code(_app.OpenIDCode):
    """The provider's own, whose tokens name their key."""

    def get_jwt_config(self, grant, client=None):
        config = super().get_jwt_config(grant, client)
        return {**config, "kid": _storage.storage.jwk.thumbprint()}

    def generate_user_info(self, user, scope):
        told = super().generate_user_info(user, scope)
        return {"sub": told["sub"]} if "only_on_asking" in told else told


def keys():
    """Every key that was published, by its id."""
    shown = PUBLISHED or [_storage.storage.jwk]
    return flask.jsonify({"keys": [{**key.as_dict(), "kid": key.thumbprint(), "use": "sig"} for key in shown]})


def new_key():
    """Sign with another key from now on."""
    storage = _storage.storage
    if not PUBLISHED:
        PUBLISHED.append(storage.jwk)
    storage.jwk = jose.RSAKey.generate_key(is_private=True)
    if flask.request.json["publish"]:
        PUBLISHED.append(storage.jwk)
    return "", 204


def main() -> None:
    """Serve until stopped."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    _app.AuthorizationCodeGrant = Grant
    _app.OpenIDCode = _with_pkce
    server = app()
    server.view_functions["oidc-provider-mock.jwks"] = keys
    server.add_url_rule("/test/keys", view_func=new_key, methods=["POST"])
    uvicorn.run(server, interface="wsgi", host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


def _with_pkce(**options):
    both = (Code(**options), Challenge(required=True))

    def extend(grant):
        for each in both:
            each(grant)

    return extend


if __name__ == "__main__":
    main()
