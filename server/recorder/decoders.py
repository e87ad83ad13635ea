"""Decoders of what a recording holds. Only for processes that decode: it brings PyAV."""

import av

from server.core.frames import Codec, TrackName
from server.recorder.format.tracks import TIMESCALE, VideoConfig

_DECODERS = {
    Codec.VP8: "vp8",
    Codec.VP9: "vp9",
    Codec.H264: "h264",
    Codec.AV1: "libdav1d",
}


def picture_decoder(video: VideoConfig) -> av.VideoCodecContext:
    """One that gives each picture back at once."""
    decoder = av.CodecContext.create(_DECODERS[video.codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_type = "SLICE"  # frame threads would hold pictures back
    if video.codec is Codec.H264:
        decoder.extradata = video.configuration
    if video.codec is Codec.AV1:
        decoder.thread_count = 1  # dav1d knows no others
    return decoder


def sound_decoder() -> av.AudioCodecContext:
    """Of Opus: stereo, whatever a packet carries."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = TIMESCALE[TrackName.MICROPHONE], "stereo"
    return decoder
