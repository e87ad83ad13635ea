"""The checkout as data: what the tests of the project's habits read."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What git ignores; so are hidden folders (caches, `.venv`, git's own) but for `.ci`.
_MADE = {"node_modules", "data", "build", "__pycache__"}
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
    folders = path.relative_to(ROOT).parts[:-1]
    hidden = any(name.startswith(".") and name != ".ci" for name in folders)
    return hidden or any(name in _MADE or name.endswith(".egg-info") for name in folders)
