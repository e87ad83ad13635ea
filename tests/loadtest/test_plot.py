import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.plot import HEIGHT, WIDTH, Line, plot, thinned

values = st.one_of(st.none(), st.floats(0, 1e6))


def drawn(figure: str) -> list[tuple[float, float]]:
    """The points of the first line, in shares of the drawing from its lower left."""
    d = re.search(r'class="c0" d="([^"]*)"', figure)
    assert d is not None
    return [
        (float(x) / WIDTH, 1 - float(y) / HEIGHT)
        for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", d[1])
    ]


def marks(figure: str) -> list[float]:
    return [float(each) for each in re.findall(r"%\">([\d.e+-]+)</span>", figure)]


def test_the_line_goes_through_its_values_by_the_scale_beside_it() -> None:
    figure = plot("Latency", "ms", [Line("p50", [(1, 10.0), (2, 40.0), (4, 25.0)])])
    assert marks(figure)[0] == 0
    top = marks(figure)[-1]
    expected = [(0.25, 10 / top), (0.5, 40 / top), (1.0, 25 / top)]
    for point, should in zip(drawn(figure), expected, strict=True):
        assert point == pytest.approx(should, abs=1e-3)


@given(st.lists(values, min_size=1, max_size=50))
def test_any_values_are_drawn_inside_and_holes_stay_holes(numbers: list[float | None]) -> None:
    points = list(enumerate(numbers))
    figure = plot("x", "", [Line("x", points)])
    measured = [value for value in numbers if value is not None]
    if not measured:
        assert figure == ""
        return
    assert len(drawn(figure)) == len(measured)
    assert all(0 <= x <= 1 and -1e-4 <= y <= 1 + 1e-4 for x, y in drawn(figure))
    holes = sum(
        value is not None and (index == 0 or numbers[index - 1] is None)
        for index, value in enumerate(numbers)
    )
    assert figure.count('class="c0" d="M') == 1
    assert re.findall(r'class="c0" d="([^"]*)"', figure)[0].count("M") == holes


@given(st.floats(0.001, 1e6))
def test_the_scale_holds_the_largest_value_and_has_few_marks(largest: float) -> None:
    shown = marks(plot("x", "", [Line("x", [(1, largest)])]))
    assert shown[-1] >= largest * 0.999
    assert 2 <= len(shown) <= 6


def test_counts_have_marks_at_whole_numbers_only() -> None:
    assert marks(plot("x", "", [Line("x", [(1, 2)])], whole=True)) == [0, 1, 2]


def test_a_scale_that_does_not_begin_at_zero_has_round_marks() -> None:
    shown = marks(plot("x", "%", [Line("x", [(1, 94.44), (2, 100.0)])], low=99))
    assert shown == [94, 96, 98, 100]


def test_nothing_but_zeros_is_a_line_on_the_ground() -> None:
    figure = plot("x", "", [Line("x", [(1, 0), (2, 0)])], whole=True)
    assert marks(figure) == [0, 1]
    assert [y for _, y in drawn(figure)] == [0, 0]


def test_a_limit_is_drawn_and_named_and_lies_inside() -> None:
    figure = plot("x", "ms", [Line("x", [(1, 2.0)])], limit=50)
    assert "limit 50" in figure
    assert marks(figure)[-1] >= 50


def test_names_are_text() -> None:
    assert "<b>a &lt; b</b>" in plot("a < b", "", [Line("x", [(1, 2.0)])])


def test_of_hours_the_worst_of_each_part_is_drawn() -> None:
    points = [(at, float(at == 5000)) for at in range(10_000)]
    thin = thinned(points)
    assert len(thin) <= 600
    assert max(value or 0 for _, value in thin) == 1
    assert thinned([(1, 3.0), (2, None)], min, 1) == [(2, 3.0)]
    assert thinned([(1, None)]) == [(1, None)]
