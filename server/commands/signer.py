"""Which of a server's keys has signed something, in words."""

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.commands.terminal import utc
from server.recorder.format.server_key import ServerKey, fingerprint


def say_signers(public_key: ServerKey, signers: Iterable[Ed25519PublicKey | None]) -> None:
    """Print those that are not the one that is known, the oldest first."""
    used = set(filter(None, map(_print_of, signers)))
    prints = [fingerprint(key) for key in public_key.keys]
    known = prints.index(fingerprint(public_key.known))
    for place, by in enumerate(prints):
        if by not in used or place == known:
            continue
        if place < known:
            until = utc(public_key.changed_us[place])
            print(f"Signed with a former key (SHA-256 {by}), in use until {until}:")
            print("yours, or one between, has signed that it took its place.")
        else:
            since = utc(public_key.changed_us[place - 1])
            print(f"Signed with a later key (SHA-256 {by}), in use since {since}:")
            print("yours, or one between, has signed that it takes its place.")


def _print_of(key: Ed25519PublicKey | None) -> str | None:
    return None if key is None else fingerprint(key)
