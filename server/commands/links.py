"""The commands `vivavoce invite` and `vivavoce revoke`."""

import argparse
import os
import time

from server.commands.terminal import add_json_flag, date, print_json
from server.config import (
    ConfigError,
    add_data_dir_flag,
    data_dir,
    default_url,
    existing_data_dir,
)
from server.data_dir import announced_url, links_key, open_database, prepare_data_dir
from server.signaling.invitations import Links, invite, link_id_of
from server.signaling.limits import MAX_TITLE_CHARS
from server.signaling.tokens import TokenError


def add_invite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--title", required=True, help="what the candidate sees as its name")
    parser.add_argument("--url", help="the server's address in the links (the running server's)")
    add_json_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_invite)


def add_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("link", metavar="LINK", help="its URL or its id")
    add_data_dir_flag(parser)
    parser.set_defaults(run=_revoke)


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
        print_json(made)
        return 0
    print(f"{made.title}  ({made.interview_id})")
    print(f"  Candidate:    {made.candidate_url}")
    print(f"  Interviewer:  {made.interviewer_url}")
    print(f"  Observer:     {made.observer_url}")
    print(f"  Recruiter:    {made.recruiter_url}")
    print(f"The links work until {date(made.expires_s)}.")
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
