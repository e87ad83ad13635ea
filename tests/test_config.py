import argparse
from pathlib import Path

import pytest

from server.config import (
    CertificateFiles,
    Config,
    ConfigError,
    Endpoint,
    add_server_flags,
    default_url,
    load,
)
from server.core.frames import VIDEO_CODECS, Codec


def config(*flags: str, **env: str) -> Config:
    parser = argparse.ArgumentParser()
    add_server_flags(parser)
    return load(parser.parse_args(flags), env)


def refusal(*flags: str, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(*flags, **env)
    return str(caught.value)


def test_a_certificate_for_c2pa_comes_by_flags_or_the_environment(tmp_path: Path) -> None:
    assert config().c2pa_files is None
    cert, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    cert.touch()
    assert "belong together" in refusal("--c2pa-cert", str(cert))
    assert "no file" in refusal("--c2pa-cert", str(cert), "--c2pa-key", str(key))
    key.touch()
    by_flags = config("--c2pa-cert", str(cert), "--c2pa-key", str(key)).c2pa_files
    by_environment = config(VIVAVOCE_C2PA_CERT=str(cert), VIVAVOCE_C2PA_KEY=str(key)).c2pa_files
    assert by_flags == by_environment == CertificateFiles(cert, key)


def test_defaults_serve_this_machine_only() -> None:
    assert config() == Config(data_dir=Path("data"), host="127.0.0.1", port=8080, workers=1)


def test_flags_win_over_the_environment() -> None:
    env = {
        "VIVAVOCE_PORT": "9000",
        "VIVAVOCE_DATA_DIR": "/from/env",
        "VIVAVOCE_DRAIN_TIMEOUT": "60",
    }
    of_env = config(**env)
    assert (of_env.port, of_env.data_dir, of_env.drain_timeout_s) == (9000, Path("/from/env"), 60)
    chosen = config("--port", "0", "--data-dir", "here", "--drain-timeout", "0", **env)
    assert (chosen.port, chosen.data_dir, chosen.drain_timeout_s) == (0, Path("here"), 0)


def test_tls_serves_other_machines_by_default() -> None:
    assert config("--tls").host == "0.0.0.0"
    assert config("--tls", "--host", "127.0.0.1").host == "127.0.0.1"


def test_certificate_files_imply_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.touch()
    key.touch()
    chosen = config("--tls-cert", str(cert), "--tls-key", str(key))
    assert chosen.tls
    assert chosen.tls_files is not None
    assert (chosen.tls_files.certificate, chosen.tls_files.key) == (cert, key)


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    assert "both" in refusal("--tls-cert", str(tmp_path))
    absent = str(tmp_path / "none")
    assert "no file" in refusal("--tls-cert", absent, "--tls-key", absent)


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        (["--port", "70000"], {}, "--port"),
        (["--udp-port", "-1"], {}, "--udp-port"),
        ([], {"VIVAVOCE_PORT": "http"}, "VIVAVOCE_PORT"),
        (["--workers", "-1"], {}, "--workers"),
        (["--drain-timeout", "-1"], {}, "--drain-timeout"),
        (["--drain-timeout", "inf"], {}, "--drain-timeout"),
        ([], {"VIVAVOCE_DRAIN_TIMEOUT": "soon"}, "VIVAVOCE_DRAIN_TIMEOUT"),
        (["--video-codecs", "h264,hevc"], {}, "--video-codecs"),
        (["--video-codecs", "av1,AV1"], {}, "--video-codecs"),
        ([], {"VIVAVOCE_VIDEO_CODECS": "opus"}, "--video-codecs"),
        (["--host", "no such host"], {}, "--host"),
        (["--advertise", "no such host"], {}, "--advertise"),
        (["--advertise", "192.0.2.7:0"], {}, "port"),
        (["--advertise", "192.0.2.7:"], {}, "port"),
        (["--advertise", "192.0.2.7:65536"], {}, "port"),
        (["--advertise", "[2001:db8::1]:http"], {}, "port"),
        (["--advertise", "[2001:db8::1]8080"], {}, "--advertise"),
    ],
)
def test_a_bad_value_is_named(flags: list[str], env: dict[str, str], named: str) -> None:
    assert named in refusal(*flags, **env)


TURN = "turn:turn.example.org:3478?transport=udp"


def test_turn_servers_are_kept_in_order_with_a_secret_that_is_not_shown() -> None:
    urls = [TURN, "turns:192.0.2.7", "turn:[2001:db8::1]:5349", "turns:a.b:443?transport=tcp"]
    flags = [part for url in urls for part in ("--turn-url", url)]
    chosen = config(*flags, VIVAVOCE_TURN_SECRET="shared")
    assert (chosen.turn_urls, chosen.turn_secret) == (tuple(urls), "shared")
    assert "shared" not in repr(chosen)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "turn.example.org",
        "stun:turn.example.org",
        "turn://turn.example.org",
        "turn:user@turn.example.org",
        "turn:turn.example.org:port",
        "turn:turn.example.org:70000",
        "turn:turn.example.org?transport=sctp",
        'turn:a>; rel="x',
        "turn:a\nb",
    ],
)
def test_a_turn_url_that_no_browser_takes_is_named(url: str) -> None:
    assert f"--turn-url {url}" in refusal("--turn-url", url, VIVAVOCE_TURN_SECRET="shared")


