"""The command `vivavoce`: the server, its interviews, and their recordings."""

import argparse
import asyncio
import gc
import os
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from server import __version__, keys_command
from server.app import (
    Server,
    announced_url,
    links_key,
    open_database,
    open_server,
    prepare_data_dir,
)
from server.config import (
    Config,
    ConfigError,
    add_data_dir_flag,
    add_root_key_flag,
    add_server_flags,
    add_store_flag,
    data_dir,
    default_url,
    existing_data_dir,
    load,
    root_key,
)
from server.config import store as store_of
from server.core.interviews import InterviewState, Way
from server.recorder import derivation
from server.recorder.catalog import FOLDER, list_recordings, open_reader, recording_path
from server.recorder.clip import Clip
from server.recorder.keys import KeyRing, load_public_key, open_keys
from server.recorder.manifest import MANIFEST_NAME, to_unix_us
from server.recorder.reader import RecordingReader
from server.recorder.root_key import KeyProblem
from server.recorder.root_keys import open_root_key
from server.recorder.sealing import SegmentError
from server.recorder.stores import Readable, Store, StoredFolder, open_store, split_s3
from server.recorder.tiles import CHECKPOINT
from server.recorder.tlog import FOLDER as LOG_FOLDER
from server.recorder.verify import LOG_FILE, Fault, check_log, lost_recordings, verify
from server.signaling.invitations import Invitation, Links, invite, link_id_of
from server.signaling.limits import MAX_TITLE_CHARS
from server.signaling.log import log_to_stderr
from server.signaling.tokens import TokenError
from server.signaling.view_log import item_of
from server.store import Viewing, new_id

EXIT_FAULT = 1
SIGNING_PUB = Path("keys") / "signing.pub"
EXIT_USAGE = 2
#: After SIGTERM or SIGINT: sealing, signing, ending the workers.
STOP_TIMEOUT_S = 20.0
#: The simulated candidate makes its clip at first start.
CANDIDATE_START_TIMEOUT_S = 60.0
CANDIDATE_STOP_TIMEOUT_S = 5.0
DEMO_POLL_S = 0.2

