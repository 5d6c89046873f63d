"""`docs/benchmarks.md` from the kept results: never written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.result import Comparison, Figure, Kept

HEAD = """# Benchmarks

Written by `make bench` from `benchmarks/results/*.json`. Each ratio compares two runs on one machine in one session;
absolute rates say little about another machine. `python -m benchmarks A H` runs some of them again. `make bench-quick`
runs all at a reduced size in a quarter of an hour, into `build/bench-quick`.
"""

REDUCED_HEAD = """# Benchmarks, reduced

Written by `make bench-quick`: everything runs, and about how fast. **No figure here is a result.** The bars are those
of the full size (`make bench`), where starts and first batches weigh less. Settings name the size that was measured.
"""

RATIOS = """
| | ratio | bar | reached |
| --- | --- | --- | --- |
"""


ON_A_GPU = """
## On a GPU

`make gpu` runs every family, the faults and the speed of five models on a CUDA device, within eight minutes.
{state}
"""
NOT_RUN = "It is written, dry-run on a CPU (`python -m benchmarks gpu --device cpu`), not run on a GPU."


def write_table(results: Path, target: Path) -> None:
    """Write the page of all results of the folder."""
    kept = _kept(results.glob("[A-Z].json"))
    head = REDUCED_HEAD if any(each.reduced for each in kept) else HEAD
    target.write_text(head + _parts(kept) + _on_a_gpu(_kept((results / "gpu").glob("*.json"))), encoding="utf-8")


def _kept(paths: Iterable[Path]) -> list[Kept]:
    return [Kept.model_validate_json(path.read_text(encoding="utf-8")) for path in sorted(paths)]


def _parts(kept: Sequence[Kept]) -> str:
    rows = "".join(row for each in kept for row in _rows(each))
    return RATIOS + rows + "".join("\n".join(_section(each)) for each in kept)


def _on_a_gpu(kept: Sequence[Kept]) -> str:
    return ON_A_GPU.format(state="What it found:") + _parts(kept) if kept else ON_A_GPU.format(state=NOT_RUN)


def _rows(kept: Kept) -> Iterator[str]:
    if kept.result is None:
        yield f"| {kept.letter}. {kept.title} | did not run: {_cell(kept.failed or '')} | – | **no** |\n"
        return
    if not kept.result.comparisons:
        yield f"| {kept.letter}. {kept.title} | no peer to compare with is here | – | – |\n"
    yield from (_ratio(kept.letter, comparison) for comparison in kept.result.comparisons)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _ratio(letter: str, comparison: Comparison) -> str:
    sign = "≥" if comparison.sense == "at least" else "≤"
    cells = (
        f"{letter}. {comparison.name}",
        f"**{_number(comparison.value)} {comparison.unit}**",
        f"{sign} {_number(comparison.bar)} {comparison.unit}",
        "yes" if comparison.met else "**no**",
    )
    return f"| {' | '.join(cells)} |\n"


def _section(kept: Kept) -> Iterator[str]:
    yield f"\n## {kept.letter}. {kept.title}{' (reduced)' if kept.reduced else ''}\n"
    machine = ", ".join(f"{name} {value}" for name, value in kept.machine.items())
    yield f"`{kept.command}`, {kept.date}, {kept.seconds:,.0f} s; {machine}.\n"
    if kept.result is None:
        yield f"It did not run: {kept.failed}.\n"
        return
    yield "| side | figure | peak memory | settings |\n| --- | --- | --- | --- |"
    yield from map(_figure, kept.result.figures)
    yield from (f"\n{note}" for note in kept.result.notes)
    yield ""


def _figure(figure: Figure) -> str:
    memory = f"{figure.peak_bytes / 2**20:,.0f} MiB" if figure.peak_bytes else "–"
    return f"| {figure.name} | {_number(figure.value)} {figure.unit} | {memory} | {figure.settings} |"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
