"""The web client's files, and the headers that every answer carries."""

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
}
ASSETS = "/assets"
#: A new version of a page and its modules is seen at once, and as one.
REVALIDATE = "no-cache"

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


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: every answer, errors and files included."""
    response.headers.update(HEADERS)
    if request.path.startswith(f"{ASSETS}/"):
        response.headers.setdefault("Cache-Control", REVALIDATE)
    response.headers.popall("Server", None)  # says which versions to attack


async def page(request: web.Request) -> web.StreamResponse:
    """One of PAGES."""
    path = WEB_CLIENT / PAGES[request.path]
    return web.FileResponse(path, headers={"Cache-Control": REVALIDATE})


def add_assets(router: web.UrlDispatcher) -> None:
    router.add_static(ASSETS, WEB_CLIENT / "assets", follow_symlinks=False)
