"""`python -m tests.fuzz TARGET [libFuzzer flags]`: coverage-guided, from the seeds in `corpus`.

What fails is written to the folder `build/fuzz` as `TARGET-crash-...`: put it into the corpus.
"""

import sys
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    with atheris.instrument_imports(include=["server"]):
        from tests.fuzz.targets import TARGETS
    name, *flags = sys.argv[1:]
    found = Path("build/fuzz") / name  # what covers more goes there, not among the seeds
    found.mkdir(parents=True, exist_ok=True)
    failures = f"-artifact_prefix=build/fuzz/{name}-"
    atheris.Setup([sys.argv[0], str(found), str(CORPUS / name), failures, *flags], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
