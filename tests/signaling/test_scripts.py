import shutil
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signaling.scripts import ScriptError, check_inline, joined, modules_of

MODULES = {
    "page.js": """// @ts-check
import { half, Sum as Total } from "./sums.js";
import {
  WORD,
} from "./words.js";

/** @type {import("./sums.js").Sum} */
const total = new Total();
total.add(half(3));
say(`${WORD} ${total.value}`);
""",
    "sums.js": """import { WORD } from "./words.js";
export class Sum {
  constructor() { this.value = 0; }
  add(more) { this.value += more; }
}
export function half(value) { return value / 2; }
export async function later() { return WORD; }
const total = "another one";
""",
    "words.js": """export const WORD = "half:";
""",
}


def test_modules_are_each_named_once_after_those_that_they_import() -> None:
    assert modules_of("page.js", MODULES.__getitem__) == ["words.js", "sums.js", "page.js"]


@pytest.mark.parametrize("parts", [[3], [2, 1], [1, 1, 1]], ids=str)
def test_joined_modules_do_what_they_do_apart_in_one_script_or_several(parts: list[int]) -> None:
    names = modules_of("page.js", MODULES.__getitem__)
    scripts = list[str]()
    for count in parts:
        scripts.append(joined(names[:count], MODULES.__getitem__))
        names = names[count:]
    program = "const say = console.log;\n" + "\n".join(f"{{{each}}}" for each in scripts)
    assert _run(program) == "half: 1.5\n"


def test_a_module_keeps_its_names_to_itself() -> None:
    script = joined(["words.js"], MODULES.__getitem__)
    assert _run(script + "console.log(typeof WORD, typeof modules);") == "undefined undefined\n"


@pytest.mark.parametrize(
    "line",
    [
        'import "./words.js";',
        'import * as words from "./words.js";',
        'import words from "./words.js";',
        'import { WORD } from "https://example.org/words.js";',
        'export * from "./words.js";',
        "export default 1;",
        "export { WORD };",
        "export let word = 1;",
    ],
)
def test_what_cannot_be_joined_is_refused_and_named(line: str) -> None:
    with pytest.raises(ScriptError, match=r"odd\.js: (im|ex)port"):
        joined(["odd.js"], lambda _: line)


def test_modules_that_import_each_other_are_refused() -> None:
    ring = {"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'}
    with pytest.raises(ScriptError, match=r"a\.js imports itself, by a\.js and b\.js"):
        modules_of("a.js", ring.__getitem__)


@pytest.mark.parametrize(
    "text", ["</script>", "<!-- x", "<SCRIPT>", "new URL('x', import.meta.url)"]
)
def test_what_would_end_a_script_within_a_page_is_refused(text: str) -> None:
    check_inline("const a = 1 < 2;")
    with pytest.raises(ScriptError):
        check_inline(f"const a = `{text}`;")


@given(st.text())
def test_any_text_is_joined_or_refused(text: str) -> None:
    with suppress(ScriptError):
        assert joined(["a.js"], lambda _: text).startswith('"use strict";')


def _run(script: str) -> str:
    node = shutil.which("node")
    assert node is not None, "node runs the pages' tests"
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