CANDIDATE_DIED = (
    "The simulated candidate ended with status {status}; the server goes on. "
    "Stop it and start the demo again to see a candidate."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the process's exit status."""
    flags = _parser().parse_args(argv)
    try:
        status: int = flags.run(flags)
        return status
    except ConfigError as error:
        print(f"vivavoce: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:  # the reader of our output has seen enough
        return EXIT_FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vivavoce", description=__doc__)
    parser.add_argument("--version", action="version", version=f"vivavoce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    add_server_flags(command("serve", _serve, "Start the server."))
    add_server_flags(command("demo", _demo, "Start it with one simulated candidate."))
    new = command("invite", _invite, "Make an interview and its links.")
    new.add_argument("--title", required=True, help="what the candidate sees as its name")
    new.add_argument("--url", help="the server's address in the links (the running server's)")
    revoke = command("revoke", _revoke, "Withdraw a link; what is open with it is closed.")
    revoke.add_argument("link", metavar="LINK", help="its URL or its id")
    recordings = command("recordings", _recordings, "List the recordings.")
    viewings = command("viewings", _viewings, "List who read which seconds of a recording.")
    viewings.add_argument("interview_id", metavar="INTERVIEW_ID")
    check = command(
        "verify",
        _verify,
        "Check a recording, all of them, or an export. "
        "Exit status 0: intact, 1: not, 2: it could not be checked.",
    )
    check.add_argument(
        "path",
        metavar="PATH",
        help="a recording's folder, also s3://BUCKET/PREFIX/ID, the folder of all, or a file",
    )
    check.add_argument(
        "--log", type=Path, metavar="DIR", help="(the log of the recording's data directory)"
    )
    check.add_argument(
        "--public-key", type=Path, metavar="FILE", help="(keys/signing.pub of its data directory)"
    )
    journal = command(
        "log",
        _log,
        "Check the log of recordings, and print its checkpoint: whoever keeps that can tell later "
        "that nothing was taken back. Exit status as of verify.",
    )
    journal.add_argument(
        "--since", type=Path, metavar="FILE", help="a checkpoint that was kept: the log contains it"
    )
    copy = command("export", _export, "Write a recording as one MP4 file.")
    copy.add_argument("interview_id", metavar="INTERVIEW_ID")
    copy.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    copy.add_argument(
        "--from", type=_moment, default=0.0, dest="start_s", metavar="T", help="[[h:]mm:]ss[.fff]"
    )
    copy.add_argument("--to", type=_moment, dest="end_s", metavar="T", help="(the end)")
    copy.add_argument("--transcode", action="store_true", help="make all pictures H.264")
    keys_command.add_to(command("keys", keys_command.run, "Look after the recordings' keys."))
    for parser_ in (recordings, copy):
        add_root_key_flag(parser_)
    for parser_ in (check, copy):
        add_store_flag(parser_)
    for parser_ in (new, recordings, viewings):
        parser_.add_argument("--json", action="store_true", help="for programs")
    for parser_ in (new, revoke, recordings, viewings, check, journal, copy):
        add_data_dir_flag(parser_)
    return parser


# ---- serve and demo ---------------------------------------------------------------------


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve_until_stopped(config, wait))


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

    What is there now lives as long as the server: to look through it for garbage takes 40 ms. The
    recorder's thread gives the interpreter back within a millisecond; by default it is five.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)


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
    trust = {} if server.certificate is None else {"SSL_CERT_FILE": str(server.certificate)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "loadtest.candidate", "--until-stdin-closes"),
        *("--whip-url", invitation.whip_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,  # it names its URL, which holds a token
        env=os.environ | trust,
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


# ---- the store --------------------------------------------------------------------------


def _invite(flags: argparse.Namespace) -> int:
    title = flags.title.strip()
    if not 0 < len(title) <= MAX_TITLE_CHARS:
        raise ConfigError(f"A title has 1 to {MAX_TITLE_CHARS} characters.")
    folder = data_dir(flags, os.environ)
    prepare_data_dir(folder)
    url = flags.url or announced_url(folder) or default_url(os.environ)
    links = Links(links_key(folder), url.rstrip("/"))
    with open_database(folder) as store:
        made = invite(store, links, title, time.time())
    if flags.json:
        _print_json(made)
        return 0
    print(f"{made.title}  ({made.interview_id})")
    print(f"  Candidate:    {made.candidate_url}")
    print(f"  Interviewer:  {made.interviewer_url}")
    print(f"  Observer:     {made.observer_url}")
    print(f"  Recruiter:    {made.recruiter_url}")
    print(f"The links work until {_date(made.expires_s)}.")
    return 0


def _revoke(flags: argparse.Namespace) -> int:
    folder = existing_data_dir(flags, os.environ)
    try:
        link_id = link_id_of(links_key(folder), flags.link)
    except TokenError as error:
        raise ConfigError("This is no link of this server.") from error
    with open_database(folder) as store:
        if not store.revoke(link_id, time.time()):
            raise ConfigError("There is no such link.")
    print("The link is withdrawn; a running server closes what is open with it within a second.")
    return 0


# ---- recordings -------------------------------------------------------------------------


class RecordingLine(msgspec.Struct, frozen=True):
    """What `recordings --json` says of each."""

    interview_id: str
    path: str
    started_s: float | None  #: Unix time of the first sample
    duration_s: float
    state: str


def _recordings(flags: argparse.Namespace) -> int:
    folder = existing_data_dir(flags, os.environ)
    lines = [
        RecordingLine(
            each.interview_id,
            str(recording_path(folder, each.interview_id)),
            each.started_s,
            each.duration_s,
            each.state,
        )
        for each in list_recordings(folder, _keys(folder, flags))
    ]
    if flags.json:
        _print_json(lines)
        return 0
    for line in lines:
        print(f"{line.interview_id}  {line.duration_s:9.1f} s  {line.state:11}  {line.path}")
    if not lines:
        print("There are no recordings yet.")
    return 0


def _viewings(flags: argparse.Namespace) -> int:
    with open_database(existing_data_dir(flags, os.environ)) as store:
        items = [item_of(*each) for each in store.viewings(flags.interview_id)]
    if flags.json:
        _print_json(items)
        return 0
    for each in items:
        who = "operator" if each.role is None else f"{each.role} {each.link}"
        when = f"{_date(each.began_s)} to {_date(each.last_s)}"
        print(f"{when}  {each.way:6}  {each.start_s:9.1f} to {each.end_s:9.1f} s  {who}")
    if not items:
        print("Nobody has read this recording.")
    return 0


def _verify(flags: argparse.Namespace) -> int:
    path = Path(flags.path).resolve()
    home = path.parent if _holds_recordings(path) else path.parent.parent
    key_file = flags.public_key or _public_key_of(home, data_dir(flags, os.environ))
    log = flags.log or (home / LOG_FOLDER if (home / LOG_FOLDER / CHECKPOINT).is_file() else None)
    try:
        faults = _check(flags, path, load_public_key(key_file), log)
    except (OSError, KeyProblem) as error:
        raise ConfigError(f"{flags.path} or the key {key_file} can't be read: {error}.") from error
    for fault in faults:
        print(f"NOT INTACT: {fault}")
    if faults:
        return EXIT_FAULT
    print(f"Signed with the key of {key_file}.")
    return 0


def _check(
    flags: argparse.Namespace, path: Path, public_key: bytes, log: Path | None
) -> Sequence[object]:
    """The faults; what is intact is described. Raises ConfigError where there is nothing."""
    if _holds_recordings(path):
        return _verify_all(flags, path, public_key, log)
    if path.is_dir() or flags.path.startswith("s3://"):
        return _verify_recording(_recording_at(flags, path), public_key, log)
    if path.exists():
        return _verify_export(path, public_key)
    gone = [fault for fault in _lost(path.parent, public_key, log) if fault.file == path.name]
    if not gone:
        raise ConfigError(f"There is no {path}.")
    return gone


def _holds_recordings(path: Path) -> bool:
    return (path.is_dir() and path.name == FOLDER) or any(path.glob(f"*/{MANIFEST_NAME}"))


def _recording_at(flags: argparse.Namespace, path: Path) -> Readable:
    """The folder to verify: in a bucket, here, or with a store partly in both."""
    if flags.path.startswith("s3://"):
        from server.recorder.s3 import open_s3_folder

        return open_s3_folder(*split_s3(flags.path))
    store = _store(flags)
    return path if store is None else StoredFolder(path, store.folder(path.name))


def _store(flags: argparse.Namespace) -> Store | None:
    where = store_of(flags, os.environ)
    return open_store(where) if where else None


def _verify_recording(path: Readable, public_key: bytes, log: Path | None) -> Sequence[object]:
    report = verify(path, public_key, log)
    if report.intact:
        print(f"Intact: {report.fragments} fragments, {report.duration_s:.1f} s, {report.state}.")
        if log is None:
            print("No log is beside it: that a tail was cut off an open one could not be seen.")
        else:
            print(f"The log in {log} knows it so.")
    return report.faults


def _verify_all(
    flags: argparse.Namespace, path: Path, public_key: bytes, log: Path | None
) -> Sequence[object]:
    folders = sorted(each for each in path.iterdir() if each.is_dir())
    faults: list[object] = []
    for each in folders:
        report = verify(_recording_at(flags, each), public_key, log)
        faults += [f"{each.name}/{fault}" for fault in report.faults]
    faults += _lost(path, public_key, log)
    if not faults:
        print(f"Intact: {len(folders)} recordings.")
    return faults


def _lost(recordings: Path, public_key: bytes, log: Path | None) -> list[Fault]:
    try:
        return lost_recordings(recordings, public_key, log) if log is not None else []
    except SegmentError as error:
        return [Fault(error.kind, LOG_FILE, error.message)]


def _log(flags: argparse.Namespace) -> int:
    folder = data_dir(flags, os.environ)
    log, key_file = folder / LOG_FOLDER, folder / SIGNING_PUB
    try:
        key = load_public_key(key_file)
        faults = check_log(log, key, flags.since.read_bytes() if flags.since else None)
        checkpoint = (log / CHECKPOINT).read_text()
    except (OSError, KeyProblem) as error:
        raise ConfigError(f"The log or the key {key_file} can't be read: {error}.") from error
    for fault in faults:
        print(f"NOT INTACT: {fault}", file=sys.stderr)
    print(checkpoint, end="")
    return EXIT_FAULT if faults else 0


def _verify_export(path: Path, public_key: bytes) -> Sequence[object]:
    """As `_verify_recording`. Raises ConfigError if nothing was signed."""
    if not derivation.statement_of(path).exists():
        raise ConfigError(f"{path.name} has no {derivation.statement_of(path).name} beside it.")
    try:
        made = derivation.check(path, public_key)
    except SegmentError as error:
        return (f"{path.name}: {error}",)
    start_s, end_s = made.start_us / 1e6, made.end_us / 1e6
    print(f"Intact: made of recording {made.source.interview}, {start_s:.1f} to {end_s:.1f} s.")
    print(f"That was at revision {made.source.revision}, its manifest {made.source.manifest}.")
    return ()


def _public_key_of(home: Path, data_dir: Path) -> Path:
    """The key of the data directory in which the recording lies; a copy's is in ours."""
    beside = home / SIGNING_PUB
    return beside if beside.is_file() else data_dir / SIGNING_PUB


def _export(flags: argparse.Namespace) -> int:
    # Only here: it brings decoders, and the serving process must have none.
    from server.recorder.export import ExportError, export

    folder = existing_data_dir(flags, os.environ)
    keys = _keys(folder, flags)
    try:
        reader = open_reader(folder, flags.interview_id, keys, _store(flags))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"There is no recording of {flags.interview_id}.") from error
    except (SegmentError, KeyProblem, OSError) as error:
        return _not_exported(error)
    source, span_us = _part(reader, flags.start_s, flags.end_s)
    _note_export(folder, flags.interview_id, span_us)
    try:
        export(source, flags.output, _progress, transcode=flags.transcode)
        made = derivation.describe(
            flags.output,
            derivation.origin(reader.manifest),
            span_us,
            to_unix_us(time.time()),
            transcoded=flags.transcode,
        )
        derivation.sign(flags.output, made, keys.signer)
    except (SegmentError, ExportError, OSError) as error:
        return _not_exported(error)
    print(f"Written: {flags.output}")
    print(f"Signed:  {derivation.statement_of(flags.output)} (vivavoce verify {flags.output})")
    return 0


def _not_exported(error: Exception) -> int:
    print(f"vivavoce: not exported: {error}", file=sys.stderr)
    return EXIT_FAULT


def _part(
    reader: RecordingReader, start_s: float, end_s: float | None
) -> tuple[RecordingReader | Clip, tuple[int, int]]:
    """What is exported, and from where to where. Raises ConfigError."""
    if start_s == 0 and end_s is None:
        return reader, (0, reader.duration_us)
    end_us = reader.duration_us if end_s is None else min(reader.duration_us, round(end_s * 1e6))
    try:
        return Clip(reader, round(start_s * 1e6), end_us), (round(start_s * 1e6), end_us)
    except ValueError as error:
        duration_s = reader.duration_us / 1e6
        raise ConfigError(f"There is nothing: the recording lasts {duration_s:.1f} s.") from error


def _moment(text: str) -> float:
    """Seconds since the start, of `[[h:]mm:]ss[.fff]`."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"not a time: {text!r} (as 90, 1:30 or 1:02:03.5)")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _note_export(folder: Path, interview_id: str, span_us: tuple[int, int]) -> None:
    """First on the record, then decrypted."""
    now, (start_us, end_us) = time.time(), span_us
    place = start_us / 1e6, end_us / 1e6
    whole = Viewing(new_id(), interview_id, None, Way.EXPORT, now, now, *place)
    with open_database(folder) as store:
        store.keep_viewings([whole])


def _progress(done: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:4.0%}", end="" if done < 1 else "\n", file=sys.stderr, flush=True)


def _keys(folder: Path, flags: argparse.Namespace) -> KeyRing:
    name = root_key(flags, os.environ)
    try:
        return open_keys(folder / "keys", open_root_key(name, folder / "keys", os.environ))
    except (KeyProblem, OSError) as error:
        raise ConfigError(f"The recordings' keys can't be used: {error}.") from error


def _date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))


def _print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
