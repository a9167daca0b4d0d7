"""What Schemathesis is not told by the document: how to log in. Loaded by its command."""

from __future__ import annotations

import json
import os
import urllib.request

import schemathesis


@schemathesis.auth(refresh_interval=3)
class Login:
    """A login of the owner, made anew every few seconds, since the tests end sessions and delete keys."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        """An access token."""
        body = {"email": os.environ["FLEET_EMAIL"], "password": os.environ["FLEET_PASSWORD"]}
        request = urllib.request.Request(
            f"{os.environ['FLEET_ADDRESS']}/api/v1/auth/login",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(json.load(answer)["access_token"])

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        """Send it with the request."""
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"
