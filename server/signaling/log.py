"""One line for each log record, without tokens."""

import logging
import re
import sys
from datetime import UTC, datetime

#: A token anywhere in a text (see `tokens.py`), by its shape.
TOKEN = re.compile(r"v1\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?")


class OneLine(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO server.app message``; newlines are escaped.

    No code logs a token; should a library's message carry one, it is cut out here.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = TOKEN.sub("v1.[cut]", text).replace("\r", "\\r").replace("\n", "\\n")
        return f"{at[:-6]}Z {record.levelname} {record.name} {text}"


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # One line for each request would name every token of WHIP and WHEP.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
