"""The project's habits that no linter checks."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.project import ROOT, files, make_targets

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PRODUCT_LOCKS = [ROOT / "requirements" / name for name in ("base.txt", "models.txt")]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_a_version_and_hashes(lock: Path) -> None:
    lines = [line for line in lock.read_text().replace("\\\n", " ").splitlines() if line.strip()]
    requirements = [line for line in lines if not line.lstrip().startswith("#")]
    assert requirements
    assert [r for r in requirements if not (_PIN.match(r) and "--hash=sha256:" in r)] == []


@pytest.mark.parametrize(
    "lock", [*LOCKS, ROOT / "package-lock.json"], ids=lambda path: Path(path).name
)
def test_no_lock_file_names_a_registry(lock: Path) -> None:
    registry = re.compile(r'--(?:extra-)?index-url|--find-links|"resolved"|\w+://\S+')
    text = re.sub(r'"url": "[^"]*"', "", lock.read_text())  # whom its authors ask for money
    assert registry.findall(text) == []


def test_every_locked_javascript_package_has_a_hash() -> None:
    lock = (ROOT / "package-lock.json").read_text()
    assert lock.count('"node_modules/') == lock.count('"integrity": "sha512-') > 0


def test_the_product_installs_no_gpl_package() -> None:
    names = [name for lock in PRODUCT_LOCKS for name, _ in _PIN.findall(lock.read_text())]
    assert [name for name in names if re.search(r"\bA?GPL", _licence(name))] == []


def _licence(name: str) -> str:
    """What a distribution says of its licence. LGPL would do; GPL would not."""
    metadata = importlib.metadata.metadata(name)
    said = metadata.get_all("License-Expression") or metadata.get_all("License") or []
    classifiers = [c for c in metadata.get_all("Classifier") or [] if c.startswith("License")]
    # Some put the whole text into the field: its first line is the name.
    return " / ".join([*(text.strip().split("\n")[0] for text in said), *classifiers])


def test_the_server_imports_only_what_base_txt_locks() -> None:
    locked = {_normal(name) for name, _ in _PIN.findall(PRODUCT_LOCKS[0].read_text())}
    own = {"server", "loadtest", *sys.stdlib_module_names}
    distributions = importlib.metadata.packages_distributions()
    strangers = {
        name
        for path in files("server", "loadtest")
        if path.suffix == ".py"
        for name in re.findall(r"^\s*(?:from|import) (\w+)", _code(path), re.MULTILINE)
        # The load tester's `--browser` alone needs it, and says so where it is missing.
        if (path.name, name) != ("browser.py", "playwright")
        and name not in own
        and not locked & {_normal(d) for d in distributions.get(name, [])}
    }
    assert strangers == set()


def _code(path: Path) -> str:
    """Without docstrings: a sentence may begin with `from`."""
    return re.sub(r'""".*?"""', '""', path.read_text(), flags=re.DOTALL)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_layers_know_only_those_below_them() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_every_pure_module_exception_names_a_file_that_exists() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    patterns = [p for p in ruff["per-file-ignores"] if p.startswith("server/")]
    paths = [path for pattern in patterns for path in _braces(pattern)]
    assert [path for path in paths if not (ROOT / path.removesuffix("/**")).exists()] == []


def test_installed_packages_have_their_assets() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = ROOT / "loadtest"
    packed = {path for each in setuptools["package-data"]["loadtest"] for path in folder.glob(each)}
    assert {path for path in (folder / "assets").rglob("*") if path.is_file()} == packed


def test_every_decision_is_in_the_list_of_decisions() -> None:
    """And the list names no record that is gone."""
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^\| \[.*?\]\((.*?)\)", (folder / "README.md").read_text(), re.MULTILINE)
    records = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(records)


def test_the_architecture_names_only_files_and_names_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = set(re.findall(r"`((?:server|loadtest|web_client)/[\w./]*)`", text))
    assert len(paths) > 25
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    sources = "".join(path.read_text() for path in files("server"))
    names = re.findall(r"`([A-Z]\w+)(?:\.(\w+))?`", text)
    for owner, member in names:
        assert re.search(rf"^(?:    )?(?:class {owner}\b|{owner} = )", sources, re.MULTILINE), owner
        assert not member or re.search(rf"\b{member}\b", sources), member


def _braces(pattern: str) -> list[str]:
    """`a/{b,c}.py` as a shell expands it."""
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    return [match[1] + name + match[3] for name in match[2].split(",")] if match else [pattern]


def test_the_pages_contact_no_other_host() -> None:
    """Namespaces are names, not addresses; comments may cite specifications."""
    found = [
        f"{path.relative_to(ROOT)}: {address}"
        for path in files("web_client")
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith(("//", "*", "/*", "<!--"))
        for address in re.findall(r"""(?:https?|wss?)://\w[^\s"'`<>)]*|["'(]//\w[^"')]*""", line)
        if not address.startswith("http://www.w3.org/")
    ]
    assert found == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    private = re.compile(r"(?<![\w.<-])/(?:work|root|home/\w+|Users/\w+|opt/(?:wheels|pypi))\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files()
        for match in private.finditer(path.read_text(errors="replace"))
        if path != Path(__file__)
    ]
    assert found == []


def test_every_command_of_the_documents_exists() -> None:
    documents = "\n".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    commands = set(re.findall(r"(?:^ *|`)make ([a-z]+)", documents, re.MULTILINE))
    assert {"demo", "run", "test"} <= commands <= make_targets()


def test_every_vivavoce_command_of_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"(?:^ *|`)(?:\.venv/bin/)?vivavoce ([a-z]+)", readme, re.MULTILINE))
    vivavoce = Path(sys.executable).with_name("vivavoce")
    usage = subprocess.run([vivavoce, "--help"], capture_output=True, text=True, check=True).stdout
    assert commands >= {"invite", "verify", "export"}
    assert [command for command in commands if not re.search(rf"\b{command}\b", usage)] == []


def test_every_link_between_documents_leads_to_a_file() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in files()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []


#: Where types are taken apart when they are first used, in one thread only: of bodies of requests
#: in the event loop's, of an export's credentials in that of a command.
LATE_TYPES = {"server/signaling/api.py", "server/recorder/export/credentials_check.py"}


def test_types_are_decoded_by_decoders_made_at_import() -> None:
    """msgspec 0.22 takes a type apart when it first decodes it: two threads at once crash."""
    late = {
        str(path.relative_to(ROOT))
        for path in files("server")
        if path.suffix == ".py"
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and _takes_a_type_apart(node)
    }
    assert late == LATE_TYPES


def _takes_a_type_apart(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    typed = any(keyword.arg == "type" for keyword in call.keywords)
    return (
        called == "msgspec.convert"
        or called.endswith(".Decoder")
        or (called.endswith(".decode") and typed)
    )
