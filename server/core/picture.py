"""The size of an encoded picture, whatever its codec."""

from typing import NamedTuple

from server.core import av1, h264, vp8, vp9
from server.core.frames import Codec


class Size(NamedTuple):
    """In pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def lines(self) -> int:
        """Of the shorter side: a phone held upright sends no better picture than one that lies."""
        return min(self)


def picture_size(codec: Codec, payload: bytes) -> Size | None:
    """Of a keyframe, as `EncodedFrame` carries it; None where it does not tell."""
    return max(picture_sizes(codec, payload), default=None)


def picture_sizes(codec: Codec, payload: bytes) -> list[Size]:
    """The same of each of its spatial layers, the smallest first; none where it does not tell."""
    try:
        match codec:
            case Codec.VP8:
                header = vp8.parse_header(payload)
                return [Size(header.width, header.height)]
            case Codec.VP9:
                headers = map(vp9.parse_header, vp9.split_superframe(payload))
                sizes = [Size(each.width, each.height) for each in headers]
                # A superframe may also hold frames that are not shown, of the same size.
                return sizes if sizes == sorted(set(sizes)) else [max(sizes)]
            case Codec.H264:
                units = h264.nal_units(payload)
                sps = next(each for each in units if h264.nal_type(each) == h264.NAL_TYPE_SPS)
                parsed = h264.parse_sps(sps)
                return [Size(parsed.width, parsed.height)]
            case Codec.AV1:
                sequence = av1.parse_sequence_header(av1.sequence_header(payload) or b"")
                return [Size(sequence.width, sequence.height)]
            case Codec.OPUS:
                return []
    except (StopIteration, vp8.Vp8Error, vp9.Vp9Error, h264.H264Error, av1.Av1Error):
        return []


def octets_of_layers(codec: Codec, payload: bytes) -> list[int]:
    """Of a picture's spatial layers, the lowest first; all in one where it does not tell."""
    try:
        match codec:
            case Codec.VP9:
                return vp9.frame_lengths(payload)
            case Codec.AV1:
                octets = [0] * av1.SPATIAL_LAYERS
                for obu in av1.obus(payload):
                    octets[obu.spatial_id] += len(obu.payload)
                return octets
            case _:
                return [len(payload)]
    except (vp9.Vp9Error, av1.Av1Error):
        return [len(payload)]  # the sender is at fault, and the decoder will say so
