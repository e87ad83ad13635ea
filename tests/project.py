"""The checkout as data: what the tests of the project's habits read."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What git ignores, and git itself.
_MADE = {".venv", ".git", "node_modules", "data", "build", "__pycache__"}
_TEXT = {".py", ".md", ".toml", ".txt", ".in", ".json", ".js", ".html", ".css", ".svg", ""}


def files(*folders: str) -> list[Path]:
    """The project's text files, all of them or those below `folders`."""
    roots = [ROOT / folder for folder in folders] or [ROOT]
    return [
        path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in _TEXT and not _is_made(path)
    ]


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def _is_made(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in _MADE or part.endswith((".egg-info", "_cache")) for part in parts)
