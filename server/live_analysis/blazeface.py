"""BlazeFace's answer decoded: anchors, boxes, non-maximum suppression. Pure numpy.

Bazarevsky et al. (2019): BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs,
arXiv:1907.05047. The layout of anchors and the scaling are those of MediaPipe's graphs
`face_detection_short_range.pbtxt` and `face_detection_full_range.pbtxt`.
"""

import numpy as np

from server.live_analysis.port import Face, Samples

#: Intersection over union from which candidates are one face (MediaPipe: 0.3).
SUPPRESSION = 0.3
#: Faces told apart in one picture at most: a hostile picture may show hundreds.
MOST_FACES = 20


def anchors(side: int, layers: tuple[tuple[int, int], ...]) -> Samples:
    """Middles (x, y) in 0..1 of all anchors, for layers of (stride, anchors per cell)."""
    parts = []
    for stride, per_cell in layers:
        cells = side // stride
        middles = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
        parts.append(np.repeat(grid, per_cell, axis=0))
    return np.concatenate(parts)


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (one.width * one.height + other.width * other.height - both)


class Detector:
    """A model and how it is used: its name, the side of its input, its anchors and threshold."""

    def __init__(
        self, model: str, side: int, layers: tuple[tuple[int, int], ...], threshold: float
    ) -> None:
        self.model = model
        self.side = side
        self.threshold = threshold
        self.layers = layers
        self._anchors = anchors(side, layers)

    def faces(self, boxes: Samples, scores: Samples) -> tuple[list[Face], float]:
        """Faces in shares of the input, best first, and the best score of all candidates."""
        # Clipped before float32's exponential overflows.
        likely = 1 / (1 + np.exp(-np.clip(scores, -80, 80)))
        chosen = np.flatnonzero(likely >= self.threshold)
        chosen = chosen[np.argsort(-likely[chosen])]
        middles = boxes[chosen, 0:2] / self.side + self._anchors[chosen]
        sizes = boxes[chosen, 2:4] / self.side
        rows = np.column_stack((middles - sizes / 2, sizes, likely[chosen]))
        candidates = [Face(*row) for row in rows.tolist()]
        return _suppress(candidates), float(likely.max())


def _suppress(candidates: list[Face]) -> list[Face]:
    """Blend candidates that overlap into one, weighted by score, as BlazeFace 3.4 does."""
    faces: list[Face] = []
    while candidates and len(faces) < MOST_FACES:
        best = candidates[0]
        same = [face for face in candidates if face is best or overlap(best, face) > SUPPRESSION]
        candidates = [face for face in candidates if face not in same]
        weight = sum(face.score for face in same)
        left, top, width, height = (
            sum(getattr(face, side) * face.score for face in same) / weight
            for side in ("left", "top", "width", "height")
        )
        faces.append(Face(left, top, width, height, best.score))
    return faces


#: For webcam distance. Layers as in the graph: strides 8, 16, 16, 16 with two anchors each.
SHORT_RANGE = Detector("face_detection_short_range", 128, ((8, 2), (16, 6)), 0.5)
#: The same for a small cut around a face whose place is known: a quarter of the work.
CLOSE_RANGE = Detector("face_detection_short_range", 64, ((8, 2), (16, 6)), 0.5)
#: For faces across a room.
FULL_RANGE = Detector("face_detection_full_range", 192, ((4, 1),), 0.6)
