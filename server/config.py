"""The server's settings: one frozen value, from flags, then the environment, then defaults."""

import argparse
import ipaddress
import math
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from server.core.frames import VIDEO_CODECS, Codec

DEFAULT_PORT = 8080
DEFAULT_DATA_DIR = "data"
DEFAULT_ROOT_KEY = "file"
#: A recording is evidence: nobody alters it unasked, and the law of the place decides.
COMPRESS = (DEFAULT_COMPRESS := "off", "keep-source", "replace-source")
#: Docker kills 10 s after SIGTERM, systemd after 90: the rest of it is for sealing.
DEFAULT_DRAIN_TIMEOUT_S = 5.0


class ConfigError(Exception):
    """The person who started the program can put it right; the message says how."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate chain and its private key, both PEM."""

    certificate: Path
    key: Path


class Endpoint(NamedTuple):
    """An address at which browsers reach our media; ``port`` None: the one that is bound."""

    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """``port`` 0 takes any free port; ``udp_port`` None means the number of ``port``."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    udp_port: int | None = None
    advertise: tuple[Endpoint, ...] = ()
    tls: bool = False
    tls_files: CertificateFiles | None = None
    workers: int = 1
    #: How long running interviews may go on after SIGTERM.
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    #: What candidates may send, best first.
    video_codecs: tuple[Codec, ...] = VIDEO_CODECS
    #: Where the root key is, as `server.recorder.keys.root_keys` takes it.
    root_key: str = DEFAULT_ROOT_KEY
    #: Where closed files of recordings go, as `server.recorder.stores.store` takes it;
    #: empty: nowhere.
    store: str = ""
    #: Who signs for C2PA, if not a certificate of the data directory's own.
    c2pa_files: CertificateFiles | None = None
    #: The authority that stamps the manifests of closed recordings (RFC 3161); empty: none.
    timestamp_url: str = ""
    #: What is done to finished recordings, as `server.recorder.compressor` has it.
    compress: str = "off"
    #: What browsers may relay through (RFC 7065), and the secret shared with those servers.
    turn_urls: tuple[str, ...] = ()
    turn_secret: str = field(default="", repr=False)


def add_data_dir_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where everything lies (VIVAVOCE_DATA_DIR, ./data)"
    )


def add_root_key_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root-key",
        metavar="WHERE",
        help="what wraps the recordings' keys: file (in the data directory), file:PATH, "
        "env:VARIABLE, vault:[MOUNT/]KEY, aws-kms:KEY or pkcs11:TOKEN/KEY, whose PIN comes from "
        "VIVAVOCE_PKCS11_PIN_FILE (VIVAVOCE_ROOT_KEY, file)",
    )


def add_store_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="WHERE",
        help="where closed recordings go from the data directory: s3://BUCKET/PREFIX, or a "
        "directory (VIVAVOCE_STORE, they stay)",
    )


def add_timestamp_flag(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--timestamp-url",
        metavar="URL",
        help=f"authority that stamps {what} with the time, by RFC 3161 over HTTP "
        "(VIVAVOCE_TIMESTAMP_URL, none)",
    )


def add_c2pa_flags(parser: argparse.ArgumentParser, more: str = "") -> None:
    parser.add_argument(
        "--c2pa-cert",
        metavar="FILE",
        help="PEM certificate chain that signs for C2PA (VIVAVOCE_C2PA_CERT, one of the data "
        f"directory's own, whose root `vivavoce keys c2pa-root` prints){more}",
    )
    parser.add_argument(
        "--c2pa-key", metavar="FILE", help="its PEM private key (VIVAVOCE_C2PA_KEY)"
    )


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve` and `demo`, as `load` reads them."""
    add_data_dir_flag(parser)
    add_root_key_flag(parser)
    add_store_flag(parser)
    add_c2pa_flags(parser)
    parser.add_argument(
        "--compress",
        choices=COMPRESS,
        help="make finished recordings small while nobody is live; replace-source then destroys "
        f"their sources (VIVAVOCE_COMPRESS, {DEFAULT_COMPRESS})",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1; with --tls all of them)")
    parser.add_argument("--port", type=int, help=f"VIVAVOCE_PORT, {DEFAULT_PORT}")
    parser.add_argument(
        "--udp-port", type=int, help="port for media, UDP and TCP (--port's number)"
    )
    parser.add_argument(
        "--advertise",
        action="append",
        default=[],
        metavar="ADDRESS[:PORT]",
        help="where browsers reach this machine's media, as outside a NAT; may be repeated, "
        "the best first; IPv6 with a port in brackets: [2001:db8::1]:8080",
    )
    parser.add_argument(
        "--turn-url",
        action="append",
        default=[],
        metavar="URL",
        help="TURN server that browsers may use, turn:HOST:PORT?transport=udp; may be repeated; "
        "its secret is VIVAVOCE_TURN_SECRET (coturn: use-auth-secret, static-auth-secret)",
    )
    parser.add_argument(
        "--tls", action="store_true", help="HTTPS; makes its own certificate at first start"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain; implies --tls")
    parser.add_argument("--tls-key", metavar="FILE", help="its PEM private key")
    parser.add_argument(
        "--video-codecs",
        metavar="LIST",
        help="what candidates may send, best first (VIVAVOCE_VIDEO_CODECS,"
        f" {','.join(VIDEO_CODECS).lower()})",
    )
    add_timestamp_flag(parser, "sealed recordings")
    parser.add_argument("--workers", type=int, default=1, help="analysis processes; 0: none (1)")
    parser.add_argument(
        "--drain-timeout",
        type=float,
        metavar="SECONDS",
        help="how long running interviews may go on after SIGTERM, while no new ones are taken"
        f" (VIVAVOCE_DRAIN_TIMEOUT, {DEFAULT_DRAIN_TIMEOUT_S:g})",
    )


def load(flags: argparse.Namespace, env: Mapping[str, str]) -> Config:
    """The settings of a server. Raises ConfigError."""
    tls_files = _certificate_files(flags.tls_cert, flags.tls_key, "--tls-cert and --tls-key")
    tls = flags.tls or tls_files is not None
    port = flags.port if flags.port is not None else _env_port(env)
    turn_urls = tuple(_turn_url(url) for url in flags.turn_url)
    if flags.workers < 0:
        raise ConfigError("--workers is a number of processes: 0 or more.")
    return Config(
        data_dir=data_dir(flags, env),
        host=_address(flags.host or ("0.0.0.0" if tls else "127.0.0.1"), "--host"),
        port=_port(port, "--port"),
        udp_port=None if flags.udp_port is None else _port(flags.udp_port, "--udp-port"),
        advertise=tuple(_endpoint(a) for a in flags.advertise),
        tls=tls,
        tls_files=tls_files,
        workers=flags.workers,
        drain_timeout_s=_drain_timeout_s(flags.drain_timeout, env),
        video_codecs=_video_codecs(flags.video_codecs or env.get("VIVAVOCE_VIDEO_CODECS")),
        root_key=root_key(flags, env),
        store=store(flags, env),
        compress=_compress(flags, env),
        c2pa_files=c2pa_files(flags, env),
        timestamp_url=timestamp_url(flags, env),
        turn_urls=turn_urls,
        turn_secret=_turn_secret(env, turn_urls),
    )


def data_dir(flags: argparse.Namespace, env: Mapping[str, str]) -> Path:
    return Path(flags.data_dir or env.get("VIVAVOCE_DATA_DIR") or DEFAULT_DATA_DIR)


def existing_data_dir(flags: argparse.Namespace, env: Mapping[str, str]) -> Path:
    """Raises ConfigError if there is none."""
    folder = data_dir(flags, env)
    if not folder.is_dir():
        raise ConfigError(f"There is no data directory {folder}: give it with --data-dir.")
    return folder


def default_url(env: Mapping[str, str]) -> str:
    """Where a server that isn't running will probably be."""
    return f"http://localhost:{_env_port(env)}"


def root_key(flags: argparse.Namespace, env: Mapping[str, str]) -> str:
    """Where the root key is. Raises ConfigError."""
    return root_key_name(flags.root_key or env.get("VIVAVOCE_ROOT_KEY") or DEFAULT_ROOT_KEY)


#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[\w!.*'()/-]*)?")


def store(flags: argparse.Namespace, env: Mapping[str, str]) -> str:
    """Where closed recordings go; empty: nowhere. Raises ConfigError."""
    text = flags.store or env.get("VIVAVOCE_STORE") or ""
    if "://" in text and not _S3_URL.fullmatch(text):
        raise ConfigError(
            f"--store (VIVAVOCE_STORE) is s3://BUCKET/PREFIX or a directory, not {text!r}."
        )
    return text


def _compress(flags: argparse.Namespace, env: Mapping[str, str]) -> str:
    text = flags.compress or env.get("VIVAVOCE_COMPRESS") or DEFAULT_COMPRESS
    if text not in COMPRESS:
        raise ConfigError(
            f"--compress (VIVAVOCE_COMPRESS) is one of {', '.join(COMPRESS)}, not {text!r}."
        )
    return text


_ROOT_KEY = re.compile(
    r"file(?::.+)?|env:[A-Za-z_][A-Za-z0-9_]*|vault:(?:[\w.-]+/)*[\w.-]+|aws-kms:[\w:/-]+"
    r"|pkcs11:[^/\x00-\x1f]+/[^/\x00-\x1f]+"
)
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{32,}")


def root_key_name(text: str) -> str:
    """Raises ConfigError unless it says where a root key is."""
    if _HEX_KEY.fullmatch(text):  # not repeated in the message: it may be one
        raise ConfigError(
            "--root-key (VIVAVOCE_ROOT_KEY) says where the root key is, and is no key itself: put "
            "the key into a variable, say MY_KEY, and give env:MY_KEY here."
        )
    if not _ROOT_KEY.fullmatch(text):
        raise ConfigError(
            "--root-key (VIVAVOCE_ROOT_KEY) is file, file:PATH, env:VARIABLE, vault:[MOUNT/]KEY, "
            f"aws-kms:KEY or pkcs11:TOKEN/KEY, not {text!r}."
        )
    return text


#: RFC 7065 3.1, without escapes: host names and addresses need none.
_TURN_URL = re.compile(
    r"turns?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?transport=(?:udp|tcp))?"
)


def _turn_url(text: str) -> str:
    match = _TURN_URL.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--turn-url {text} is not turn:HOST:PORT?transport=udp (or tcp), or turns:..."
        )
    _port(int(match["port"] or 0), f"--turn-url {text}: what follows the host")
    return text


