import base64
import hashlib
import hmac
from pathlib import Path

from server.core.interviews import Role
from server.signaling.protocol import IceServer
from server.signaling.turn import CREDENTIAL_S, Turn, links
from tests.signaling.serving import PUBLISH_OFFER, WATCH_OFFER, open_serving, receive

URLS = ("turn:turn.example.org:3478?transport=udp", "turns:turn.example.org?transport=tcp")


def test_credentials_are_what_coturn_computes_from_the_secret() -> None:
    # By hand: printf '1700086400:abc' | openssl dgst -sha1 -hmac north -binary | base64
    (server,) = Turn(URLS, "north").ice_servers("abc", 1_700_000_000.9)
    assert server == IceServer(URLS, "1700086400:abc", "rdRes6D4AdS5DA7lyYxp56skEtQ=")
    assert int(server.username.partition(":")[0]) == 1_700_000_000 + CREDENTIAL_S


def test_without_a_turn_server_there_is_nothing_to_tell() -> None:
    assert Turn().ice_servers("abc", 1.0) == ()
    assert links(()) == []


def test_a_secret_is_not_shown() -> None:
    assert "north" not in repr(Turn(URLS, "north"))


def test_each_url_has_a_link_of_its_own() -> None:
    assert links([IceServer(URLS, "1:a", "c+/=")]) == [
        f'<{url}>; rel="ice-server"; username="1:a"; credential="c+/="; credential-type="password"'
        for url in URLS
    ]


async def test_every_client_is_told_with_credentials_of_its_own(tmp_path: Path) -> None:
    def valid(username: str, credential: str) -> bool:
        mac = hmac.digest(b"north", username.encode(), hashlib.sha1)
        return base64.b64decode(credential) == mac

    usernames = set()
    async with open_serving(tmp_path, turn_urls=URLS, turn_secret="north") as serving:
        for role in (Role.CANDIDATE, Role.OBSERVER):
            async with serving.socket(serving.token(role)) as socket:
                (relay,) = (await receive(socket, "welcome"))["ice_servers"]
            assert relay["urls"] == list(URLS)
            assert valid(relay["username"], relay["credential"])
            usernames.add(relay["username"])
        for protocol, role, offer in (
            ("whip", Role.CANDIDATE, PUBLISH_OFFER),
            ("whep", Role.OBSERVER, WATCH_OFFER),
        ):
            url = f"/{protocol}/{serving.token(role)}"
            headers = {"Content-Type": "application/sdp"}
            async with serving.http.post(url, data=offer, headers=headers) as answer:
                told = answer.headers.getall("Link")
            assert [link.partition(";")[0] for link in told] == [f"<{url}>" for url in URLS]
            _, username, credential = (part.split('"')[1] for part in told[0].split("; ")[1:4])
            assert valid(username, credential)
            usernames.add(username)
        async with serving.http.options("/whip") as answer:
            assert "Link" not in answer.headers  # RFC 9725 4.6: not to a preflight
    assert len(usernames) == 4
