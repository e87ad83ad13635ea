"""The dependency descriptor: which frames need which, whatever the codec ("RTP Payload Format For
AV1" 1.0, appendix A), of which the temporal layers are read. Pure.

Browsers send it in an RTP header extension with each packet; of H.264 nothing else tells the
layers of pictures that others need.
"""

from server.core.bits import Bits

EXTENSION = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)
#: A.8.2: template ids have six bits; a structure cannot have more templates.
TEMPLATES = 64
_MANDATORY_BYTES = 3
#: What is read of a structure lies in front: 64 templates of two bits, behind five octets.
_READ_BYTES = 32


class DependencyError(ValueError):
    """The bytes are not a dependency descriptor; the sender is at fault."""


class Dependencies:
    """Of one stream: `read` every descriptor that may bring a structure, at least of keyframes."""

    def __init__(self) -> None:
        self._offset = 0
        self._temporal_ids: tuple[int, ...] = ()  # by template

    def read(self, descriptor: bytes) -> int | None:
        """The frame's temporal layer; None while its template is unknown. DependencyError."""
        if len(descriptor) < _MANDATORY_BYTES:
            raise DependencyError(f"descriptor of {len(descriptor)} bytes")
        if len(descriptor) > _MANDATORY_BYTES:
            bits = Bits(descriptor[_MANDATORY_BYTES:_READ_BYTES], DependencyError)
            has_structure = bits.u(1)
            bits.u(4)  # active decode targets, and three flags of what stands behind a structure
            if has_structure:
                self._read_structure(bits)
        # A.8.2: start_of_frame, end_of_frame, six bits of frame_dependency_template_id.
        template = ((descriptor[0] & 0x3F) - self._offset) % TEMPLATES
        return self._temporal_ids[template] if template < len(self._temporal_ids) else None

    def _read_structure(self, bits: Bits) -> None:
        """template_dependency_structure() up to template_layers() (A.8.2)."""
        offset = bits.u(6)
        bits.u(5)  # dt_cnt_minus_one
        temporal_id = next_layer = 0
        temporal_ids: list[int] = []
        while next_layer != 3 and len(temporal_ids) < TEMPLATES:
            temporal_ids.append(temporal_id)
            next_layer = bits.u(2)
            # 0: the same layers, 1: the next temporal one, 2: the next spatial one's first.
            temporal_id = (temporal_id, temporal_id + 1, 0, 0)[next_layer]
        if max(temporal_ids) > 7:
            raise DependencyError("more than eight temporal layers")  # A.4: at most that many
        self._offset, self._temporal_ids = offset, tuple(temporal_ids)
