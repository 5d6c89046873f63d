from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maskmill.errors import InvalidRecord, NewerRecord
from maskmill.masks.segment_map import MaskHeader
from maskmill.schema import (
    Counts,
    Dtype,
    Execution,
    FailureExample,
    FailureRow,
    ImageProblem,
    ImageWarning,
    JobRecord,
    JobState,
    JobStatus,
    Manifest,
    MaskRow,
    ModelIdentity,
    Outcome,
    Record,
    Reference,
    Segment,
    ShardReport,
    Spec,
    Status,
    Subtask,
    outcome_in,
    reference_line,
)

unhurried = settings(deadline=None)  # the tests' machine may be busy

JOB = "20261122-205301-9f86d081"
NOW = datetime(2026, 11, 22, 20, 53, 1, 123456, tzinfo=UTC)
WARNED = (ImageWarning(code="first_frame", reason="the first of 30 frames"),)
SEGMENT = Segment(id=1, label="кот", label_id=17, score=0.987654321, area=12, box=(1, 2, 3, 4))
STORED = Outcome(
    uri="/photos/a\nb.jpg",
    status=Status.STORED,
    mask_key="masks/a.jpg.png",
    fingerprint="f" * 32,
    width=640,
    height=480,
    segments=(SEGMENT, Segment(id=2, label="sky", label_id=0, area=0, box=(0, 0, 0, 0))),
    scale=(-3.5, 65535.0),
    warnings=WARNED,
    seconds={"fetch": 0.25},
)
FAILED = Outcome(uri="s3://bucket/b.jpg", status=Status.FAILED, code="not_found", reason="no such key")

RECORDS: list[Record] = [
    Spec(revision="abc", subtask=Subtask.INSTANCE, threshold=0.3, dtype=Dtype.BFLOAT16),
    Execution(batch_size=8, num_workers=0, timeout=2.5),
    Reference(uri="https://h/ü?q=1", mask_key="masks/https/h/x.png"),
    JobRecord(
        job=JOB, created=NOW, sources=("photos/",), spec=Spec(), execution=Execution(), images=3, shards=2, shard_size=2
    ),
    STORED,
    FAILED,
    Counts(stored=1, reused=2, failed=3, cancelled=4),
    ShardReport(job=JOB, shard=17, attempt=2, worker="host:1:ab", finished=NOW, outcomes=(STORED, FAILED)),
    Manifest(
        job=JOB,
        state=JobState.COMPLETED_WITH_FAILURES,
        submitted=2,
        counts=Counts(stored=1, failed=1),
        failures={"not_found": 1},
        spec=Spec(),
        fingerprint="f" * 32,
        created=NOW,
        finished=NOW,
    ),
    JobStatus(
        job=JOB, out="s3://b/o", state=JobState.RUNNING, submitted=3, counts=Counts(stored=1), shards=2, shards_done=1
    ),
    MaskHeader(
        uri="/a.jpg", fingerprint="f" * 32, subtask=Subtask.PANOPTIC, segments=(SEGMENT,), scale=(0, 1), warnings=WARNED
    ),
]
each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)


# Round trip


@each_record
def test_a_record_comes_back_equal(record: Record) -> None:
    assert type(record).from_json(record.to_json()) == record


@each_record
def test_a_record_is_one_line(record: Record) -> None:
    assert len(record.to_json().splitlines()) == 1


@each_record
def test_a_record_cannot_be_changed(record: Record) -> None:
    with pytest.raises(ValidationError):
        setattr(record, next(iter(type(record).model_fields)), None)


