"""The mutants of the centre, made by mutmut, and the tests that each of them concerns."""

from __future__ import annotations

import difflib
import random
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

from libcst import FunctionDef, Module
from mutmut.configuration import config
from mutmut.mutation.file_mutation import Mutation, create_mutations, deep_replace

from tests.mutation.runs import ROOT

SHARDS = "worker/maskmill_worker/shards"

TESTS: dict[str, tuple[str, ...]] = {
    "maskmill/jobs/submit.py": ("unit/test_submit*", "integration/test_submission*", "integration/test_account*"),
    f"{SHARDS}/worker.py": ("integration/test_flow*", "integration/test_job_models*", "integration/test_slice*"),
    "maskmill/jobs/lifecycle.py": ("integration/test_lifecycle*", "integration/test_delete_all*"),
    "maskmill/jobs/intake.py": ("unit/test_intake*", "integration/test_submission*"),
    "maskmill/jobs/seen.py": ("unit/test_seen*", "integration/test_submission*"),
    "maskmill/jobs/outcomes.py": ("integration/test_images_in_memory*", "acceptance/test_signed_addresses*"),
    "maskmill/jobs/*": (
        "integration/test_account*",
        "integration/test_job_models*",
        "integration/test_ended_jobs*",
        "integration/test_slice*",
        "integration/test_rounds*",
    ),
    "maskmill/ledger/*": (
        "unit/test_bitmap*",
        "integration/test_ledger*",
        "integration/test_account*",
        "integration/test_in_hand*",
        "integration/test_job_models*",
    ),
    f"{SHARDS}/attempts.py": ("unit/test_attempts*", "integration/test_slice*"),
    f"{SHARDS}/crashes.py": ("unit/test_crashes*", "integration/test_slice*"),
    f"{SHARDS}/scheduler.py": ("unit/test_scheduler*", "integration/test_flow*"),
    f"{SHARDS}/reuse.py": ("integration/test_reuse*", "integration/test_uploads*", "integration/test_flow*"),
    f"{SHARDS}/uploads.py": ("integration/test_uploads*", "integration/test_flow*"),
    f"{SHARDS}/*": ("integration/test_slice*", "integration/test_flow*", "integration/test_rounds*"),
}
"""The centre's modules and their tests, the quickest first; of the patterns the first that fits counts."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module: the whole text of the changed module, and the change as a diff."""

    module: str
    code: str
    diff: str

    @property
    def tests(self) -> tuple[str, ...]:
        """The files of the tests that concern it."""
        patterns = next(tests for module, tests in TESTS.items() if fnmatch(self.module, module))
        found = (path for pattern in patterns for path in sorted((ROOT / "tests").glob(f"{pattern}.py")))
        return tuple(str(path.relative_to(ROOT)) for path in found)


def modules() -> list[str]:
    """The modules that are mutated, as `pyproject.toml` says."""
    return [str(path) for folder in config().source_paths for path in sorted(folder.glob("*.py"))]


def sample(number: int, seed: int, only: str = "*") -> list[Mutant]:
    """So many mutants of the modules that `only` fits; the same for the same seed and code."""
    places = [(module, place) for module in modules() if fnmatch(module, only) for place in range(len(_of(module)[1]))]
    chosen = random.Random(seed).sample(places, min(number, len(places)))
    return [mutant(module, place) for module, place in chosen]


def mutant(module: str, place: int) -> Mutant:
    """The module with the mutation of this number made."""
    tree, mutations = _of(module)
    changed = deep_replace(tree, mutations[place].original_node, mutations[place].mutated_node)
    assert isinstance(changed, Module)
    lines = difflib.unified_diff(tree.code.splitlines(), changed.code.splitlines(), module, module, lineterm="", n=1)
    return Mutant(module, changed.code, "\n".join(lines))


@cache
def _of(module: str) -> tuple[Module, list[Mutation]]:
    """The module's syntax tree, and all mutations of its functions that mutmut makes.

    Decorated functions, annotations and what `tool.mutmut` leaves out stay as they are.
    """
    tree, mutations, *_ = create_mutations(module, (ROOT / module).read_text(encoding="utf-8"))
    return tree, [each for each in mutations if isinstance(each.contained_by_top_level_function, FunctionDef)]