def _turn_secret(env: Mapping[str, str], urls: tuple[str, ...]) -> str:
    secret = env.get("VIVAVOCE_TURN_SECRET", "")
    if urls and not secret:
        raise ConfigError(
            "--turn-url needs the TURN server's secret in the environment: VIVAVOCE_TURN_SECRET "
            "(coturn's static-auth-secret)."
        )
    if secret and not urls:
        raise ConfigError("VIVAVOCE_TURN_SECRET is set, but no --turn-url says for which server.")
    return secret


def timestamp_url(flags: argparse.Namespace, env: Mapping[str, str]) -> str:
    """Of the authority that stamps with the time; empty: nobody. Raises ConfigError."""
    text = flags.timestamp_url or env.get("VIVAVOCE_TIMESTAMP_URL")
    if text and not re.fullmatch(r"https?://[^\s/]+(?:/\S*)?", text):
        raise ConfigError(
            f"--timestamp-url (VIVAVOCE_TIMESTAMP_URL) is http://... or https://..., not {text!r}."
        )
    return text or ""


def _video_codecs(text: str | None) -> tuple[Codec, ...]:
    if not text:
        return VIDEO_CODECS
    known = {codec.lower(): codec for codec in VIDEO_CODECS}
    names = [name.strip().lower() for name in text.split(",")]
    if not set(names) <= known.keys() or len(set(names)) < len(names):
        raise ConfigError(
            f"--video-codecs lists some of {', '.join(known)}, each once, not {text!r}."
        )
    return tuple(known[name] for name in names)


