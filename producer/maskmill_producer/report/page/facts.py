"""What a job was asked for and how it ended, as the page shows it: `[term, text]` pairs, an account, codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from shlex import quote
from typing import Any

from maskmill.errors import cure_of
from maskmill.images.entries import Reason
from maskmill.schema import Execution, FailureExample, JobRecord, Manifest, Spec, Status
from maskmill_producer.report.page.source import Source

SOURCES_SHOWN = 20


def for_page(source: Source) -> dict[str, Any]:
    """All facts of a job that has ended."""
    record, manifest = source.record, source.manifest
    return {
        "job": record.job,
        "model": record.spec.model,
        "state": manifest.state.value,
        "created": record.created.timestamp(),
        "finished": manifest.finished.timestamp(),
        "asked": [list(pair) for pair in _asked(record, manifest, source.command[1])],
        "command": command(record, *source.command),
        "account": _account(manifest),
        "failures": _codes(manifest.failures, manifest.examples),
        "warnings": _codes(manifest.warnings, manifest.examples),
    }


def command(record: JobRecord, verb: str, out: str) -> str | None:
    """What asks for the same again: `maskmill run photos/ --out out --threshold 0.8`; None for a program's images."""
    if record.inputs is not None:
        return None
    words = ["maskmill", verb, *map(quote, record.sources), "--out", quote(out)]
    chosen = {"column": record.column, "all_files": record.all_files or None, "limit": record.limit}
    chosen |= {name: value for name, value in record.spec if value != getattr(Spec(), name)}
    chosen |= {name: value for name, value in record.execution if value != getattr(Execution(), name)}
    for name, value in chosen.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [quote(f"{value}")])]
    return " ".join(words)


def _asked(record: JobRecord, manifest: Manifest, out: str) -> Iterator[tuple[str, str]]:
    hidden = len(record.sources) - SOURCES_SHOWN
    yield from (("Source", source) for source in record.sources[:SOURCES_SHOWN])
    if hidden > 0:
        yield "Source", f"and {hidden:,} more"
    if record.inputs is not None:
        yield "Source", f"{record.inputs:,} given by a Python program"
    options = {"column": record.column, "root": record.root, "limit": record.limit}
    yield from _chosen(options)
    yield from _chosen(dict(record.spec))
    if manifest.model:
        yield "Model's files", manifest.model.files
    yield from _chosen(dict(record.execution))
    yield "Submitted", _time(record.created)
    yield "Ended", _time(manifest.finished)
    yield "Results", out
    yield "Versions", ", ".join(f"{name} {version}" for name, version in record.software.items())


def _chosen(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        if value is not None:
            yield name.replace("_", " ").capitalize(), "yes" if value is True else str(value)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _account(manifest: Manifest) -> dict[str, Any]:
    """Found = submitted + left out; submitted = stored + reused + failed + cancelled."""
    left_out = [
        [Reason(reason).words if reason in list(Reason) else reason, number, manifest.left_out_examples.get(reason, "")]
        for reason, number in manifest.left_out.items()
    ]
    return {
        "found": manifest.found,
        "leftOut": left_out,
        "submitted": manifest.submitted,
        "counts": {status.value: getattr(manifest.counts, status.value) for status in Status},
        "reason": manifest.reason,
    }


def _codes(numbers: Mapping[str, int], examples: Mapping[str, FailureExample]) -> list[dict[str, Any]]:
    """The commonest code first, each with one of its images, its reason and what to do."""
    nothing = FailureExample(uri="", reason="")
    ordered = sorted(numbers.items(), key=lambda each: (-each[1], each[0]))
    return [
        {"code": code, "number": number, "cure": cure_of(code), **examples.get(code, nothing).model_dump()}
        for code, number in ordered
    ]