texts = st.text(st.characters(exclude_categories=["Cs"]))
outcomes = st.builds(
    Outcome,
    uri=texts,
    status=st.sampled_from(Status),
    code=st.none() | texts,
    reason=st.none() | texts,
    segments=st.none() | st.just((SEGMENT,)),
    seconds=st.none() | st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@unhurried
@given(outcomes)
def test_any_outcome_is_one_line_that_comes_back_equal(outcome: Outcome) -> None:
    (line,) = outcome.to_json().splitlines()
    assert Outcome.from_json(line) == outcome


@unhurried
@given(
    texts, st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/.\\:"), min_size=1, max_size=40)
)
@example('\x00\x1f\x7f"\\/\b\f\n\r\t\u2028\ud7ff\U0010ffff', "x")
def test_a_reference_line_is_the_record_s_own(uri: str, name: str) -> None:
    mask_key = f"masks/{name}"
    assert reference_line(uri, mask_key).encode() == Reference(uri=uri, mask_key=mask_key).to_json()


# Foreign texts


@each_record
def test_an_unknown_field_is_refused_with_the_text_that_was_found(record: Record) -> None:
    text = json.dumps({**json.loads(record.to_json()), "colour": "red"})
    with pytest.raises(InvalidRecord, match="colour") as caught:
        type(record).from_json(text)
    assert caught.value.record == text
    assert type(record).__name__ in str(caught.value)


@each_record
def test_a_record_of_another_version_is_refused(record: Record) -> None:
    text = json.dumps({**json.loads(record.to_json()), "version": 2})
    with pytest.raises(InvalidRecord, match="version"):
        type(record).from_json(text)


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"<html>"])
def test_what_is_no_record_at_all_is_refused_with_its_text(text: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        Reference.from_json(text)
    assert caught.value.record == text.decode(errors="replace")


# Fingerprint

OTHER: dict[str, Any] = {
    "model": "other/model",
    "revision": "main",
    "image_processor": "other/processor",
    "subtask": Subtask.SEMANTIC,
    "threshold": 0.91,
    "mask_threshold": 0.51,
    "overlap_mask_area_threshold": 0.81,
    "dtype": Dtype.FLOAT16,
    "scale": "p2-p98",
    "allow_missing_weights": True,
}


def test_an_invalid_record_comes_from_another_process_as_it_is() -> None:
    found = pickle.loads(pickle.dumps(InvalidRecord("not a Spec", "{}")))
    assert (type(found), str(found), found.record) == (InvalidRecord, "not a Spec", "{}")


def test_every_field_of_the_spec_is_tried() -> None:
    assert OTHER.keys() == Spec.model_fields.keys()


@pytest.mark.parametrize("field", OTHER)
def test_each_field_of_the_spec_changes_the_fingerprint(field: str) -> None:
    assert Spec(**{field: OTHER[field]}).fingerprint() != Spec().fingerprint()


def test_all_changes_give_different_fingerprints() -> None:
    specs = [Spec(), Spec(**OTHER), *(Spec(**{field: value}) for field, value in OTHER.items())]
    specs += [Spec(subtask=each) for each in (Subtask.PANOPTIC, Subtask.INSTANCE)]
    specs += [Spec(revision="x"), Spec(image_processor="x")]
    assert len({spec.fingerprint() for spec in specs}) == len(specs)


def test_the_fingerprint_survives_the_bucket() -> None:
    spec = Spec(**OTHER)
    assert Spec.from_json(spec.to_json()).fingerprint() == spec.fingerprint()


def test_naming_a_default_does_not_change_the_fingerprint() -> None:
    assert Spec(threshold=0.9, dtype=Dtype.AUTO, allow_missing_weights=False).fingerprint() == Spec().fingerprint()


def test_the_fingerprint_is_the_same_in_every_process_and_version() -> None:
    # A change here makes every user's schedules compute all masks again.
    spec = Spec(model="other/model", revision="main", subtask=Subtask.SEMANTIC, threshold=0.25, dtype=Dtype.BFLOAT16)
    assert spec.fingerprint() == "53f783ea2def66d38441a25fbaf6b40b"


def test_a_model_made_of_other_files_has_another_fingerprint() -> None:
    made = [
        None,
        ModelIdentity(model="files:1"),
        ModelIdentity(model="commit:1"),
        ModelIdentity(model="files:1", image_processor="files:2"),
    ]
    assert len({Spec().fingerprint(each) for each in made}) == len(made)


def test_the_fingerprint_is_32_hex_digits() -> None:
    fingerprint = Spec().fingerprint()
    assert len(fingerprint) == 32
    assert int(fingerprint, 16)


# Counts


def test_a_report_counts_its_outcomes_by_status() -> None:
    statuses = [Status.STORED, Status.STORED, Status.REUSED, Status.FAILED, Status.CANCELLED]
    report = ShardReport(
        job=JOB,
        shard=0,
        attempt=1,
        worker="w",
        finished=NOW,
        outcomes=tuple(Outcome(uri=str(n), status=status) for n, status in enumerate(statuses)),
    )
    assert report.counts() == Counts(stored=2, reused=1, failed=1, cancelled=1)
    assert report.counts().total == 5


def test_a_report_counts_warnings_by_code_with_the_first_of_each() -> None:
    twice = STORED.model_copy(update={"warnings": (*WARNED, ImageWarning(code="alpha_dropped", reason="…"))})
    report = ShardReport(job=JOB, shard=0, attempt=1, worker="w", finished=NOW, outcomes=(STORED, FAILED, twice))
    first = FailureExample(uri=STORED.uri, reason="the first of 30 frames")
    assert report.warnings() == {
        "first_frame": (2, first),
        "alpha_dropped": (1, FailureExample(uri=STORED.uri, reason="…")),
    }


def test_records_of_before_there_were_warnings_are_read() -> None:
    for record in (STORED, RECORDS[-1]):
        old = json.loads(record.to_json())
        del old["warnings"], old["scale"]
        assert "warnings" not in type(record).from_json(json.dumps(old)).to_json().decode()


# Names that somebody may have put into a bucket


@pytest.mark.parametrize(
    "key",
    [
        *("../a.png", "masks/../../a.png", "/etc/passwd", "masks//a.png", "masks/./a.png", "masks/..", "masks/"),
        *("masks\\..\\a.png", "masks/C:/a.png", "masks/a\0.png", "masks/a\n.png", "jobs/a.png", "", "masks/a/../b.png"),
        *("masks/" + "a" * 1100, "xmasks/a.png", "masks/..../a.png", "masks/a.png/"),
    ],
)
@pytest.mark.parametrize("kind", [Reference, Outcome])
def test_no_record_has_a_mask_key_that_leads_elsewhere(kind: type[Record], key: str) -> None:
    text = json.dumps({"uri": "/a.jpg", "status": "stored", "mask_key": key})
    with pytest.raises(InvalidRecord):
        kind.from_json(text if kind is Outcome else json.dumps({"uri": "/a.jpg", "mask_key": key}))


@pytest.mark.parametrize("job", ["", "..", "../" + JOB, JOB + "/..", JOB + "\n", "٢" * 8 + JOB[8:], JOB.upper(), "x"])
@pytest.mark.parametrize(
    "record", [each for each in RECORDS if hasattr(each, "job")], ids=lambda each: type(each).__name__
)
def test_no_record_has_a_job_that_leads_elsewhere(record: Record, job: str) -> None:
    if isinstance(record, MaskHeader):  # says which job made it, and is no part of a key
        return
    with pytest.raises(InvalidRecord):
        type(record).from_json(json.dumps(json.loads(record.to_json()) | {"job": job}))


@pytest.mark.parametrize(
    "revision", ["../../../../etc/passwd", "/etc/passwd", "~/x", "a/../b", "refs\\..\\x", "a\0b", "a\nb"]
)
def test_a_revision_is_the_name_of_no_file(revision: str) -> None:
    with pytest.raises(ValidationError, match="no branch, tag or commit"):
        Spec(revision=revision)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/7", "feature/x-1", "a" * 40, "release+1"])
def test_revisions_as_the_hub_has_them(revision: str) -> None:
    assert Spec(revision=revision).revision == revision


@pytest.mark.parametrize(
    "warnings", [None, WARNED, (*WARNED, ImageWarning(code="alpha_dropped", reason="an alpha: it is dropped"))]
)
def test_a_line_of_a_folder_tells_the_outcome(warnings: tuple[ImageWarning, ...] | None) -> None:
    outcome = STORED.model_copy(update={"warnings": warnings, "seconds": None})
    assert outcome_in(MaskRow.of(outcome, "masks/a.jpg.png").to_line()) == outcome
    assert outcome_in(FailureRow.of(FAILED).to_line()) == FAILED
    for each in (outcome, FAILED):
        assert outcome_in(each.to_json()) == each, "as earlier versions wrote it"


def test_a_warning_cannot_pass_for_two() -> None:
    odd = STORED.model_copy(update={"warnings": (ImageWarning(code="first_frame", reason="30; no_range: x"),)})
    [told] = outcome_in(MaskRow.of(odd, "masks/a.jpg.png").to_line()).warnings or ()
    assert (told.code, told.reason) == ("first_frame", "30, no_range: x")


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"schema_version":1}', b'{"schema_version":1,"mask_key":7}'])
def test_any_other_line_tells_none(line: bytes) -> None:
    with pytest.raises(InvalidRecord):
        outcome_in(line)


