"""The transit engine of a key service, as far as its API is used: real cryptography over HTTP.

No package of the registries brings Vault or OpenBao, so this stands in for it. Written after
https://developer.hashicorp.com/vault/api-docs/secret/transit: encrypt, decrypt, rotate, config
(min_decryption_version), tokens, and its error bodies and status codes.
"""

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Transit:
    """Keys of type aes256-gcm96 by name; of each, all versions from 1."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.keys: dict[str, list[bytes]] = {}
        self.oldest: dict[str, int] = {}
        self.sealed = False
        self.address = ""

    def rotate(self, name: str) -> None:
        self.keys.setdefault(name, []).append(secrets.token_bytes(32))

    def answer(self, path: str, token: str | None, body: dict[str, Any]) -> dict[str, Any]:
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        if token != self.token:
            raise Refused(403, "permission denied")
        match path.split("/"):
            case ["", "v1", "transit", "encrypt", name]:
                return self._encrypt(name, body)
            case ["", "v1", "transit", "decrypt", name]:
                return self._decrypt(name, body)
        raise Refused(404, "")

    def _encrypt(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name not in self.keys:
            raise Refused(403, "1 error occurred: permission denied")  # may update, not create
        nonce, version = secrets.token_bytes(12), len(self.keys[name])
        sealed = AESGCM(self.keys[name][-1]).encrypt(
            nonce, base64.b64decode(body["plaintext"]), _associated(body)
        )
        text = base64.b64encode(nonce + sealed).decode()
        return {"ciphertext": f"vault:v{version}:{text}", "key_version": version}

    def _decrypt(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name not in self.keys:
            raise Refused(400, "encryption key not found")
        _, _, rest = body["ciphertext"].partition("vault:v")
        version, _, text = rest.partition(":")
        if not version.isdecimal() or not 0 < int(version) <= len(self.keys[name]):
            raise Refused(400, "invalid ciphertext: version is too new or none")
        if int(version) < self.oldest.get(name, 1):
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            data = base64.b64decode(text)
            opened = AESGCM(self.keys[name][int(version) - 1]).decrypt(
                data[:12], data[12:], _associated(body)
            )
        except (InvalidTag, ValueError) as error:
            raise Refused(400, "cipher: message authentication failed") from error
        return {"plaintext": base64.b64encode(opened).decode()}


def _associated(body: dict[str, Any]) -> bytes | None:
    text = body.get("associated_data")
    return None if text is None else base64.b64decode(text)


@contextmanager
def transit_server(token: str) -> Iterator[Transit]:
    """On a port of this machine, until the block ends."""
    transit = Transit(token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            try:
                data = transit.answer(self.path, self.headers.get("X-Vault-Token"), body)
                self._send(200, {"data": data})
            except Refused as refused:
                self._send(refused.status, {"errors": [refused.message] * bool(refused.message)})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        transit.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield transit
        finally:
            server.shutdown()
            thread.join()