def c2pa_files(flags: argparse.Namespace, env: Mapping[str, str]) -> CertificateFiles | None:
    """Who signs for C2PA; None: a certificate of the data directory's own. Raises ConfigError."""
    certificate = flags.c2pa_cert or env.get("VIVAVOCE_C2PA_CERT")
    key = flags.c2pa_key or env.get("VIVAVOCE_C2PA_KEY")
    names = "--c2pa-cert (VIVAVOCE_C2PA_CERT) and --c2pa-key (VIVAVOCE_C2PA_KEY)"
    return _certificate_files(certificate, key, names)


def _certificate_files(
    certificate: str | None, key: str | None, names: str
) -> CertificateFiles | None:
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise ConfigError(f"{names} belong together: give both.")
    for path in (certificate, key):
        if not Path(path).is_file():
            raise ConfigError(f"There is no file {path}.")
    return CertificateFiles(Path(certificate), Path(key))


def _env_port(env: Mapping[str, str]) -> int:
    text = env.get("VIVAVOCE_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal():
        raise ConfigError(f"VIVAVOCE_PORT is a port number, not {text!r}.")
    return _port(int(text), "VIVAVOCE_PORT")


def _drain_timeout_s(flag: float | None, env: Mapping[str, str]) -> float:
    name = "--drain-timeout" if flag is not None else "VIVAVOCE_DRAIN_TIMEOUT"
    try:
        text = env.get("VIVAVOCE_DRAIN_TIMEOUT") or DEFAULT_DRAIN_TIMEOUT_S
        seconds = float(text) if flag is None else flag
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{name} is a number of seconds, 0 or more.")
    return seconds


def _port(port: int, name: str) -> int:
    if not 0 <= port <= 65535:
        raise ConfigError(f"{name} is a port number from 0 to 65535, not {port}.")
    return port


def _endpoint(text: str) -> Endpoint:
    """`host`, `host:port`, `[IPv6]:port` or a bare IPv6 address."""
    host, port = text, ""
    if bracketed := re.fullmatch(r"\[(.*)\](?::(.*))?", text):
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") == 1:
        host, port = text.split(":")
        port = port or "missing"
    if not port:
        return Endpoint(_address(host, "--advertise"))
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ConfigError(f"--advertise {text}: the port is a number from 1 to 65535.")
    return Endpoint(_address(host, "--advertise"), int(port))


def _address(text: str, name: str) -> str:
    """An IP address; a host name is looked up once, here."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(text, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError(f"{name} {text}: no such address ({error.strerror}).") from error
    return str(min(found, key=lambda info: info[0])[4][0])  # AF_INET sorts before AF_INET6