def test_half_a_surrogate_pair_in_a_label_is_replaced() -> None:
    assert Segment(id=1, label="a\ud800", label_id=1, area=1, box=(0, 0, 1, 1)).label == "a?"


def test_a_segment_is_immutable_strict_and_small() -> None:
    with pytest.raises(FrozenInstanceError):
        SEGMENT.area = 13  # type: ignore[misc]
    with pytest.raises(ValidationError, match="colour"):
        Segment(id=1, label_id=1, area=1, box=(0, 0, 1, 1), colour="red")  # type: ignore[call-arg]
    assert not hasattr(SEGMENT, "__dict__")


def test_a_segment_with_a_field_of_a_later_version_is_told_from_a_wrong_one() -> None:
    later = STORED.to_json().replace(b'"area":12', b'"area":12,"depth":7')
    with pytest.raises(NewerRecord, match=r"segments\.0\.depth"):
        Outcome.from_json(later)
    with pytest.raises(InvalidRecord) as caught:
        Outcome.from_json(later.replace(b'"area":12', b'"area":"large"'))
    assert not isinstance(caught.value, NewerRecord)


@pytest.mark.parametrize("reason", ["no such file", "/a.jpg: no such file"])
def test_a_problem_names_its_image_once(reason: str) -> None:
    assert ImageProblem(uri="/a.jpg", code="not_found", reason=reason).text == "/a.jpg: no such file"
