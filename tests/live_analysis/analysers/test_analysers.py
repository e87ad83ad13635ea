import pytest

from server.live_analysis.analysers import AUDIO, VIDEO
from server.live_analysis.card import Card


@pytest.mark.parametrize("card", [card for card, _ in (*AUDIO, *VIDEO)], ids=lambda c: c.analyser)
def test_a_card_is_filled_in(card: Card) -> None:
    assert card.validated
    assert card.rate_hz > 0
    assert card.cost_ms_per_s > 0
    assert card.policies


def test_those_that_others_read_come_first() -> None:
    assert AUDIO[0][0].analyser == "speech_activity"
    assert VIDEO[0][0].analyser == "face"
