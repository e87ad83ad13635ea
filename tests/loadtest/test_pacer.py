import asyncio
from contextlib import closing

from loadtest.inbox import Inbox, read_datagram
from loadtest.pacer import TICK_S, Pacer, drive
from tests.loadtest.test_inbox import listening, sending_to


def test_actions_run_when_due_in_the_order_of_their_times() -> None:
    pacer, ran = Pacer(), list[str]()
    pacer.at(2.0, lambda due, now: ran.append("second"))
    pacer.at(1.0, lambda due, now: ran.append("first"))
    pacer.at(3.0, lambda due, now: ran.append("third"))
    assert pacer.run_due(0.5) == 1.0
    assert ran == []
    assert pacer.run_due(2.5) == 3.0
    assert ran == ["first", "second"]


def test_equal_times_run_first_come_first() -> None:
    pacer, ran = Pacer(), list[int]()
    for number in range(5):
        pacer.at(1.0, lambda due, now, number=number: ran.append(number))  # type: ignore[misc]
    pacer.run_due(1.0)
    assert ran == [0, 1, 2, 3, 4]


def test_an_action_that_repeats_itself_keeps_its_rate_over_a_late_clock() -> None:
    pacer, dues = Pacer(), list[float]()

    def again(due: float, now: float) -> None:
        dues.append(due)
        pacer.at(due + 1, again)

    pacer.at(0, again)
    for now in (0.0, 3.5, 4.0):  # the clock was late once, by two and a half periods
        pacer.run_due(now)
    assert dues == [0, 1, 2, 3, 4]


def test_lateness_is_measured() -> None:
    pacer = Pacer()
    pacer.at(1.0, lambda due, now: None)
    pacer.run_due(1.25)
    assert pacer.lateness_s.max == 0.25


def test_nothing_due_is_told_as_none() -> None:
    assert Pacer().run_due(1.0) is None


async def test_the_shell_runs_an_action_added_while_it_sleeps_at_its_time() -> None:
    pacer, loop = Pacer(), asyncio.get_running_loop()
    driving = asyncio.create_task(drive(pacer, Inbox()))
    await asyncio.sleep(0)  # it sleeps now, with nothing to do for an hour
    ran: asyncio.Future[float] = loop.create_future()
    due = loop.time() + 0.01
    pacer.at(due, lambda due, now: ran.set_result(now))
    assert due <= await asyncio.wait_for(ran, 5)
    assert pacer.lateness_s.count == 1
    driving.cancel()


async def test_the_shell_drains_the_inbox_with_nothing_else_to_do() -> None:
    with closing(Inbox()) as inbox, closing(listening()) as sock, closing(sending_to(sock)) as far:
        driving = asyncio.create_task(drive(Pacer(), inbox))
        await asyncio.sleep(0)
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        inbox.add(sock, lambda: heard.set_result(read_datagram(sock)[0]))
        far.send(b"hello")
        assert await asyncio.wait_for(heard, 5) == b"hello"
        driving.cancel()


async def test_the_shell_ends_with_the_error_of_an_action() -> None:
    pacer = Pacer()

    def fail(due: float, now: float) -> None:
        raise RuntimeError("planted")

    pacer.at(0, fail)
    (outcome,) = await asyncio.gather(drive(pacer, Inbox()), return_exceptions=True)
    assert isinstance(outcome, RuntimeError)


def test_waking_on_the_grid_makes_nothing_late_by_more_than_browsers_pace() -> None:
    assert TICK_S <= 0.005  # libwebrtc's pacer sends in bursts of 5 ms
