"""The routes that ask for no role and scope, and why: what they ask for instead, or whom they concern.

The inventory of routes shows these reasons, and the permission matrix refuses a route that has neither.
"""

from __future__ import annotations

from typing import Final

PUBLIC: Final = {
    "GET /health/live": "says that the process lives",
    "GET /health/ready": "says that the database answers",
    "GET /openapi.json": "the description of the API",
    "POST /api/v1/auth/login": "asks for a password",
    "POST /api/v1/auth/refresh": "asks for a refresh token",
    "POST /api/v1/auth/logout": "asks for a refresh token",
    "POST /api/v1/auth/accept-invitation": "asks for the one-time token of an invitation",
    "POST /api/v1/agent/enrol": "asks for a one-time token",
    "WS /api/v1/agent/link": "asks for an agent's credential",
    "POST /api/update-run": "asks for the token of an attempt",
    "POST /api/upload-grants": "asks for the token of an attempt",
    "PUT /files/upload/{file_id}": "asks for a signed URL",
    "GET /api/file-upload": "asks for the token of an attempt",
    "PUT /api/file-upload/{attempt_id}/{file_id}/{name}": "asks for a signed URL",
    "PUT /api/upload-url/{organisation_id}/{file_id}/{name}": "asks for a signed URL",
    "GET /api/auth-response/{request_id}": "asks for the id of a request that was granted, once",
    "GET /api/platform/comfyui/auth-response": "asks for the id of a request that was granted, once",
    "GET /auth-request/{request_id}": "shows its form to a login only",
    "GET /auth/request/{request_id}": "shows its form to a login only",
    "GET /api/v2/health": "says that the process lives",
    "GET /comfy": "says where the front end is",
    "GET /comfy/enter": "asks for the code of a link",
    "GET /comfy/{file}": "files of the front end, a published program",
    "GET /files/{file_id}/{name}": "asks for a signed URL",
    "GET /api/v1/shares/{slug}": "a public link is for anyone where that is allowed, a private one asks for a login",
    "GET /api/share/{username}/{slug}": "the same",
    "POST /api/v1/shares/{slug}/runs": "the same, so many an hour",
    "GET /api/v1/shares/{slug}/runs/{run_id}": "the same, and asks for the token of the run",
    "HEAD /files/{file_id}/{name}": "asks for a signed URL",
    "GET /dashboard/static/{file_path}": "style and scripts",
    "HEAD /dashboard/static/{file_path}": "style and scripts",
    "GET /login": "the form",
    "POST /login": "asks for a password",
    "GET /login/oidc": "leads to the OpenID provider",
    "GET /login/oidc/callback": "asks for a code of the OpenID provider, once",
    "POST /logout": "ends the login whose cookie it is given",
    "GET /dashboard-session/renew": "asks for a refresh token",
    "POST /dashboard-session/renew": "asks for a refresh token",
}
"""Routes that need no credential of a user, and what protects them."""

ANY_CREDENTIAL: Final = {
    "GET /api/v1/auth/me": "tells a credential about itself",
    "POST /api/v1/auth/password": "changes the caller's own",
    "GET /api/v1/auth/sessions": "lists the caller's own",
    "DELETE /api/v1/auth/sessions/{session_id}": "ends the caller's own",
}
"""Routes that every valid credential may use, whatever its role and scopes."""
