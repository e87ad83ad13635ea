"""Exit 0 when the server of this container answers /healthz, over HTTP or (`--tls`) HTTPS."""

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection

PORT = int(os.environ.get("VIVAVOCE_PORT") or 8080)
TIMEOUT_S = 2


def answers(connection: HTTPConnection) -> bool:
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # The certificate may be self-signed; this asks a process of the same container.
    unverified = ssl._create_unverified_context()
    healthy = answers(HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_S)) or answers(
        HTTPSConnection("127.0.0.1", PORT, timeout=TIMEOUT_S, context=unverified)
    )
    sys.exit(0 if healthy else 1)
