from loadtest.histogram import Histogram
from loadtest.report import make_report
from loadtest.results import InterviewResult
from loadtest.summary import as_text
from tests.loadtest.test_report import IDLE, report, result


def test_people_read_the_same_figures() -> None:
    text = as_text(report(result(), InterviewResult(error="HTTP 503: busy")))
    assert "1 of 2, 10 s" in text
    assert "297 of 300" in text
    assert "total 40, media 12, analysis 28 ms per interview-second" in text
    assert "NO: 1 of 2 interviews did not take place" in text
    assert "HTTP 503: busy" in text


def test_what_was_emulated_is_said() -> None:
    made = make_report(
        [result(rejoin_s=Histogram([0.05]))],
        10,
        IDLE,
        None,
        None,
        networks={"candidates": ["loss=5%"], "observers": []},
        scenario="reconnect:5",
    )
    text = as_text(made)
    assert "network of candidates  loss=5%" in text
    assert "scenario  reconnect:5" in text
    assert "came back  p50 50" in text
    assert "network of observers" not in text


def test_losses_and_growth_are_told_where_they_are_known() -> None:
    lossy = result(
        packets_sent=3000,
        packets_sent_once=2000,
        packets_asked_for=100,
        packets_received=950,
        packets_lost=50,
    )
    text = as_text(report(lossy))
    assert "lost at first try  up 5.00%, down 5.00%" in text
    assert "server memory  unknown" in text


def test_without_anybody_the_generator_has_no_cost() -> None:
    text = as_text(report(InterviewResult(error="HTTP 503: busy")))
    assert "generator CPU  not measured" in text
    assert "None" not in text


def test_layers_are_told_where_there_are_any() -> None:
    layered = result(layers_offered=3, layers_accepted=3, layer_switches_s=Histogram([0.05]))
    text = as_text(report(layered))
    assert "3 of 3 accepted by the server; observers saw 1 switches, the longest of 50 ms" in text
    assert "layers" not in as_text(report(result()))
