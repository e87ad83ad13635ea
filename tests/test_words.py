"""Measured, not judged: no word for an emotion or a trait reaches a person or names a thing.

Inferring emotions of candidates is prohibited in the EU (AI Act Article 5(1)(f)) and nowhere
in this product: `docs/threat-model.md`.
"""

import re
from pathlib import Path

import pytest

from tests.project import ROOT, files

FORBIDDEN = re.compile(
    r"\b(?:nervous\w*|confident(?:ly)?|self.confiden\w+|emotion\w*|mood|anxi(?:ous|ety)\w*"
    r"|stress(?:ed|ful)?|personalit\w+|decepti\w+|deceiv\w+|lying|liar|micro.?expressions?)\b"
    r"|紧张|自信|情绪|情感|性格|人格|焦虑|压力|撒谎|说谎|欺骗|微表情",
    re.IGNORECASE,
)

#: Whole lines in which the product says that it does none of this.
ALLOWED = frozenset[str]()


def hits(text: str) -> list[str]:
    return [match[0] for match in FORBIDDEN.finditer(_words(text))]


def _words(text: str) -> str:
    """Names taken apart: `voice_emotion` and `VoiceEmotion` are words too."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ")


def _spoken() -> list[Path]:
    return [*files("web_client", "server"), ROOT / "docs" / "indicators.md"]


@pytest.mark.parametrize("path", _spoken(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_speaks_of_emotions_or_traits(path: Path) -> None:
    lines = path.read_text().splitlines()
    found = [line for line in lines if hits(line) and line.strip() not in ALLOWED]
    assert found == []
    assert hits(path.name) == []


def test_every_allowed_line_is_still_there() -> None:
    present = {line.strip() for path in _spoken() for line in path.read_text().splitlines()}
    assert present >= ALLOWED


@pytest.mark.parametrize(
    "text",
    ["voice_emotion", "EmotionScore", "She looks nervous.", "confident", "候选人显得紧张", "自信"],
)
def test_a_judging_word_is_found(text: str) -> None:
    assert hits(text)


@pytest.mark.parametrize(
    "text", ["confidence: float", "demotion", "pause of 1.2 s", "distress call", "停顿 1.2 秒"]
)
def test_a_measuring_word_is_left_alone(text: str) -> None:
    assert not hits(text)
