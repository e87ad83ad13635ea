"""The dependency descriptor: which frames need which, whatever the codec ("RTP Payload Format For
AV1" 1.0, appendix A), of which the layers are read. Pure.

Browsers send it in an RTP header extension with each packet; of H.264 nothing else tells the
layers of pictures that others need, and of AV1 nothing else tells them of each packet.
"""

from typing import NamedTuple

from server.core.bits import Bits

EXTENSION = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)
#: A.8.2: template ids have six bits; a structure cannot have more templates.
TEMPLATES = 64
#: Of a stream, the newest: of packets from before one it may be asked later.
STRUCTURES = 4
_MANDATORY_BYTES = 3
#: What is read of a structure lies in front: 64 templates of two bits, behind five octets.
_READ_BYTES = 32


class DependencyError(ValueError):
    """The bytes are not a dependency descriptor; the sender is at fault."""


class Place(NamedTuple):
    """Where a frame stands among others, and its packet in it."""

    temporal_id: int
    spatial_id: int
    ends: bool  #: the frame


class _Structure(NamedTuple):
    seqno: int  #: of the packet that brought it
    offset: int
    layers: tuple[tuple[int, int], ...]  #: temporal and spatial ones, by template


class Dependencies:
    """Of one stream: `read` every descriptor that may bring a structure, at least of keyframes."""

    def __init__(self) -> None:
        self._structures: list[_Structure] = []  # the newest first

    @property
    def spatial_layers(self) -> int:
        """As many as the newest structure has; 1 before there is one."""
        newest = self._structures[:1]
        return 1 + max((spatial_id for each in newest for _, spatial_id in each.layers), default=0)

    def read(self, descriptor: bytes, seqno: int) -> Place | None:
        """Of a packet by its extended number, in any order; None while its template is unknown.

        Raises DependencyError.
        """
        if len(descriptor) < _MANDATORY_BYTES:
            raise DependencyError(f"descriptor of {len(descriptor)} bytes")
        if len(descriptor) > _MANDATORY_BYTES:
            bits = Bits(descriptor[_MANDATORY_BYTES:_READ_BYTES], DependencyError)
            has_structure = bits.u(1)
            bits.u(4)  # active decode targets, and three flags of what stands behind a structure
            if has_structure:
                self._keep(_read_structure(bits, seqno))
        structure = next((each for each in self._structures if each.seqno <= seqno), None)
        if structure is None:
            return None
        # A.8.2: start_of_frame, end_of_frame, six bits of frame_dependency_template_id.
        template = ((descriptor[0] & 0x3F) - structure.offset) % TEMPLATES
        if template >= len(structure.layers):
            return None
        return Place(*structure.layers[template], bool(descriptor[0] & 0x40))

    def _keep(self, structure: _Structure) -> None:
        others = [each for each in self._structures if each.seqno != structure.seqno]
        newest_first = sorted([*others, structure], key=lambda each: each.seqno, reverse=True)
        self._structures = newest_first[:STRUCTURES]


def _read_structure(bits: Bits, seqno: int) -> _Structure:
    """template_dependency_structure() up to template_layers() (A.8.2)."""
    offset = bits.u(6)
    bits.u(5)  # dt_cnt_minus_one
    temporal_id = spatial_id = next_layer = 0
    layers: list[tuple[int, int]] = []
    while next_layer != 3 and len(layers) < TEMPLATES:
        layers.append((temporal_id, spatial_id))
        next_layer = bits.u(2)
        if next_layer == 1:
            temporal_id += 1
        elif next_layer == 2:
            temporal_id, spatial_id = 0, spatial_id + 1
    if max(layers)[0] > 7 or spatial_id > 3:  # AV1 5.3.3: three bits, and two
        raise DependencyError("more than eight temporal layers, or four spatial ones")
    return _Structure(seqno, offset, tuple(layers))
