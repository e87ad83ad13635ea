"""The composition root: opens every part in order, and closes them in the opposite one."""

import asyncio
import datetime
import errno
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from server.config import Config, ConfigError
from server.data_dir import (
    DATABASE,
    SERVER_FILE,
    announcement,
    links_key,
    metrics_token,
    prepare_data_dir,
)
from server.live_analysis.pool import Analysis, open_analysis
from server.media.server import MediaServer, open_media
from server.media.transport.sockets import accept, bind
from server.recorder.catalog.timestamper import open_timestamper
from server.recorder.compressor import Compressor, open_compressor
from server.recorder.compressor import Policy as CompressPolicy
from server.recorder.evidence.tlog import LogProblem
from server.recorder.keys import claim_signer
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.root_keys import open_root_key
from server.recorder.recorder import Recorder, open_recorder
from server.recorder.stores.store import open_store as open_recording_store
from server.signaling.access import Access
from server.signaling.addresses import LOOPBACK, base_url, local_addresses, media_addresses
from server.signaling.api import Api
from server.signaling.exports.handlers import Exports, open_exports
from server.signaling.first_byte import FirstByte
from server.signaling.hls import Hls
from server.signaling.http_connection import HttpConnection
from server.signaling.hub import Hub, open_hub
from server.signaling.invitations import Links, owner_link
from server.signaling.load import LoadMeter, LoopLag
from server.signaling.metrics import Metrics
from server.signaling.pages import Pages
from server.signaling.plant import Plant
from server.signaling.replay import Replay, open_replay
from server.signaling.routes import Handlers, make_app
from server.signaling.socket import Sockets
from server.signaling.tls import own_certificate, server_context
from server.signaling.turn import Turn
from server.signaling.whip import Whip
from server.store import AsyncStore, StoreError, open_store

