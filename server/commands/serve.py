"""The commands `vivavoce serve` and `vivavoce demo`."""

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvloop

from server.app import Server, open_server
from server.commands.terminal import EXIT_FAULT, EXIT_UNFORESEEN
from server.config import Config, ConfigError, add_server_flags, load
from server.core.interviews import InterviewState
from server.environment import environment
from server.priority import be_prompt
from server.signaling.invitations import Invitation, invite
from server.signaling.log import log_to_stderr

log = logging.getLogger(__name__)

#: After SIGTERM or SIGINT: sealing, signing, ending the workers.
STOP_TIMEOUT_S = 20.0
#: Of the event loop's thread. Shorter than what others have (0.7 ms with one core, 1.4 with two,
#: 2.8 with eight), and longer than most of what it does between two pauses: whoever takes the core
#: from it then keeps it for a slice of theirs, even while another core has nothing to do.
SLICE_US = 600
#: The simulated candidate makes its clip at first start.
CANDIDATE_START_TIMEOUT_S = 60.0
CANDIDATE_STOP_TIMEOUT_S = 5.0
DEMO_POLL_S = 0.2
#: What it gets of the server's environment beside what finds Python: where it keeps its clip.
CACHE = ("HOME", "XDG_CACHE_HOME", "VIVAVOCE_DATA_DIR")

CANDIDATE_DIED = (
    "The simulated candidate ended with status {status}; the server goes on. "
    "Stop it and start the demo again to see a candidate."
)


def add_serve(parser: argparse.ArgumentParser) -> None:
    add_server_flags(parser)
    parser.set_defaults(run=_serve)


def add_demo(parser: argparse.ArgumentParser) -> None:
    add_server_flags(parser)
    parser.set_defaults(run=_demo)


def _serve(flags: argparse.Namespace) -> int:
    config = load(flags, os.environ)
    return _run(config, partial(_wait_serving, config.drain_timeout_s))


def _demo(flags: argparse.Namespace) -> int:
    return _run(load(flags, os.environ), _wait_demo)


class _Stop:
    """What signals ask for: SIGTERM to drain first, SIGINT or another SIGTERM to stop at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def terminate(self) -> None:
        if self.asked.is_set():
            self.at_once.set()
        self.asked.set()

    def interrupt(self) -> None:
        self.asked.set()
        self.at_once.set()


_Wait = Callable[[Server, _Stop], Awaitable[None]]


def _run(config: Config, wait: _Wait) -> int:
    log_to_stderr()
    # 1024 are the default, as many as 200 interviews take; what a system allows is more.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve_until_stopped(config, wait))
    except ConfigError:
        raise
    except Exception:  # into the log, where tokens are cut out of it
        log.critical("the server has failed", exc_info=True)
        return EXIT_UNFORESEEN


async def _serve_until_stopped(config: Config, wait: _Wait) -> int:
    """0 after a clean stop by SIGTERM or SIGINT, which may come at any time."""
    stop = _Stop()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.terminate)
    loop.add_signal_handler(signal.SIGINT, stop.interrupt)
    try:
        async with asyncio.timeout(None) as deadline:
            async with open_server(config) as server:
                _spare_the_loop()
                _say_started(server)
                await wait(server, stop)
                deadline.reschedule(loop.time() + STOP_TIMEOUT_S)
    except TimeoutError:
        _say("Stopped, but not everything could be closed in time.")
        return EXIT_FAULT
    _say("Stopped. All recordings are sealed.")
    return 0


def _spare_the_loop() -> None:
    """Of what would stop the event loop, hence every interview, now and then.

    What is there now lives as long as the server: to look through it for garbage takes 40 ms. Other
    threads give the interpreter back within a tenth of a millisecond, by default it is five; other
    processes the core, where it may be three.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0001)
    be_prompt(SLICE_US)


def _say_started(server: Server) -> None:
    _say(f"Vivavoce is at {server.base_url}")
    _say(f"  Owner (keep this link to yourself): {server.owner_url}")
    if server.certificate is not None:
        _say(f"  Its certificate: {server.certificate}")


def _say_how_to_stop() -> None:
    _say("Stop with Ctrl-C.")


async def _wait_serving(drain_timeout_s: float, server: Server, stop: _Stop) -> None:
    _say_how_to_stop()
    await stop.asked.wait()
    if server.hub.running and not stop.at_once.is_set():
        _say(
            f"Draining: {server.hub.running} interviews run and may go on for "
            f"{drain_timeout_s:g} s; new ones are refused. Another signal stops at once."
        )
        await _first(server.hub.drain(drain_timeout_s), stop.at_once.wait())


async def _wait_demo(server: Server, stop: _Stop) -> None:
    now = time.time()
    demo = await server.db.run(invite, server.links, "Demo interview", now)
    yours = await server.db.run(invite, server.links, "Try it yourself", now)
    async with _simulated_candidate(server, demo) as candidate:
        _say("Starting the simulated candidate...")
        live = await _until_live(server, demo.interview_id, candidate, stop.asked)
        if live:
            _say(f"  Watch it live:            {demo.observer_url}")
        elif candidate.returncode is None and not stop.asked.is_set():
            _say(f"  It takes long. Watch it:  {demo.observer_url}")
        _say(f"  Join one yourself:        {yours.candidate_url}")
        _say(f"  and watch that one live:  {yours.observer_url}")
        _say_how_to_stop()
        await _first(stop.asked.wait(), candidate.wait())
        if not stop.asked.is_set():
            _say(CANDIDATE_DIED.format(status=candidate.returncode))
            await stop.asked.wait()


@asynccontextmanager
async def _simulated_candidate(
    server: Server, invitation: Invitation
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that publishes until its input closes, which also our own death does."""
    given = environment() | {name: os.environ[name] for name in CACHE if name in os.environ}
    if server.certificate is not None:
        given["SSL_CERT_FILE"] = str(server.certificate)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "loadtest.candidate", "--until-stdin-closes"),
        *("--whip-url", invitation.whip_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,  # it names its URL, which holds a token
        env=given,
        start_new_session=True,  # Ctrl-C is ours to handle: the candidate leaves in order
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), CANDIDATE_STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_live(
    server: Server, interview_id: str, candidate: asyncio.subprocess.Process, stop: asyncio.Event
) -> bool:
    """True once the interview is live; False when it was stopped, ended or took too long."""
    deadline = time.monotonic() + CANDIDATE_START_TIMEOUT_S
    while not stop.is_set() and candidate.returncode is None and time.monotonic() < deadline:
        interview = server.hub.find(interview_id)
        if interview is not None and interview.state is InterviewState.LIVE:
            return True
        await asyncio.sleep(DEMO_POLL_S)
    return False


async def _first(*waits: Any) -> None:
    """Until one of them is done; the others are cancelled."""
    tasks = [asyncio.create_task(each, name="wait") for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _say(text: str) -> None:
    print(text, flush=True)
