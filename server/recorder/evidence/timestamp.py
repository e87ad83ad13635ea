"""Time stamps of manifests by somebody else (RFC 3161): what is asked for, and what is proved.

The authority is sent a hash. What it answers lies beside the manifest as `manifest.tsr`, as it
came, so that other tools check it too (`openssl ts -verify -data manifest.json`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from server.recorder.format.sealing import FaultKind, SegmentError

#: An answer with its certificates is some kilobytes.
MAX_BYTES = 65_536


class Request:
    """A question for a time stamp of ``data``, and what its answer is held against."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
        self._request = builder.cert_request(cert_request=True).nonce(nonce=True).build()

    @property
    def body(self) -> bytes:
        """DER, as it is sent."""
        return self._request.as_bytes()

    def check(self, answer: bytes) -> None:
        """SegmentError unless it is granted, of this data, and no old one (RFC 3161 2.2).

        Not by whom: that is for whoever has the authority's certificate.
        """
        response = _decode(answer)
        if response.tst_info.nonce != self._request.nonce or not _is_of(response, self._data):
            raise SegmentError(FaultKind.TAMPERED, "the authority answered something else")


def token(answer: bytes) -> bytes:
    """What of an answer is signed, in DER. SegmentError where it is no stamp."""
    return _decode(answer).time_stamp_token()


def read_time(stamp: bytes, data: bytes) -> datetime | None:
    """When the stamp says that ``data`` was there; None if it is of other data. Not proved.

    SegmentError where it is no stamp.
    """
    response = _decode(stamp)
    return response.tst_info.gen_time if _is_of(response, data) else None


def check(stamp: bytes, data: bytes, roots: list[Certificate]) -> datetime:
    """When ``data`` was there, as an authority that ``roots`` vouch for signed it. SegmentError."""
    response = _decode(stamp)
    with _as_fault():
        VerifierBuilder(roots=roots).build().verify_message(response, data)
    return response.tst_info.gen_time


def check_signer(stamp: bytes, roots: list[Certificate]) -> None:
    """SegmentError unless an authority that ``roots`` vouch for signed it, whatever it is of."""
    response = _decode(stamp)
    with _as_fault():
        imprint = response.tst_info.message_imprint.message
        VerifierBuilder(roots=roots).build().verify(response, imprint)


def load_roots(pem: bytes) -> list[Certificate]:
    """ValueError if there is no certificate."""
    return load_pem_x509_certificates(pem)


@contextmanager
def _as_fault() -> Iterator[None]:
    try:
        yield
    except (VerificationError, ValueError) as error:
        raise SegmentError(FaultKind.TAMPERED, f"the time stamp does not fit: {error}") from error


def _decode(stamp: bytes) -> TimeStampResponse:
    try:
        if len(stamp) > MAX_BYTES:
            raise ValueError("too long")
        response = decode_timestamp_response(stamp)
        granted = response.status == PKIStatus.GRANTED
        if granted:
            _ = response.tst_info.gen_time  # is parsed only now
    except ValueError as error:
        raise SegmentError(FaultKind.TAMPERED, "the time stamp does not parse") from error
    if not granted:
        raise SegmentError(FaultKind.TAMPERED, "the authority refused a time stamp")
    return response


def _is_of(response: TimeStampResponse, data: bytes) -> bool:
    imprint = response.tst_info.message_imprint.message
    return imprint in (hashlib.new(name, data).digest() for name in ("sha256", "sha384", "sha512"))
