"""What holds for every answer: who may ask, how large a body may be, what is stored and packed. No route's work.

Headers are added as an answer is about to be sent, so that refusals have them too.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, urlsplit

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Sign = Callable[[web.Request, web.StreamResponse], Awaitable[None]]
NEVER_STORED = (".js", ".css")
PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
A_DAY, AN_HOUR = "public, max-age=86400", "public, max-age=3600"
STORED_STATUS = dict.fromkeys((200, 201, 202, 203, 204, 205, 206, 301, 308), A_DAY) | {
    404: AN_HOUR,
    302: "no-cache",
    303: "no-cache",
    307: "no-cache",
}
PACKED = {"application/json", "text/plain"}


def middlewares(cors_origin: str | None, compress: bool) -> list[Middleware]:
    """The rules in the order in which they are asked."""
    return [_open if cors_origin else _guarded, *([_pack] if compress else [])]


def signs(cors_origin: str | None) -> list[Sign]:
    """What is added to each answer as it is sent."""
    return [_cors(cors_origin), _store] if cors_origin else [_store]


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page of another site must not reach a server on this machine through the user's browser."""
    host, origin = request.headers.get(hdrs.HOST), request.headers.get(hdrs.ORIGIN)
    if host and origin and _is_loopback(host) and not _same_place(host, origin):
        return web.Response(status=403)
    return await _open(request, handler)


@web.middleware
async def _open(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A body that says it is too large is refused before it is read, and one that cannot be unpacked is a bad request.

    There is no file of a name that no file system takes.
    """
    if request.method == hdrs.METH_OPTIONS:
        return web.Response()
    most = request.client_max_size
    if request.content_length is not None and request.content_length > most:
        raise too_large(most, request.content_length)
    try:
        return await handler(request)
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise web.HTTPBadRequest(text="The body cannot be read") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise web.HTTPNotFound from error


def _same_place(host: str, origin: str) -> bool:
    said = _split(origin)
    return said is not None and said.netloc.lower() == host.lower()


def _is_loopback(host: str) -> bool:
    said = _split(f"//{host}")
    name = (said.hostname if said is not None else None) or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def too_large(most: int, actual: int) -> web.HTTPRequestEntityTooLarge:
    """413, with the limit in words."""
    text = f"Maximum request body size {most} exceeded; --max-upload-size sets it."
    return web.HTTPRequestEntityTooLarge(most, actual, text=text)


@web.middleware
async def _pack(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gzip JSON and text for those who take it."""
    answer = await handler(request)
    if isinstance(answer, web.Response) and answer.content_type in PACKED and answer.body and _takes_gzip(request):
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


def _takes_gzip(request: web.Request) -> bool:
    for offer in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        coding, _, weight = offer.replace(" ", "").lower().partition(";q=")
        if coding == "gzip":
            return weight not in ("0", "0.0", "0.00", "0.000")
    return False


def _cors(origin: str) -> Sign:
    """Let pages of this origin in."""

    async def allow(request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "POST, GET, DELETE, PUT, OPTIONS"
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Content-Type, Authorization"
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    return allow


async def _store(request: web.Request, answer: web.StreamResponse) -> None:
    """How long a browser may keep what it got, by the name it asked for; what a handler said stands."""
    path = request.path.lower()
    name = path.rpartition("/")[2]
    if path.endswith(NEVER_STORED) or (name.startswith("index") and name.endswith(".json")):
        answer.headers.setdefault(hdrs.CACHE_CONTROL, "no-cache")
    elif path.endswith(PICTURES) and answer.status in STORED_STATUS:
        answer.headers.setdefault(hdrs.CACHE_CONTROL, STORED_STATUS[answer.status])
