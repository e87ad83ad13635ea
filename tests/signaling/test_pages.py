import base64
import hashlib
import re

import pytest

from server.signaling.pages import HEADERS, PAGES, WEB_CLIENT, Pages
from tests.signaling.serving import Serving

VERSION = Pages().version


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there_and_carries_the_headers(serving: Serving, path: str) -> None:
    for method in ("GET", "HEAD"):
        async with serving.http.request(method, path) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/html"
            assert answer.headers["Cache-Control"] == "no-cache"
            policy = HEADERS["Content-Security-Policy"]
            assert answer.headers["Content-Security-Policy"].startswith(policy)
            others = HEADERS.keys() - {"Content-Security-Policy"}
            assert {name: answer.headers[name] for name in others} == {
                name: HEADERS[name] for name in others
            }
            assert "Server" not in answer.headers


async def test_errors_and_the_api_carry_the_headers_too(serving: Serving) -> None:
    for path in ("/nothing", "/api/me", "/healthz"):
        async with serving.http.get(path) as answer:
            assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", PAGES)
async def test_no_script_is_allowed_but_files_and_what_the_page_itself_has_of_ours(
    serving: Serving, path: str
) -> None:
    async with serving.http.get(path) as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    within = [text for text in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) if text]
    assert len(within) == (path == "/observe")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in within]
    named = "".join(f"; script-src 'self' 'sha256-{each}'" for each in hashes)
    assert policy == HEADERS["Content-Security-Policy"] + named


async def test_an_observers_page_connects_before_anything_else_of_it_is_asked_for(
    serving: Serving,
) -> None:
    async with serving.http.get("/observe") as answer:
        page = await answer.text()
    script = page.partition("<script>")[2].partition("</script>")[0]
    assert "watcher.offerAtOnce();" in script
    assert "/assets/" not in script
    before = page.partition("<script>")[0]
    assert re.findall(r"<script|stylesheet|preload", before) == []


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_asks_for_one_script_that_has_each_of_its_modules_once(
    serving: Serving, path: str
) -> None:
    async with serving.http.get(path) as answer:
        page = await answer.text()
    (address,) = re.findall(r'<script type="module" src="([^"]+)">', page)
    assert "modulepreload" not in page
    async with serving.http.get(address) as answer:
        script = await answer.text()
    there = re.findall(r'^modules\["(\w+\.js)"\] =', page + script, re.MULTILINE)
    assert sorted(there) == sorted(_imported(address.rpartition("/")[2]))
    taken = re.finditer(r'= modules\["(\w+\.js)"\];', page + script)
    for found in taken:
        assert f'modules["{found[1]}"] =' in (page + script)[: found.start()], "made before"


async def test_a_page_names_its_files_by_a_version_and_they_are_kept(serving: Serving) -> None:
    async with serving.http.get("/observe") as answer:
        page = await answer.text()
    named = set(re.findall(r'"(/assets/[^"#]+)', page))
    assert {path.rpartition("/")[2] for path in named} >= {"observe.js", "style.css", "icons.svg"}
    assert {path.split("/")[2] for path in named} == {VERSION}
    for path in named:
        async with serving.http.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            assert answer.content_type == kind[path.rpartition(".")[2]]


async def test_a_page_of_another_version_gets_what_there_is_and_does_not_keep_it(
    serving: Serving,
) -> None:
    async with serving.http.get("/assets/0123/join.js") as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_texts_are_compressed_for_those_who_take_it(serving: Serving) -> None:
    whole = (WEB_CLIENT / "assets" / "style.css").read_bytes()
    for accepted, encoding in (("gzip, br", "gzip"), ("identity", None)):
        headers = {"Accept-Encoding": accepted}
        async with serving.http.get("/assets/0123/style.css", headers=headers) as answer:
            assert answer.headers.get("Content-Encoding") == encoding
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert await answer.read() == whole


@pytest.mark.parametrize(
    "path",
    ["/assets/", "/assets/x/../index.html", "/assets/x/%2e%2e%2findex.html", "/assets/x/none.js"],
)
async def test_nothing_but_assets_lies_under_assets(serving: Serving, path: str) -> None:
    async with serving.http.get(serving.server.base_url + path, allow_redirects=False) as answer:
        assert answer.status in (403, 404)


def test_no_page_holds_what_the_policy_forbids() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:|https?://")
    for name in PAGES.values():
        text = (WEB_CLIENT / name).read_text()
        assert not inline.search(text), name


def _imported(module: str) -> set[str]:
    """The module and what it imports, however far away."""
    found, waiting = set[str](), {module}
    while waiting:
        found.add(name := waiting.pop())
        text = (WEB_CLIENT / "assets" / name).read_text()
        waiting |= set(re.findall(r' from "\./(\S+)";', text)) - found
    return found
