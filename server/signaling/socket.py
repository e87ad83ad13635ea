"""`/ws`: the handshake, then one reader and one writer for each socket."""

import asyncio
import logging

import msgspec
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from server.core.interviews import Role
from server.signaling.access import ANY_ROLE, CANDIDATE, SPEAKERS, Access, Grant
from server.signaling.errors import Refusal, error_message, refusing_offers
from server.signaling.hub import Hub
from server.signaling.interview import LiveInterview
from server.signaling.limits import MAX_MESSAGE_BYTES, PER_SOCKET, TokenBucket
from server.signaling.outbox import CLOSE_NORMAL, Outbox, close_code, encode
from server.signaling.participant import Participant
from server.signaling.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Camera,
    ClientMessage,
    Connection,
    ErrorId,
    Hello,
    Leave,
    Microphone,
    Ping,
    Pong,
    Publish,
    Restart,
    Unshare,
    Watch,
)

log = logging.getLogger(__name__)

#: A page says hello at once; a socket without a hello is only a held resource.
HELLO_TIMEOUT_S = 10.0
#: A message that the reader's buffers don't take in this time: the reader is gone or stuck.
SEND_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
#: Protocol-level pings find dead connections that TCP has not noticed yet.
HEARTBEAT_S = 20.0

#: Who may send what after the handshake.
SENDERS = {
    Publish: SPEAKERS,
    Watch: ANY_ROLE,
    Restart: ANY_ROLE,
    Unshare: CANDIDATE,
    Camera: SPEAKERS,
    Microphone: SPEAKERS,
    Leave: ANY_ROLE,
    Ping: ANY_ROLE,
}

_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def decode(text: str) -> ClientMessage:
    """One message of a client. Raises Refusal with BAD_MESSAGE."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise Refusal(ErrorId.BAD_MESSAGE, f"Not a message of this protocol: {error}") from error


class Sockets:
    """The handler of `/ws`."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub = hub
        self._access = access

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            max_msg_size=MAX_MESSAGE_BYTES,
            compress=False,  # SDP and secrets don't mix with compression, and CPU is for media
        )
        await socket.prepare(request)
        try:
            hello = await _hello(socket)
            grant = await self._access.admit(self._access.claims(hello.token))
            grant.allow(ANY_ROLE, hello.interview)
            await self._converse(request, socket, grant, hello)
        except Refusal as refusal:
            await _refuse(request, socket, refusal)
        return socket

    async def _converse(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        grant: Grant,
        hello: Hello,
    ) -> None:
        outbox = Outbox()
        participant = Participant(grant.link_id, grant.role, outbox, opening=hello.opening)
        interview = await self._hub.enter(grant.interview(hello.interview), participant)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_write(request, socket, outbox), name="socket writer")
                await self._read(socket, interview, participant, outbox)
                outbox.close(CLOSE_NORMAL)
        finally:
            await interview.exit(participant)

    async def _read(
        self,
        socket: web.WebSocketResponse,
        interview: LiveInterview,
        participant: Participant,
        outbox: Outbox,
    ) -> None:
        bucket = TokenBucket(PER_SOCKET)
        async for frame in socket:
            if not bucket.take(self._hub.clock()):
                outbox.refuse(ErrorId.TOO_MANY_REQUESTS, "Too many messages.")
                return
            connection: Connection | None = None
            try:
                message = _message(frame)
                connection = _connection(message, participant.role)
                with refusing_offers():
                    await self._act(message, interview, participant, outbox)
            except Refusal as refusal:
                outbox.send(error_message(refusal, connection=connection))
            except Exception:  # the root of one message: the others must still be served
                log.exception("message failed interview=%s", interview.id)
                outbox.refuse(ErrorId.INTERNAL, "The server failed to do this; see its log.")
                return

    async def _act(
        self,
        message: ClientMessage,
        interview: LiveInterview,
        participant: Participant,
        outbox: Outbox,
    ) -> None:
        if isinstance(message, Hello):
            raise Refusal(ErrorId.BAD_MESSAGE, "There was a hello already.")
        if participant.role not in SENDERS[type(message)]:
            raise Refusal(ErrorId.FORBIDDEN)
        match message:
            case Publish(sdp=sdp, consent=consent, notice=notice):
                if not consent:
                    raise Refusal(ErrorId.CONSENT_MISSING, "Recording needs your consent first.")
                answer = await interview.publish(participant, sdp, notice)
                outbox.send(Answer(answer, Connection.UP))
            case Watch(sdp=sdp):
                answer = await interview.watch(participant, sdp)
                outbox.send(Answer(answer, Connection.DOWN))
            case Restart(sdp=sdp):
                connection = _restarted(message, participant.role)
                answer = interview.restart(participant, sdp, connection)
                outbox.send(Answer(answer, connection))
            case Unshare():
                interview.unshare(participant)
            case Camera(active=active):
                interview.show_camera(participant, active)
            case Microphone(active=active):
                interview.note_microphone(participant, active)
            case Leave():
                await interview.leave(participant)
            case Ping(id=id):
                outbox.send(Pong(id, self._hub.clock()))


def _connection(message: ClientMessage, role: Role) -> Connection | None:
    """Which connection the message is about; None: none."""
    match message:
        case Publish():
            return Connection.UP
        case Watch():
            return Connection.DOWN
        case Restart():
            return _restarted(message, role)
        case _:
            return None


def _restarted(message: Restart, role: Role) -> Connection:
    return message.connection or (Connection.UP if role in SPEAKERS else Connection.DOWN)


async def _hello(socket: web.WebSocketResponse) -> Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            message = _message(await socket.receive())
    except TimeoutError as error:
        raise Refusal(ErrorId.BAD_MESSAGE, "The first message must be a hello.") from error
    if not isinstance(message, Hello):
        raise Refusal(ErrorId.BAD_MESSAGE, "The first message must be a hello.")
    if message.version != PROTOCOL_VERSION:
        raise Refusal(
            ErrorId.UNSUPPORTED_VERSION, f"This server speaks version {PROTOCOL_VERSION}."
        )
    return message


def _message(frame: WSMessage) -> ClientMessage:
    if frame.type is not WSMsgType.TEXT:
        raise Refusal(ErrorId.BAD_MESSAGE, "Messages are JSON in text frames.")
    return decode(frame.data)


async def _write(request: web.Request, socket: web.WebSocketResponse, outbox: Outbox) -> None:
    """Write until the outbox ends; a reader that takes nothing is cut off."""
    try:
        while (text := await outbox.next()) is not None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send_str(text)
        await socket.close(code=outbox.close_code or WSCloseCode.OK)
    except (TimeoutError, ConnectionError):
        outbox.close(CLOSE_NORMAL)
        _abort(request)


async def _refuse(request: web.Request, socket: web.WebSocketResponse, refusal: Refusal) -> None:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            error = error_message(refusal, fatal=True)
            await socket.send_str(encode(error).text)
            await socket.close(code=close_code(refusal.id))
    except (TimeoutError, ConnectionError):
        _abort(request)


def _abort(request: web.Request) -> None:
    """Close the TCP connection without waiting for what is buffered; the reader then ends."""
    if request.transport is not None:
        request.transport.abort()
