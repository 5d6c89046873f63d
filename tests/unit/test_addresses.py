"""The type for addresses: whatever is done with it as a text shows no secret; who asks gets the whole one."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest
import structlog

from maskmill.addresses import Address
from maskmill.errors import InvalidRecord
from maskmill.schema import FailureExample, Outcome, Reference, Status

WHOLE = "https://me:pass-word@host:8443/a%20b.jpg?X-Amz-Signature=sig-nature&t=to-ken#frag-ment"
SHOWN = "https://host:8443/a%20b.jpg"
SECRETS = ("me:", "pass-word", "sig-nature", "to-ken", "frag-ment")


def test_no_way_to_show_it_shows_a_secret(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    address = Address(WHOLE)
    logging.getLogger("anybody").warning("failed: %s %r", address, {"at": address})
    structlog.PrintLogger().msg(structlog.processors.JSONRenderer()(None, "", {"uri": address, "all": [address]}))
    structlog.PrintLogger().msg(structlog.dev.ConsoleRenderer(colors=False)(None, "", {"event": "e", "uri": address}))
    ways = [str(address), repr(address), f"{address}", f"{address:>90}", "%s" % address, address + "", address[:500]]  # noqa: UP031
    ways += [json.dumps({"uri": address}), ",".join([address]), ascii([address]), address.lower(), caplog.text]
    ways += ["".join(capsys.readouterr()), str(ValueError(address)), address.encode().decode()]
    assert not [way for way in ways if any(secret in way for secret in SECRETS)]
    assert all("host:8443" in way for way in ways)
    assert address == SHOWN


def test_the_whole_address_stays_with_it() -> None:
    address = Address(WHOLE)
    for each in (address, Address(address), pickle.loads(pickle.dumps(address)), copy.deepcopy(address)):
        assert each.reveal() == WHOLE


def test_of_the_records_the_reference_alone_is_written_whole() -> None:
    reference = Reference.from_json(Reference(uri=Address(WHOLE), mask_key="masks/a.png").to_json())
    assert reference.uri.reveal() == WHOLE
    outcome = Outcome(uri=reference.uri, status=Status.FAILED, code="x", reason="y")
    assert outcome.uri.reveal() == WHOLE, "in the process that fetched it"
    example = FailureExample.of(outcome.uri, "why")
    for record in (outcome, example):
        texts = [record.to_json().decode(), repr(record), str(record.model_dump()), str(record.model_dump(mode="json"))]
        assert not [text for text in texts if any(secret in text for secret in SECRETS)]
    yesterdays = json.dumps({"uri": WHOLE, "status": "failed"})
    assert Outcome.from_json(yesterdays).uri == SHOWN


@pytest.mark.parametrize(
    "uri",
    [
        "http://alice:SE/CRET@host/a.jpg",
        "http://alice:SE?CRET@host/a.jpg",
        "http://alice:SE#CRET@host/a.jpg?x=1",
        "http://alice:12/CRET@host/a.jpg",
        "http://alice:SECRET@CRET/CRET@host/a.jpg",
        "http://alice:SECRET@host/a.jpg",
        "http://SECRET@host/a.jpg",
        "http://alice:SECRET@[::1]:80/a.jpg",
        "https://host/a.jpg?SECRET",
        "https://host/a.jpg?a=b#SECRET",
        "https://host#SECRET",
        "s3://alice:SECRET@bucket/key?versionId=SECRET",
        "HTTPS://alice:SECRET@HOST/A.JPG",
        "ftp://alice:S/ECRET@host/a.jpg",
        "data:image/png;base64,SECRET",
    ],
)
def test_secrets_in_every_place(uri: str) -> None:
    assert not [part for part in ("SE", "CRET", "ECRET", "12", "alice") if part in Address(uri)]


@pytest.mark.parametrize(
    "uri",
    [
        "/photos/me@home/a?b#c.jpg",
        "/photos/a:b@c/d.jpg",
        "https://host/@me/a.jpg",
        "https://host:8080/logo@2x.png",
        "https://host/users/me@mail.example/a.jpg",
        "https://[2001:db8::1]:8080/a.jpg",
        "s3://bucket/a@b/c.jpg",
        "",
    ],
)
def test_what_hides_nothing_is_shown_whole(uri: str) -> None:
    assert Address(uri) == uri
    assert Address(uri).reveal() == uri


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"uri": WHOLE}),
        json.dumps({"uri": WHOLE, "mask_key": "../a"}),
        json.dumps({"uri": WHOLE, "mask_key": "masks/a.png", "more": 1}),
        json.dumps({"uri": [WHOLE], "mask_key": "masks/a.png"}),
        json.dumps({"uri": WHOLE})[:-1],
        json.dumps(WHOLE),
    ],
)
def test_the_error_of_a_record_that_is_none_shows_nothing_of_it(text: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        Reference.from_json(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in SECRETS if secret in shown.replace("me: ", "")]
