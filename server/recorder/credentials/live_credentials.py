"""A stream whose every segment carries its own proof, also while it is still being recorded.

C2PA 2.4 19.4, "verifiable segment info": the manifest in the init segment, signed by the claim
signer, hands over a session key; that key signs each segment's hash and number in an event
message in front of it. A viewer can keep any part of a stream, and show what it was.
Where the section and the one verifier of streams that there is (`encypher-c2pa`) differ, both
are served; where they exclude each other, the verifier (docs/evidence.md).
The session key follows from the recording's key, so that it is the same after a restart, and
goes when that is destroyed.
"""

import datetime
import hashlib
import struct
import uuid
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.recorder.credentials.c2pa_manifest import (
    ALG,
    ALGORITHMS,
    COSE_SIGN1_TAG,
    DATE_TAG,
    KID,
    Cbor,
    SourceType,
    Tagged,
    bmff_hash,
    cbor,
    signed_init,
    to_be_signed,
)
from server.recorder.keys.claim_signer import ClaimSigner

INFO = b"vivavoce/live-credentials/v1"
#: 19.4.2: of the event message.
SCHEME = b"urn:c2pa:verifiable-segment-info"
#: The same message stands under both: the section has the first, `encypher-c2pa` reads the second.
VALUES = (b"fseg", b"c2pa")
LABEL = "org.vivavoce.stream"
_TIMESCALE = 1_000_000
#: ISO/IEC 14496-12 8.16.2: a media segment of the kind of file that its init announces.
_SEGMENT_TYPE = struct.pack(">I4s4sI4s4s", 24, b"styp", b"msdh", 0, b"msdh", b"iso6")
#: RFC 9052 7, RFC 9053 7.2: an octet key pair on the curve Ed25519.
_KTY, _KEY_ID, _KEY_ALG, _CRV, _X = 1, 2, 3, -1, -2
_OKP, _ED25519 = 1, 6
_KID_BYTES = 8


class SignedStream:
    """One side of a recording in one coding; segments are numbered from 1. Thread-safe."""

    def __init__(
        self,
        key: bytes,
        recording: str,
        name: str,
        made_s: float,
        signer: ClaimSigner,
        source_type: SourceType = SourceType.CAPTURE,
    ) -> None:
        """``key``: the recording's; ``name`` tells its streams apart; ``made_s``: Unix time."""
        derived = HKDF(SHA256(), 48, None, INFO + f":{recording}:{name}".encode()).derive(key)
        self._key = Ed25519PrivateKey.from_private_bytes(derived[:32])
        self.manifest_id = f"urn:c2pa:{uuid.UUID(bytes=derived[32:], version=4)}"
        self._public = self._key.public_key().public_bytes_raw()
        self._kid = hashlib.sha256(self._public).digest()[:_KID_BYTES]
        self.name = name
        self._stream: Cbor = {"recording": recording, "stream": name}
        self._signer = signer
        self._source_type = source_type
        certificate = signer.chain[0]
        made = datetime.datetime.fromtimestamp(int(made_s), datetime.UTC)
        # Of what was recorded before there was a certificate the key cannot be older than that.
        self._made = max(made, certificate.not_valid_before_utc)
        self._valid = certificate.not_valid_after_utc - self._made

    def init(self, segment: bytes) -> bytes:
        """The init ``segment`` with the manifest in it."""
        ftyp, *rest = _boxes(segment)
        created: Cbor = {"action": "c2pa.created", "digitalSourceType": self._source_type}
        actions: Cbor = {"actions": [created]}
        assertions: dict[str, Cbor] = {
            "c2pa.actions.v2": actions,
            "c2pa.session-keys": {"keys": [self._session_key()]},
            LABEL: self._stream,
        }
        return signed_init(ftyp, rest, self.manifest_id, assertions, self._signer)

    def segment(self, segment: bytes, number: int, duration_us: int) -> bytes:
        """The media ``segment`` with its proof in front, which moves no offset within it."""
        drafts = self._messages(bytes(32), number, duration_us)
        digest = bmff_hash([_SEGMENT_TYPE, *drafts, *_boxes(segment)], excluded=(1, 2))
        messages = self._messages(digest, number, duration_us)
        return b"".join((_SEGMENT_TYPE, *messages, segment))

    def _messages(self, digest: bytes, number: int, duration_us: int) -> list[bytes]:
        """ISO/IEC 23009-1 5.10.3.3.2, version 0: about all of the segment, from its start on."""
        fields = struct.pack(">4I", _TIMESCALE, 0, duration_us, number)
        info = self._info(digest, number)
        bodies = (b"\0".join((bytes(4) + SCHEME, value, fields + info)) for value in VALUES)
        return [struct.pack(">I4s", 8 + len(body), b"emsg") + body for body in bodies]

    def _info(self, digest: bytes, number: int) -> bytes:
        # 19.4.1: the messages are left out of the hash, known by what stands at their byte 12.
        excluded: Cbor = [{"xpath": "/emsg", "data": [{"offset": 12, "value": SCHEME}]}]
        hashed: Cbor = {"exclusions": excluded, "alg": "sha256", "hash": digest}
        payload = cbor(
            {"sequenceNumber": number, "bmffHash": hashed, "manifestId": self.manifest_id}
        )
        protected = cbor({ALG: ALGORITHMS["ed25519"]})
        signature = self._key.sign(to_be_signed(protected, payload))
        return cbor(Tagged(COSE_SIGN1_TAG, [protected, {KID: self._kid}, payload, signature]))

    def _session_key(self) -> Cbor:
        key: dict[int, Cbor] = {
            _KTY: _OKP,
            _KEY_ID: self._kid,
            _KEY_ALG: ALGORITHMS["ed25519"],
            _CRV: _ED25519,
            _X: self._public,
        }
        return {
            "key": key,
            "minSequenceNumber": 1,
            "createdAt": Tagged(DATE_TAG, self._made.strftime("%Y-%m-%dT%H:%M:%SZ")),
            "validityPeriod": int(self._valid.total_seconds()),
            "signerBinding": self._signer_binding(),
        }

    def _signer_binding(self) -> Cbor:
        """18.25.2: the session key signs the claim signer's certificate.

        The section leaves the certificate out of the structure; `encypher-c2pa` wants it there.
        """
        protected = cbor({ALG: ALGORITHMS["ed25519"]})
        certificate = self._signer.der[0]
        signature = self._key.sign(to_be_signed(protected, certificate))
        return Tagged(COSE_SIGN1_TAG, [protected, {}, certificate, signature])


def _boxes(segment: bytes) -> Iterator[bytes]:
    """Of what `mp4` has written: no size is 0 or longer than 32 bits."""
    offset = 0
    while offset < len(segment):
        (size,) = struct.unpack_from(">I", segment, offset)
        yield segment[offset : offset + size]
        offset += size
