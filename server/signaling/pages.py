"""The web client's files, and the headers that every answer carries."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

WEB_CLIENT = Path(__file__).parents[2] / "web_client"
#: Pages by path; each is one file of the web client.
PAGES = {
    "/": "index.html",
    "/join": "join.html",
    "/interview": "interview.html",
    "/observe": "observe.html",
    "/recordings": "recordings.html",
    "/viewings": "viewings.html",
}
ASSETS = "/assets"
#: Pages are asked for each time. What they are made of has an address that names its version, so
#: that a new one is seen at once, and as one, and what is known is asked for no more (RFC 8246).
REVALIDATE = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"

#: Scripts and styles are files of this server, nothing else is loaded from anywhere (CSP 3).
#: `blob:` is what a MediaSource is attached by (Media Source Extensions).
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "media-src 'self' blob:",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), "
    "autoplay=(self), geolocation=(), payment=(), usb=()",
}


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: every answer, errors and files included."""
    response.headers.update(HEADERS)
    response.headers.popall("Server", None)  # says which versions to attack


@dataclass(frozen=True, slots=True)
class _File:
    content_type: str
    body: bytes
    zipped: bytes

    @classmethod
    def of(cls, content_type: str, body: bytes) -> "_File":
        return cls(content_type, body, gzip.compress(body))

    def answer(self, request: web.Request, cache_control: str) -> web.Response:
        headers = {"Cache-Control": cache_control, "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.body, content_type=self.content_type, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=self.zipped, content_type=self.content_type, headers=headers)


class Pages:
    """The web client, read once: what a person gets is of one version, whenever they come."""

    def __init__(self) -> None:
        paths = sorted((WEB_CLIENT / "assets").iterdir())
        self._assets = {path.name: _File.of(_type(path), path.read_bytes()) for path in paths}
        digest = hashlib.sha256()
        for name, file in self._assets.items():
            digest.update(b"%b %d %b" % (name.encode(), len(file.body), file.body))
        self.version = digest.hexdigest()[:16]
        self._pages = {path: self._page(WEB_CLIENT / name) for path, name in PAGES.items()}

    def _page(self, path: Path) -> _File:
        text = path.read_text().replace(f'"{ASSETS}/', f'"{ASSETS}/{self.version}/')
        return _File.of("text/html", text.encode())

    async def page(self, request: web.Request) -> web.Response:
        """One of PAGES, which names the assets by their version."""
        return self._pages[request.path].answer(request, REVALIDATE)

    async def asset(self, request: web.Request) -> web.Response:
        """A module, style or picture. A page of another version gets what there is now."""
        file = self._assets.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        now = request.match_info["version"] == self.version
        return file.answer(request, IMMUTABLE if now else REVALIDATE)

    def add_assets(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ASSETS}/{{version}}/{{name}}", self.asset)


def _type(path: Path) -> str:
    # RFC 9239 6; systems' tables differ about it.
    return "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0] or ""
