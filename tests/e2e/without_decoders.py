"""`vivavoce` in a process where making a decoder (or any other codec) ends in an error.

Run as a program. The names through which Python code makes one are replaced before anything of
the server is imported; analysis workers are processes of their own and are not touched.
"""

import sys
from typing import Any, NoReturn

import av
import av.codec
import av.codec.context


class DecoderMade(BaseException):
    """Not an Exception: nothing may swallow it quietly."""


class Tripwire:
    def __init__(self, *_: Any, **__: Any) -> None:
        self.create()

    @classmethod
    def create(cls, *_: Any, **__: Any) -> NoReturn:
        print("TRIPWIRE: a codec was made in the media process", file=sys.stderr, flush=True)
        raise DecoderMade


for module in (av, av.codec, av.codec.context):
    setattr(module, "CodecContext", Tripwire)  # noqa: B010 (a type, to mypy)
for name in ("open", "AudioResampler"):
    setattr(av, name, Tripwire)

if __name__ == "__main__":
    from aiortc.codecs import get_decoder
    from aiortc.rtcrtpparameters import RTCRtpCodecParameters

    from server.cli import main

    try:  # The wire holds: aiortc's own decoder, which the server must never make, trips it.
        get_decoder(RTCRtpCodecParameters("video/H264", clockRate=90_000))
    except DecoderMade:
        print("the tripwire works", file=sys.stderr, flush=True)
    sys.exit(main())
