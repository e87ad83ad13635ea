"""The web client's files, and the headers that every answer carries."""

import base64
import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from server.signaling import scripts

WEB_CLIENT = Path(__file__).parents[2] / "web_client"
_FOLDER = WEB_CLIENT / "assets"
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

#: A page's scripts. One with `data-inline` is put into the page itself: it connects, and begins
#: before anything else is asked for.
_SCRIPT = re.compile(r'<script type="module" src="/assets/(\w+\.js)"( data-inline)?></script>')

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
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)  # says which versions to attack


@dataclass(frozen=True, slots=True)
class _File:
    content_type: str
    body: bytes
    zipped: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, content_type: str, body: bytes, **headers: str) -> "_File":
        return cls(content_type, body, gzip.compress(body), headers)

    def answer(self, request: web.Request, cache_control: str) -> web.Response:
        headers = {"Cache-Control": cache_control, "Vary": "Accept-Encoding", **self.headers}
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.body, content_type=self.content_type, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=self.zipped, content_type=self.content_type, headers=headers)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page and its scripts, each of which has what those before it do not."""

    text: str
    inline: list[str]
    scripts: dict[str, bytes]  #: by the names of their assets

    @classmethod
    def of(cls, path: Path) -> "_Page":
        known, inline, files = set[str](), list[str](), dict[str, bytes]()

        def place(found: re.Match[str]) -> str:
            entry, is_inline = found.groups()
            names = [name for name in scripts.modules_of(entry, _module) if name not in known]
            known.update(names)
            script = scripts.joined(names, _module)
            if not is_inline:
                files[entry] = script.encode()
                return found[0]
            scripts.check_inline(script)
            inline.append(script)
            return f"<script>{script}</script>"

        return cls(_SCRIPT.sub(place, path.read_text()), inline, files)

    def file(self, version: str) -> _File:
        text = self.text.replace(f'"{ASSETS}/', f'"{ASSETS}/{version}/')
        return _File.of("text/html", text.encode(), **_policy(self.inline))


class Pages:
    """The web client, read once: what a person gets is of one version, whenever they come."""

    def __init__(self) -> None:
        pages = {path: _Page.of(WEB_CLIENT / name) for path, name in PAGES.items()}
        paths = [path for path in sorted(_FOLDER.iterdir()) if path.suffix != ".js"]
        bodies = {path.name: path.read_bytes() for path in paths}
        for page in pages.values():
            bodies.update(page.scripts)
        digest = hashlib.sha256()
        for name, body in bodies.items():
            digest.update(b"%b %d %b" % (name.encode(), len(body), body))
        self.version = digest.hexdigest()[:16]
        self._assets = {name: _File.of(_type(name), body) for name, body in bodies.items()}
        self._pages = {path: page.file(self.version) for path, page in pages.items()}

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


def _module(name: str) -> str:
    return (_FOLDER / name).read_text()


def _policy(inline: list[str]) -> dict[str, str]:
    """The header of a page with these scripts in it, and with no other (CSP 3, 6.7.2.3)."""
    if not inline:
        return {}
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inline)
    named = " ".join(f"'sha256-{each}'" for each in hashes)
    return {"Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; script-src 'self' {named}"}


def _type(name: str) -> str:
    # RFC 9239 6; systems' tables differ about it.
    return "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or ""
