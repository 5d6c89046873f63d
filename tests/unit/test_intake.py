"""The account of a job's sources: each entry is submitted or left out, each image once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from maskmill.errors import SourceError
from maskmill.images.entries import Entry, LeftOut, Reason, Unlisted
from maskmill.jobs.intake import Intake, check_strict, in_words, nothing_to_do
from maskmill.schema import Reference


def references(intake: Intake, entries: Sequence[Entry]) -> list[Reference]:
    return [Reference.from_json(line) for line in intake.lines(entries)]


def test_every_entry_is_submitted_or_left_out() -> None:
    intake = Intake("/data", ["s3://b/out", "/data/masks/"])
    entries: list[Entry] = ["/data/a.jpg", LeftOut(Reason.HIDDEN, "/data/.b.jpg"), "/data/masks/c.png", "/data/a.jpg"]
    entries += ["s3://b/out/masks/d.png", LeftOut(Reason.NAME, "s3://b/out/jobs/x.json"), "s3://b/outside.jpg"]
    entries += [Unlisted("/data/l.csv#row=2", "the row has no column 'url'")]
    found = references(intake, entries)
    assert [each.uri for each in found] == ["/data/a.jpg", "s3://b/outside.jpg", "/data/l.csv#row=2"]
    assert [each.problem for each in found] == [None, None, "the row has no column 'url'"]
    assert found[0].mask_key == "masks/a.jpg.png"
    assert intake.left_out == {"hidden": 1, "own_result": 3, "duplicate": 1}
    assert intake.submitted + intake.left_out.total() == len(entries)
    assert intake.examples["own_result"] == "/data/masks/c.png"


def test_of_images_that_come_twice_the_first_counts_within_a_batch_and_later() -> None:
    intake = Intake("/")
    signed = "https://host/a.jpg?X-Amz-Signature={}&X-Amz-Date={}"
    first = references(intake, ["/a.jpg", "/b.jpg", "/a.jpg", signed.format(1, 1), signed.format(2, 2)])
    later = references(intake, [signed.format(3, 3), "/c.jpg", "/b.jpg"])
    assert [each.uri.reveal() for each in first] == ["/a.jpg", "/b.jpg", signed.format(1, 1)]
    assert [each.uri for each in later] == ["/c.jpg"]
    assert intake.left_out == {"duplicate": 4}
    assert "Signature" not in intake.examples["duplicate"]


# What is said


def test_strict_refuses_whatever_is_left_out_but_our_own_results() -> None:
    check_strict({}, {})
    check_strict({"own_result": 5}, {"own_result": "/a"})
    with pytest.raises(SourceError, match=r"2 hidden \(/a…\), 1 duplicate \(/b\)"):
        check_strict({"hidden": 2, "own_result": 5, "duplicate": 1}, {"hidden": "/a", "duplicate": "/b"})


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({"empty": 1}, "/x has no images"),
        ({"own_result": 2}, "where the masks go"),
        ({"not_an_image_name": 2, "hidden": 1}, "--all-files"),
        ({"unknown_kind": 1}, "neither a list nor an image"),
        ({"duplicate": 1, "hidden": 1}, "1 duplicate"),
    ],
)
def test_a_job_without_images_says_why(left_out: dict[str, int], words: str) -> None:
    said = str(nothing_to_do(left_out, dict.fromkeys(left_out, "/x")))
    assert words in said
    assert ("--all-files" in said) == bool({"not_an_image_name", "unknown_kind"} & set(left_out))


def test_each_reason_has_words_and_a_foreign_one_is_shown_as_it_is() -> None:
    assert all(reason.words for reason in Reason)
    assert in_words({"of_a_later_version": 1_000}) == "1,000 of_a_later_version"


def test_a_problem_stands_in_the_shard_and_nothing_else_does() -> None:
    [line] = Intake("/").lines([Unlisted('/l.csv#"row"', "it's 'odd'\n")])
    assert json.loads(line).keys() == {"uri", "mask_key", "problem"}
    [line] = Intake("/").lines(["/a.jpg"])
    assert json.loads(line).keys() == {"uri", "mask_key"}
