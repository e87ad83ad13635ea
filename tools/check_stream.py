#!/usr/bin/env python3
"""Checks a stream of HTTP Live Streaming whose every segment is signed (C2PA 2.4 section 19.4).

    pip install encypher-c2pa
    python3 check_stream.py http://HOST/hls/TOKEN/ID/candidate/index.m3u8 --trust root.pem

It fetches the playlist, the init and the segments as a player does, and hands them unchanged to
`encypher-c2pa`, which shares no code with the server. Of a stream that still grows it checks what
there is by now. It needs Python 3.11 or newer.
Exit status: 0 every segment is proved, by whom one of the roots vouches for; 1 not (each fault is
named with its time in the stream); 2 it could not be checked.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen

TIMEOUT_S = 60
#: The server gives a link only so much at once.
AGAIN_S = 1.0
#: Of one answer; a segment has a few MB.
LARGEST = 1 << 28
#: Checked at a time, so that a long stream takes no more memory than a short one.
PORTION = 50
_MAP = re.compile(r'#EXT-X-MAP:(?:.*,)?URI="([^"]*)"')
#: How the verifier names a segment, the first being 1.
_SEGMENT = re.compile(r"self#segment=(\d+)", re.ASCII)
_DURATION = re.compile(r"#EXTINF:(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    name: str
    start_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """Segments of one coding, which ``init`` announces and signs for."""

    init: str
    segments: list[Segment] = field(default_factory=list)


def main() -> int:
    flags = _arguments()
    # It would ask for leave to send what failed, and to look for news.
    os.environ |= {"ENCYPHER_C2PA_TELEMETRY": "off", "ENCYPHER_C2PA_ONLINE": "off"}
    try:
        import encypher_c2pa  # noqa: F401

        trust = flags.trust.read_text("ascii")
        address, text = media_playlist(flags.address)
        runs = parse_playlist(text)
        faults = [fault for run in runs for fault in check(run, address, trust)]
    except ImportError:
        print("It needs the package encypher-c2pa: pip install encypher-c2pa", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"It could not be checked: {error}", file=sys.stderr)
        return 2
    return _told(runs, faults, running="#EXT-X-ENDLIST" not in text.splitlines())


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="of the stream's playlist, index.m3u8")
    parser.add_argument(
        "--trust", type=Path, required=True, help="certificates in PEM of who vouches for signers"
    )
    return parser.parse_args()


def _told(runs: list[Run], faults: list[str], *, running: bool) -> int:
    for fault in faults:
        print(fault)
    count = sum(len(run.segments) for run in runs)
    so_far = " so far: the stream still grows" if running else ""
    if faults:
        print(f"NOT PROVED: {len(faults)} faults in {count} segments{so_far}")
        return 1
    print(f"PROVED: {count} segments{so_far}")
    return 0


# ---- the playlist (RFC 8216) --------------------------------------------------------------


def media_playlist(address: str) -> tuple[str, str]:
    """Where it is, and its text; ``address`` may be that of a multivariant playlist."""
    text = _fetched(address).decode()
    if "#EXT-X-STREAM-INF" not in text:
        return address, text
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not names:
        raise ValueError("the playlist names no stream")
    address = urljoin(address, names[0])
    return address, _fetched(address).decode()


def parse_playlist(text: str) -> list[Run]:
    """What has to be checked of a media playlist. ValueError if that is nothing."""
    if not text.startswith("#EXTM3U"):
        raise ValueError("it is no playlist")
    runs: list[Run] = []
    start_s = duration_s = 0.0
    gap = False
    for line in text.splitlines():
        if found := _MAP.match(line):
            runs.append(Run(found[1]))
        elif found := _DURATION.match(line):
            duration_s = float(found[1])
        elif line == "#EXT-X-GAP":
            gap = True
        elif line and not line.startswith("#"):
            if not gap:
                if not runs:
                    raise ValueError("a segment has no init, in which its proof would begin")
                runs[-1].segments.append(Segment(line, start_s))
            start_s, gap = start_s + duration_s, False
    if not any(run.segments for run in runs):
        raise ValueError("the playlist names no segments")
    return [run for run in runs if run.segments]


def _fetched(address: str) -> bytes:
    """OSError if it can't be had; ValueError if that is no address."""
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{address} is no address of a stream")
    with _opened(address) as answer:
        body: bytes = answer.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise OSError(f"{address} is larger than {LARGEST} bytes")
    return body


def _opened(address: str) -> Any:
    """As soon as the server takes it (RFC 6585 4)."""
    while True:
        try:
            return urlopen(address, timeout=TIMEOUT_S)
        except HTTPError as error:
            if error.code != HTTPStatus.TOO_MANY_REQUESTS:
                raise
        time.sleep(AGAIN_S)


# ---- the proofs ---------------------------------------------------------------------------


def check(run: Run, address: str, trust: str) -> Iterator[str]:
    """Each fault in a line. OSError if something can't be fetched, ValueError for no roots."""
    init = _fetched(urljoin(address, run.init))
    before: list[tuple[Segment, bytes]] = []
    for first in range(0, len(run.segments), PORTION):
        asked = run.segments[first : first + PORTION]
        fetched = [(each, _fetched(urljoin(address, each.name))) for each in asked]
        # The last one of before comes once more: what follows it has to be seen.
        yield from _faults(init, before + fetched, trust, goes_on=bool(before))
        before = fetched[-1:]


def _faults(
    init: bytes, portion: list[tuple[Segment, bytes]], trust: str, *, goes_on: bool
) -> Iterator[str]:
    import encypher_c2pa

    segments = [segment for segment, _ in portion]
    try:
        report = encypher_c2pa.verify_stream(
            init,
            [body for _, body in portion],
            "video/mp4",
            trust_pem=trust,
            no_default_trust=True,
            online=False,
            # Else a stream begins with number 1.
            expected_seek_positions=[0] if goes_on else None,
        )
    except ValueError as error:
        if not str(error).startswith("verification_error"):
            raise
        yield _fault(segments[0], str(error))
        return
    stream = report["stream"]
    status = stream["trust"]["status"]
    if status != "valid_for_supplied_material":
        yield _fault(segments[0], f"nobody who is trusted vouches for its signer ({status})")
    for failure in stream["validation_results"]["failure"]:
        yield _fault(_meant(failure, segments), failure["explanation"])


def _meant(failure: Mapping[str, Any], segments: list[Segment]) -> Segment:
    """The segment that a failure is of; the first for what is of the init."""
    found = _SEGMENT.fullmatch(failure["url"])
    return segments[int(found[1]) - 1 if found else 0]


def _fault(segment: Segment, explanation: str) -> str:
    minutes, seconds = divmod(segment.start_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{seconds:06.3f} {segment.name}: {explanation}"


if __name__ == "__main__":
    sys.exit(main())