def test_a_turn_server_and_its_secret_belong_together() -> None:
    assert "VIVAVOCE_TURN_SECRET" in refusal("--turn-url", TURN)
    assert "VIVAVOCE_TURN_SECRET" in refusal("--turn-url", TURN, VIVAVOCE_TURN_SECRET="")
    alone = refusal(VIVAVOCE_TURN_SECRET="shared")
    assert "--turn-url" in alone
    assert "shared" not in alone


def test_video_codecs_are_taken_in_the_order_given() -> None:
    assert config().video_codecs == VIDEO_CODECS
    env = {"VIVAVOCE_VIDEO_CODECS": "vp8"}
    assert config(**env).video_codecs == (Codec.VP8,)
    chosen = config("--video-codecs", "av1, VP9,h264", **env)
    assert chosen.video_codecs == (Codec.AV1, Codec.VP9, Codec.H264)


def test_advertised_addresses_are_kept_in_order() -> None:
    chosen = config("--advertise", "192.0.2.7", "--advertise", "2001:DB8::1")
    assert chosen.advertise == (Endpoint("192.0.2.7"), Endpoint("2001:db8::1"))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("203.0.113.7:3478", Endpoint("203.0.113.7", 3478)),
        ("[2001:db8::1]:8080", Endpoint("2001:db8::1", 8080)),
        ("[2001:db8::1]", Endpoint("2001:db8::1")),
        ("localhost:9", Endpoint("127.0.0.1", 9)),
    ],
)
def test_an_advertised_address_may_have_a_port(text: str, endpoint: Endpoint) -> None:
    assert config("--advertise", text).advertise == (endpoint,)


def test_the_url_of_a_stopped_server_is_a_guess_from_the_port() -> None:
    assert default_url({}) == "http://localhost:8080"
    assert default_url({"VIVAVOCE_PORT": "9000"}) == "http://localhost:9000"


@pytest.mark.parametrize(
    "name",
    [
        "file",
        "file:/run/secrets/root",
        "env:SOME_KEY",
        "vault:interviews",
        "vault:secret/transit/interviews",
        "aws-kms:alias/interviews",
        "aws-kms:arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "pkcs11:Interviews HSM/root",
    ],
)
def test_the_root_key_is_chosen_by_flag_or_environment(name: str) -> None:
    assert config("--root-key", name, VIVAVOCE_ROOT_KEY="env:OTHER").root_key == name
    assert config(VIVAVOCE_ROOT_KEY=name).root_key == name


@pytest.mark.parametrize(
    "name", ["files", "file:", "env:", "env:1", "vault", "vault:", "kms:x", "pkcs11:root"]
)
def test_what_names_no_root_key_is_refused(name: str) -> None:
    assert "pkcs11:TOKEN/KEY" in refusal("--root-key", name)


def test_a_key_given_in_place_of_its_name_is_not_repeated() -> None:
    key = "0f" * 32
    message = refusal(VIVAVOCE_ROOT_KEY=key)
    assert key not in message
    assert "env:MY_KEY" in message


def test_the_authority_for_time_stamps_is_a_web_address() -> None:
    assert config().timestamp_url == ""
    assert config("--timestamp-url", "https://tsa.example/ts").timestamp_url.endswith("/ts")
    assert config(VIVAVOCE_TIMESTAMP_URL="http://tsa.example").timestamp_url == "http://tsa.example"
    for wrong in ("tsa.example", "file:///etc/passwd", "https://"):
        assert "--timestamp-url" in refusal("--timestamp-url", wrong)


def test_compressing_is_off_until_asked_for() -> None:
    assert config().compress == "off"
    assert config(VIVAVOCE_COMPRESS="keep-source").compress == "keep-source"
    chosen = config("--compress", "replace-source", VIVAVOCE_COMPRESS="keep-source")
    assert chosen.compress == "replace-source"
    with pytest.raises(ConfigError, match="one of off, keep-source, replace-source"):
        config(VIVAVOCE_COMPRESS="yes")
    assert config("--compress", "keep-source", "--store", "/mnt/nas").compress == "keep-source"


def test_the_store_is_chosen_by_flag_or_environment() -> None:
    assert config().store == ""
    assert (
        config(VIVAVOCE_STORE="s3://recordings/some/prefix").store == "s3://recordings/some/prefix"
    )
    assert config("--store", "/mnt/nas", VIVAVOCE_STORE="s3://recordings").store == "/mnt/nas"
    for wrong in ("s3://", "s3://UPPER/x", "s4://recordings", "https://recordings"):
        assert "s3://BUCKET/PREFIX" in refusal("--store", wrong)
