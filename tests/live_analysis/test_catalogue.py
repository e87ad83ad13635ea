"""The catalogue `docs/indicators.md` against the cards, and the words that never stand there."""

import inspect
import re
from pathlib import Path

import pytest

from server.core import indicators
from server.live_analysis import network
from server.live_analysis.alerts import RULES
from server.live_analysis.analysers import AUDIO, VIDEO
from server.live_analysis.card import Card, Modality, Policy
from server.live_analysis.network import NetworkSample

ROOT = Path(__file__).parents[2]
CATALOGUE = (ROOT / "docs" / "indicators.md").read_text()
CARDS = [card for card, _ in (*AUDIO, *VIDEO)] + [network.CARD]

#: Words of emotion, personality, deception and judgement, whole or as beginnings of words.
FORBIDDEN = re.compile(
    r"nervous|confiden(t\b|tly)|emotion|mood|stress(ed|ful)?\b|anxi|happy|happi|sad(ness)?\b|angry"
    r"|anger|fear|disgust|surpris|deceptive|deception|lying|honest|trustworth|personality"
    r"|extrover|introver|enthusias|attentive|engag|bored|tired|smil|sentiment|attitude"
    r"|紧张|自信|情绪|情感|焦虑|压力|性格|诚实|说谎|高兴|愤怒|恐惧|疲惫|态度",
    re.IGNORECASE,
)


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading, by the name in its first column."""
    section = CATALOGUE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_measure_of_every_card_is_catalogued_and_nothing_else() -> None:
    measures = [measure.name for card in CARDS for measure in card.measures]
    assert len(measures) == len(set(measures))
    assert set(rows("Indicators")) == set(measures)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.analyser)
def test_units_rates_and_ranges_are_those_of_the_card(card: Card) -> None:
    catalogue = rows("Indicators")
    for measure in card.measures:
        unit, _, rate, span, _ = catalogue[measure.name]
        low, high = span.split("..")
        assert unit == measure.unit
        assert float(rate) == card.rate_hz
        assert (float(low) if low else None, float(high) if high else None) == (
            measure.low,
            measure.high,
        )


def test_every_alert_is_catalogued_with_its_hold_times() -> None:
    catalogue = rows("Alerts")
    assert set(catalogue) == {rule.id for rule in RULES}
    for rule in RULES:
        condition, begins, _, ends = catalogue[rule.id]
        assert begins == f"{rule.begin_hold_s:g} s"
        assert ends == f"{rule.end_hold_s:g} s"
        assert set(re.findall(r"`([a-z_.]+)`", condition)) == rule.reads


def test_network_measures_are_those_of_its_card() -> None:
    sample = NetworkSample(0, 1, 1, 1, 0, 0, None)
    measured = [(it.name, it.unit) for it in network.measure(sample)]
    assert measured == [(measure.name, measure.unit) for measure in network.CARD.measures]


def test_no_card_says_an_emotion_or_a_trait() -> None:
    for card in CARDS:
        assert FORBIDDEN.search(repr(card)) is None


def test_no_source_of_the_analysis_names_an_emotion_or_a_trait() -> None:
    sources = [*(ROOT / "server" / "live_analysis").rglob("*.py")]
    assert len(sources) > 20
    for text in [CATALOGUE, inspect.getsource(indicators), *(p.read_text() for p in sources)]:
        assert FORBIDDEN.search(text) is None


@pytest.mark.parametrize("word", ["nervous", "confident", "Stress", "emotional", "紧张", "自信"])
def test_the_word_list_catches(word: str) -> None:
    assert FORBIDDEN.search(f"the candidate is {word}, says the column")


@pytest.mark.parametrize("word", ["confidence", "sadly-not", "pressure"])
def test_the_word_list_lets_measurement_be_spoken_of(word: str) -> None:
    assert FORBIDDEN.search(word) is None


def test_raw_prosody_is_off_in_the_eu_and_in_the_strictest_profile() -> None:
    for card in CARDS:
        prosody = any(
            m.name.startswith("speech.") or m.name == "voice.pitch" for m in card.measures
        )
        assert (Policy.EU in card.policies) == (Policy.STRICT in card.policies) == (not prosody)


def test_nothing_measured_is_biometric() -> None:
    assert not any(card.biometric for card in CARDS)


def test_the_tables_hold_one_modality_each() -> None:
    assert {card.modality for card, _ in AUDIO} == {Modality.AUDIO}
    assert {card.modality for card, _ in VIDEO} == {Modality.VIDEO}
