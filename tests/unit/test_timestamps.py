"""Times in answers of stores, read in our own way, against boto3's."""

from __future__ import annotations

import boto3
import pytest
from botocore.utils import parse_timestamp

from maskmill.settings import S3Settings
from maskmill.storage.client import new_client, timestamp


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28T01:02:03.000Z",
        "2026-11-28T01:02:03Z",
        "2026-11-28T03:02:03.123456+02:00",
        "Sat, 28 Nov 2026 01:02:03 GMT",
        "Saturday, 28-Nov-26 01:02:03 GMT",
        "1795828923",
        "1795828923.5",
        1795828923,
    ],
)
def test_a_time_is_what_boto3_makes_of_it(text: object) -> None:
    assert timestamp(text) == parse_timestamp(text)
    assert timestamp(text).tzinfo


def test_what_is_no_time_is_refused_as_boto3_does() -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        timestamp("yesterday, about noon")


def test_only_our_own_clients_read_times_in_this_way() -> None:
    ours = new_client(S3Settings(endpoint_url="http://127.0.0.1:9", access_key_id="a", secret_access_key="b"))
    others = boto3.client("s3", region_name="eu-west-1")
    factories = [client._endpoint._response_parser_factory for client in (ours, others)]
    parsers = [factory.create_parser("rest-xml")._timestamp_parser for factory in factories]
    assert parsers == [timestamp, parse_timestamp]
