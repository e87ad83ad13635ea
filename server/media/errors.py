"""What can be wrong with what a peer sent: each message is for the person at that end."""


class SdpError(ValueError):
    """The session description cannot be used; the message says which line and why."""


class PartialAnswer(SdpError):
    """Only a part of the offer could be taken, from a client that wants all or nothing."""


class NoCommonCodec(SdpError):
    """The offer has no audio or video codec that this server forwards and records."""


class MediaBusy(Exception):
    """Too many peers are still connecting: the offer may be made again in a moment."""
