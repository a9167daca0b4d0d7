"""What Schemathesis is not told by the document: how to log in. Loaded by its command."""

from __future__ import annotations

import json
import os
from http.client import HTTPConnection
from urllib.parse import urlsplit

import schemathesis

ASIDE = ("127.0.0.2", 0)
"""Another address than the tests': they try logins until theirs has to wait."""


@schemathesis.auth(refresh_interval=3)
class Login:
    """A login of the owner, made anew every few seconds, since the tests end sessions and delete keys."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        """An access token."""
        body = json.dumps({"email": os.environ["FLEET_EMAIL"], "password": os.environ["FLEET_PASSWORD"]})
        where = urlsplit(os.environ["FLEET_ADDRESS"])
        line = HTTPConnection(where.hostname or "", where.port, timeout=20, source_address=ASIDE)
        try:
            line.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
            return str(json.load(line.getresponse())["access_token"])
        finally:
            line.close()

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        """Send it with the request."""
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"
