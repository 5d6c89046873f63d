"""`docs/benchmarks.md` from the kept results: never written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.result import Comparison, Figure, Kept

TARGET = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Written by `make bench` from `benchmarks/results/*.json`. Each ratio compares two runs on one machine in one session;
absolute rates say little about another machine. `python -m benchmarks A H` runs some of them again.

| | ratio | bar | reached |
| --- | --- | --- | --- |
"""


def write_table(results: Path) -> str:
    """Write the page; returns its text."""
    kept = [Kept.model_validate_json(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    rows = "".join(_ratio(each.letter, comparison) for each in kept for comparison in each.result.comparisons)
    text = HEAD + rows + "".join("\n".join(_section(each)) for each in kept)
    TARGET.write_text(text, encoding="utf-8")
    return text


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
    yield f"\n## {kept.letter}. {kept.title}\n"
    machine = ", ".join(f"{name} {value}" for name, value in kept.machine.items())
    yield f"`{kept.command}`, {kept.date}, {kept.seconds:,.0f} s; {machine}.\n"
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
