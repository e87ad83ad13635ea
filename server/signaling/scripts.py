"""The modules of a page as one script.

Browsers take longer to ask for thirty small files than for anything else that a page is made of.
The modules are written, checked and tested as modules; what is served has them in one file, each a
function whose text is theirs but for its imports and exports.
"""

import re
from collections.abc import Callable, Iterable

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|class|function|async function) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
#: Within a page this ends the script, or changes how the rest is read (HTML 4.12.1.3).
_ENDS = re.compile(r"</?script|<!--", re.IGNORECASE)

#: Of a page: what each of its modules exports, by name.
_TABLE = "const modules = (globalThis.vivavoceModules ??= {});"

Read = Callable[[str], str]


class ScriptError(Exception):
    """A module has what cannot be joined; the text says which and what."""


def modules_of(entry: str, read: Read) -> list[str]:
    """The names of the module and of all it imports, each after those that it imports itself."""
    found: dict[str, None] = {}
    _gather(entry, read, found, ())
    return list(found)


def joined(names: Iterable[str], read: Read) -> str:
    """One script of these modules, in this order; what is joined later may import them.

    Raises ScriptError of an import or export in another form than `import { a, b as c } from
    "./x.js";` and `export const`, `class` or `function`.
    """
    functions = "".join(_function(name, read(name)) for name in names)
    return f'"use strict";\n{{\n{_TABLE}\n{functions}}}\n'


def check_inline(script: str) -> None:
    """Raises ScriptError of a script that cannot be in the text of a page."""
    if (found := _ENDS.search(script)) or (found := re.search(r"\bimport\.meta\b", script)):
        raise ScriptError(f"a script within a page cannot have {found[0]!r}")


def _gather(name: str, read: Read, found: dict[str, None], within: tuple[str, ...]) -> None:
    if name in within:
        raise ScriptError(f"{name} imports itself, by {' and '.join(within)}")
    for _, imported in _IMPORT.findall(read(name)):
        if imported not in found:
            _gather(imported, read, found, (*within, name))
    found[name] = None


def _function(name: str, text: str) -> str:
    exported = _EXPORT.findall(text)
    text = _EXPORT.sub("", _IMPORT.sub(_taken, text))
    if (other := _OTHER.search(text)) is not None:
        raise ScriptError(f"{name}: {other[0]}")
    return f'modules["{name}"] = (() => {{\n{text}\nreturn {{ {", ".join(exported)} }};\n}})();\n'


def _taken(found: re.Match[str]) -> str:
    return f'const {{{found[1].replace(" as ", ": ")}}} = modules["{found[2]}"];'
