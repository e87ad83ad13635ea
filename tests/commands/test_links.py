"""`vivavoce invite` and `vivavoce revoke`, as a person types them."""

import re
from pathlib import Path

import pytest

from server.store import Store
from tests.commands.conftest import invited, run


def test_invite_works_before_the_first_start(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = invited(capsys)
    assert {"interview_id", "candidate_url", "whip_url", "observer_url", "whep_url"} <= set(made)
    assert made["candidate_url"].startswith("http://localhost:8080/join#v1.")
    with Store(data / "vivavoce.sqlite") as store:
        interview = store.interview(made["interview_id"])
        assert interview is not None
        assert interview.title == "Backend engineer"


def test_invite_takes_the_address_of_the_server_or_the_one_given(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVAVOCE_PORT", "9000")
    assert invited(capsys)["recruiter_url"].startswith("http://localhost:9000/observe#")
    (data / "server.json").write_text('{"url": "https://192.0.2.7:443", "pid": 1}')
    assert invited(capsys)["whip_url"].startswith("https://192.0.2.7:443/whip/v1.")
    given = invited(capsys, "--url", "https://interviews.example/")
    assert given["whep_url"].startswith("https://interviews.example/whep/v1.")


def test_invite_prints_for_people_by_default(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "invite", "--title", "Backend engineer")
    assert status == 0
    pages = {"Candidate": "join", "Interviewer": "interview", "Observer": "observe"}
    for role, page in pages.items():
        assert re.search(rf"{role}: +http://localhost:\d+/{page}#v1\.", out)
    assert "work until 20" in out


@pytest.mark.parametrize("title", ["", " ", "x" * 201])
def test_a_bad_title_is_refused(data: Path, capsys: pytest.CaptureFixture[str], title: str) -> None:
    status, _, err = run(capsys, "invite", "--title", title)
    assert (status, "title" in err) == (2, True)


@pytest.mark.parametrize("named_by", ["candidate_url", "whip_url"])
def test_revoke_takes_a_url(data: Path, capsys: pytest.CaptureFixture[str], named_by: str) -> None:
    made = invited(capsys)
    assert run(capsys, "revoke", made[named_by])[0] == 0
    with Store(data / "vivavoce.sqlite") as store:
        revoked = [each.role for each in store.links(made["interview_id"]) if each.revoked_s]
    assert revoked == ["candidate"]


def test_revoke_refuses_what_is_no_link(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "revoke", "abc")[0] == 2  # nor is there a data directory
    made = invited(capsys)
    assert run(capsys, "revoke", "abc")[0] == 2
    assert run(capsys, "revoke", made["candidate_url"][:-4] + "AAAA")[0] == 2