#: Requests that are being answered when the server stops may finish in this time.
HTTP_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, for whoever started it."""

    base_url: str
    owner_url: str
    links: Links
    db: AsyncStore
    hub: Hub
    recorder: Recorder
    certificate: Path | None  #: what `--tls` serves with


@asynccontextmanager
async def open_server(config: Config) -> AsyncIterator[Server]:
    """Serve until the block ends; then every recording is sealed. Raises ConfigError."""
    await asyncio.to_thread(prepare_data_dir, config.data_dir)
    tls_files = await asyncio.to_thread(_tls_files, config)
    context = await asyncio.to_thread(_tls_context, tls_files)
    async with AsyncExitStack() as stack:
        listeners = stack.enter_context(_listen(config.host, config.port))
        port = listeners[0].getsockname()[1]
        url = base_url(config.host, port, config.tls, config.advertise)
        links = Links(await asyncio.to_thread(links_key, config.data_dir), url)
        db = await stack.enter_async_context(_store(config.data_dir))
        recorder = await stack.enter_async_context(_recorder(config))
        if config.timestamp_url:
            key = recorder.public_key
            stamping = open_timestamper(config.data_dir, config.timestamp_url, key)
            await stack.enter_async_context(stamping)
        media = await stack.enter_async_context(_media(config, port))
        analysis = await stack.enter_async_context(_analysis(config.workers))
        turn = Turn(config.turn_urls, config.turn_secret)
        plant = Plant(media, recorder, analysis, db, media.clock, turn)
        hub = await stack.enter_async_context(open_hub(plant))
        metrics = await asyncio.to_thread(metrics_token, config.data_dir)
        await stack.enter_async_context(
            _http(plant, hub, links, metrics, config, listeners, context)
        )
        await stack.enter_async_context(_announced(config.data_dir, url))
        owner = await db.run(owner_link, time.time())
        certificate = tls_files[0] if tls_files else None
        yield Server(url, links.url(owner), links, db, hub, recorder, certificate)


@asynccontextmanager
async def _http(
    plant: Plant,
    hub: Hub,
    links: Links,
    metrics_token: str,
    config: Config,
    listeners: Sequence[socket.socket],
    context: ssl.SSLContext | None,
) -> AsyncIterator[None]:
    lag = LoopLag()
    meter = LoadMeter(plant.admission, plant.storage, lag, plant.recorder, plant.clock)
    metrics = Metrics(hub, plant, lag, metrics_token)
    access = Access(links.key, plant.db, time.time)
    async with (
        open_replay(plant, config.store) as replay,
        open_exports(plant, replay, config.store, config.timestamp_url, links.key) as exports,
        open_compressor(_compressor(config, plant, replay, exports)),
    ):
        api = Api(hub, plant.db, links)
        pages = await asyncio.to_thread(Pages)
        handlers = Handlers(
            pages, api, replay, exports, Hls(replay), Whip(hub), Sockets(hub, access), metrics
        )
        app = await asyncio.to_thread(make_app, hub, access, handlers)
        runner = web.AppRunner(app, shutdown_timeout=HTTP_GRACE_S)
        await runner.setup()
        try:
            async with asyncio.TaskGroup() as tasks:
                running = {
                    tasks.create_task(lag.measure(), name="event loop lag"),
                    tasks.create_task(meter.run(), name="load"),
                }

                idle: dict[HttpConnection, None] = {}

                def serve(connection: socket.socket) -> None:
                    task = tasks.create_task(
                        _connect(runner, idle, connection, context), name="http"
                    )
                    running.add(task)
                    task.add_done_callback(running.discard)

                shared = FirstByte(serve, plant.media.accept)
                for each in listeners:
                    running.add(tasks.create_task(accept(each, shared.accepted), name="accept"))
                metrics.ready = True
                try:
                    yield
                finally:
                    metrics.ready = False
                    for task in list(running):
                        task.cancel()
                    shared.close()
        finally:
            await runner.cleanup()


def _compressor(config: Config, plant: Plant, replay: Replay, exports: Exports) -> Compressor:
    return Compressor(
        plant.recorder,
        config.root_key,
        config.store,
        CompressPolicy(config.compress),
        lambda: plant.admission.running > 0 or exports.queue.busy,
        replay,
        plant.clock,
        plant.compressing,
    )


async def _connect(
    runner: web.AppRunner,
    idle: dict[HttpConnection, None],
    connection: socket.socket,
    context: ssl.SSLContext | None,
) -> None:
    """Gives a connection to the HTTP server; with TLS, once its handshake is over."""
    loop = asyncio.get_running_loop()
    assert runner.server is not None
    made = partial(HttpConnection, runner.server, idle, loop)
    try:
        await loop.connect_accepted_socket(made, connection, ssl=context)
    except OSError:  # it has ended already, or its handshake failed
        connection.close()


# ---- the parts, with errors that say what to do ----------------------------------------


@asynccontextmanager
async def _announced(data_dir: Path, url: str) -> AsyncIterator[None]:
    path = data_dir / SERVER_FILE
    part = path.with_suffix(".part")
    text = json.dumps({"url": url, "pid": os.getpid()})
    await asyncio.to_thread(part.write_text, text)
    await asyncio.to_thread(part.replace, path)
    try:
        yield
    finally:
        # Not another server's, which was started on this directory when this one hung.
        if (await asyncio.to_thread(announcement, data_dir)).get("pid") == os.getpid():
            await asyncio.to_thread(path.unlink, missing_ok=True)


@contextmanager
def _listen(host: str, port: int) -> Iterator[list[socket.socket]]:
    try:
        listeners = bind(host, port, socket.SOCK_STREAM)
    except OSError as error:
        raise _bind_error(error, host, f"Port {port}", "--port") from error
    try:
        yield listeners
    finally:
        for each in listeners:
            each.close()


def _bind_error(error: OSError, host: str, port: str, flag: str) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            return ConfigError(f"{port} is in use: choose another with {flag}.")
        case errno.EACCES:
            return ConfigError(f"{port} needs more rights: choose one above 1023 with {flag}.")
        case errno.EADDRNOTAVAIL:
            return ConfigError(f"{host} is no address of this machine: see --host.")
        case _:
            return ConfigError(f"{host} {port} can't be opened: {error.strerror}.")


@asynccontextmanager
async def _store(data_dir: Path) -> AsyncIterator[AsyncStore]:
    async with AsyncExitStack() as stack:
        try:
            db = await stack.enter_async_context(open_store(data_dir / DATABASE))
        except StoreError as error:
            raise ConfigError(str(error)) from error
        yield db


@asynccontextmanager
async def _recorder(config: Config) -> AsyncIterator[Recorder]:
    async with AsyncExitStack() as stack:
        try:
            root_key = await asyncio.to_thread(
                open_root_key, config.root_key, config.data_dir / "keys", os.environ
            )
            store = (
                await asyncio.to_thread(open_recording_store, config.store)
                if config.store
                else None
            )
            signer = await asyncio.to_thread(_claim_signer, config)
            recorder = await stack.enter_async_context(
                open_recorder(config.data_dir, root_key, store=store, signer=signer)
            )
        except KeyProblem as error:
            raise ConfigError(f"The recordings' keys can't be used: {error}.") from error
        except LogProblem as error:
            raise ConfigError(f"The recordings' log can't be gone on with: {error}.") from error
        except RuntimeError as error:
            raise ConfigError(
                f"Another server is using {config.data_dir}: stop it, or use another --data-dir."
            ) from error
        except OSError as error:  # a file in the place of a folder, another's file, a full disk
            raise ConfigError(f"The recordings can't be opened: {error}.") from error
        yield recorder


def _claim_signer(config: Config) -> ClaimSigner | None:
    """None: one of the data directory's own."""
    if config.c2pa_files is None:
        return None
    try:
        return claim_signer.load(config.c2pa_files.certificate, config.c2pa_files.key)
    except (KeyProblem, OSError) as error:
        raise ConfigError(f"This certificate can't sign for C2PA: {error}.") from error


@asynccontextmanager
async def _media(config: Config, http_port: int) -> AsyncIterator[MediaServer]:
    port = http_port if config.udp_port is None else config.udp_port
    addresses = media_addresses(config.host, config.advertise)
    async with AsyncExitStack() as stack:
        try:
            media = await stack.enter_async_context(
                open_media(config.host, port, addresses, http_port, config.video_codecs)
            )
        except OSError as error:
            raise _bind_error(error, config.host, f"Media port {port}", "--udp-port") from error
        yield media


@asynccontextmanager
async def _analysis(workers: int) -> AsyncIterator[Analysis | None]:
    if workers == 0:
        yield None
        return
    async with open_analysis(workers) as analysis:
        yield analysis


def _tls_files(config: Config) -> tuple[Path, Path] | None:
    if config.tls_files is not None:
        return config.tls_files.certificate, config.tls_files.key
    if not config.tls:
        return None
    names = ("localhost", socket.gethostname())
    addresses = {LOOPBACK, *local_addresses(), *(each.host for each in config.advertise)}
    now = datetime.datetime.now(datetime.UTC)
    return own_certificate(config.data_dir / "tls", names, sorted(addresses), now)


def _tls_context(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    try:
        return server_context(*files)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{files[0]} and {files[1]} are no usable pair: {error}.") from error
