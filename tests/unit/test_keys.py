from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskmill.addresses import Address, identity, in_store, without_query
from maskmill.storage import keys

unhurried = settings(deadline=None)  # the tests' machine may be busy

S3_MAX_KEY_BYTES = 1024
PREFIX_BYTES = 100

# Names that have collided somewhere: cleaned alike, called like a scheme, dots alone, longer than a part may be.
TRICKY = ["a", "a_b", "a?b", "a b", "a\tb", "a_b.jpg", "...", "é", "e\u0301", "x" * 180, "x" * 181, "x" * 200]
TRICKY += ["http", "HTTP", "s3", "S3", "file", "File", "ftp", "masks", "_"]
file_names = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
paths = st.lists(file_names, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
schemes = st.sampled_from(["http", "https", "s3", "HTTP", "S3", "ftp", "gs", "memory"])
url_parts = st.sampled_from([*TRICKY, "", ".", "..", "a?q=1", "u:p@a"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
urls = st.builds("{}://{}".format, schemes, st.lists(url_parts, min_size=1, max_size=4).map("/".join))
bases = st.sampled_from([None, "/", "/a", "/a/a_b", "/http", "/HTTP", "/file"])
long_parts = st.integers(150, 220).flatmap(lambda n: st.sampled_from("aé漢😀?").map(lambda letter: letter * n))
long_paths = st.lists(long_parts, min_size=4, max_size=12).map(lambda parts: "/" + "/".join(parts))


schemes_inside = st.sampled_from(["zip", "tar", "parquet"])
containers = st.builds("{}{}".format, paths | urls, st.sampled_from(["", ".zip", ".tar", ".parquet", "!/a.zip"]))
members = st.lists(url_parts, min_size=1, max_size=3).map("/".join)
insides = st.builds("{}://{}::{}".format, schemes_inside, members, containers)
behind_marks = st.builds("{}!/{}".format, paths | urls, members)
data = st.sampled_from(["data:,a", "data:,b", "data:image/png;base64,AAAA", "/data/image_~0123456789abcdef"])
others = insides | behind_marks | data


def lookalikes(names: list[str]) -> list[str]:
    """References whose mirrored paths look alike: local with and without the folder `a`, and as addresses."""
    path, (first, *rest) = "/".join(names), names
    found = [f"/{path}", f"/a/{path}", f"/a/{first.upper()}/{'/'.join(rest)}", f"/file/{path}", f"http://{path}"]
    if first.isascii() and first.isalpha():
        found += [f"{first}://{'/'.join(rest)}", f"{first.upper()}://{'/'.join(rest)}"]
    return found


# A reference has one key, and no two share it


def assert_unique(uris: set[str], base: str | None) -> None:
    owners: dict[str, str] = {}
    for uri in uris:
        assert owners.setdefault(keys.mask(uri, base), identity(uri)) == identity(uri)


@unhurried
@given(st.sets(paths | urls | others, min_size=2, max_size=8), bases)
@example({"/a/x.zip!/b.jpg", "zip://b.jpg::/a/x.zip", "tar://b.jpg::/a/x.zip"}, "/a")
@example({"zip://b.zip!/c.jpg::/a/x.zip", "zip://c.jpg::/a/x.zip!/b.zip"}, "/a")
@example({"s3://b/x.zip!/c.jpg", "zip://c.jpg::s3://b/x.zip"}, "/a")
@example({"zip://../c.jpg::/a/x.zip", "zip://_/c.jpg::/a/x.zip"}, "/a")
def test_different_references_never_share_a_mask_key(uris: set[str], base: str | None) -> None:
    assert_unique(uris, base)


@unhurried
@given(st.lists(file_names, min_size=2, max_size=3).map(lookalikes).map(set), bases)
def test_references_that_look_alike_never_share_a_mask_key(uris: set[str], base: str | None) -> None:
    assert_unique(uris, base)


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "HTTP", "S3", "ftp"])
def test_a_folder_that_is_called_like_a_scheme_does_not_meet_addresses(scheme: str) -> None:
    assert keys.mask(f"/data/{scheme}/host/a.jpg", "/data") != keys.mask(f"{scheme}://host/a.jpg", "/data")


def test_a_folder_called_file_does_not_meet_paths_outside_the_base() -> None:
    assert keys.mask("/data/file/other/a.jpg", "/data") != keys.mask("/other/a.jpg", "/data")


def test_a_file_that_is_named_like_the_key_of_another_gets_its_own() -> None:
    taken = keys.mask("/data/a?b.jpg", "/data")
    twin = "/data/" + taken.removeprefix("masks/").removesuffix(".png")
    assert keys.mask(twin, "/data") != taken


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/d/cat.jpg", "/d/cat.png"),
        ("/d/a?b.jpg", "/d/a_b.jpg"),
        ("/d/a b.jpg", "/d/a_b.jpg"),
        ("http://h/a.jpg?v=1", "http://h/a.jpg?v=2"),
        ("http://h/a//b.jpg", "http://h/a/b.jpg"),
        ("http://h/a/", "http://h/a/_"),
        ("http://h/../a.jpg", "http://h/_/a.jpg"),
        ("/d/" + "x" * 200, "/d/" + "x" * 201),
        ("/d/caf\u00e9.jpg", "/d/cafe\u0301.jpg"),
    ],
)
def test_near_twins_have_two_keys(one: str, other: str) -> None:
    assert keys.mask(one, "/d") != keys.mask(other, "/d")


@unhurried
@given(paths | urls, bases)
def test_a_reference_always_gets_the_same_key(uri: str, base: str | None) -> None:
    assert keys.mask(uri, base) == keys.mask(uri, base)


# Keys that every S3 server takes as they are


@unhurried
@given(paths | urls | long_paths | others, bases)
@example("http://h/a/../../../etc/passwd", None)
@example("zip://../../../etc/passwd::/a/x.zip", "/a")
@example("tar:///etc/passwd::/a/x.tar", "/a")
@example("zip://a\\..\\b.jpg::/a/x.zip", "/a")
@example("s3://b//a/./b//", None)
@example("http://h/a\r\nb\x00c\x7fd\u202ee", None)
@example("/" + "/".join(["...x"] * 300), "/")
def test_keys_are_clean(uri: str, base: str | None) -> None:
    key = keys.mask(uri, base)
    assert key.startswith("masks/")
    assert key.endswith(".png")
    assert not {"", ".", ".."} & set(key.split("/"))
    assert posixpath.normpath(key) == key
    assert not [letter for letter in key if unicodedata.category(letter).startswith("C")]


@unhurried
@given(paths | urls | long_paths, bases)
@example("/" + "/".join(["x" * 150] * 10), "/")
@example("/" + "/".join(["漢" * 50] * 10), "/")
def test_keys_fit_into_s3_with_a_prefix_of_100_bytes(uri: str, base: str | None) -> None:
    assert PREFIX_BYTES + len(keys.mask(uri, base).encode()) <= S3_MAX_KEY_BYTES


@unhurried
@given(long_paths)
def test_no_component_is_longer_than_a_file_name_may_be(uri: str) -> None:
    assert max(len(part.encode()) for part in keys.mask(uri, "/").split("/")) <= 255


# The short way for plain references


# Around what is plain and what is not: dots, hashes, users, long parts, line ends.
edges = st.lists(
    st.sampled_from([*TRICKY, ".", "..", "a.", ".a", "~", "a~0123456789abcdef", "u@h", "a\n", "", " "]), min_size=1
)
edge_uris = st.builds("{}{}".format, st.sampled_from(["/", "http://", "s3://", "ftp://"]), edges.map("/".join))


@unhurried
@given(paths | urls | long_paths | edge_uris | others, bases)
@example("/" + "x" * 180, "/")
@example("/" + "x" * 181, "/")
@example("/" + "/".join(["x" * 175] * 5), "/")
@example("/" + "/".join(["x" * 175] * 5) + "x", "/")
@example("/a~0123456789abcdef", "/")
@example("http://user@host/a", None)
@example("/a\n", "/")
@example("/...", "/")
def test_a_plain_reference_gets_the_key_that_the_long_way_gives(uri: str, base: str | None) -> None:
    assert keys.mask(uri, base) == f"masks/{keys._cleaned(identity(uri), base)}.png"


# Keys that a person can guess


@pytest.mark.parametrize(
    ("uri", "base", "key"),
    [
        ("/home/me/photos/cat.jpg", "/home/me", "masks/photos/cat.jpg.png"),
        ("/home/me/photos/cat.jpg", "/home/me/", "masks/photos/cat.jpg.png"),
        ("/home/me/photos/my cat (1).jpg", "/home/me", "masks/photos/my cat (1).jpg.png"),
        ("/home/me/фото/кот.jpg", "/home/me", "masks/фото/кот.jpg.png"),
        ("/home/me/cat.jpg", None, "masks/file/home/me/cat.jpg.png"),
        ("/home/you/cat.jpg", "/home/me", "masks/file/home/you/cat.jpg.png"),
        ("/home/me2/cat.jpg", "/home/me", "masks/file/home/me2/cat.jpg.png"),
        ("/home/me/s3/cat.jpg", "/home/me", "masks/file/home/me/s3/cat.jpg.png"),
        ("/photos/cat.jpg", "/", "masks/photos/cat.jpg.png"),
        ("s3://bucket/2026/cat.jpg", "/home/me", "masks/s3/bucket/2026/cat.jpg.png"),
        ("https://example.org/a/cat.jpg", None, "masks/https/example.org/a/cat.jpg.png"),
        ("zip://2026/cat.jpg::/home/me/photos.zip", "/home/me", "masks/photos.zip!/2026/cat.jpg.png"),
        ("tar://cat.jpg::/data/photos.tar", "/home/me", "masks/file/data/photos.tar!/cat.jpg.png"),
        ("parquet://image/17::/home/me/train.parquet", "/home/me", "masks/train.parquet!/image/17.png"),
    ],
)
def test_a_plain_image_is_mirrored(uri: str, base: str | None, key: str) -> None:
    assert keys.mask(uri, base) == key


def test_an_odd_name_stays_recognisable_and_gets_a_hash() -> None:
    key = keys.mask("https://example.org/cat.jpg?size=large", None)
    assert key.startswith("masks/https/example.org/cat.jpg~")
    assert len(key.rpartition("~")[2]) == 16 + len(".png")


# An address that is signed anew is that of the same image

HOST = "https://host/a.jpg"
SIGNATURES = {
    "aws": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F{n}&X-Amz-Date=2026112{n}T0Z&X-Amz-Expires=60"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t{n}&X-Amz-Signature={n}",
    "aws2": "AWSAccessKeyId=k&Expires={n}&Signature={n}%3D",
    "google": "X-Goog-Algorithm=a&X-Goog-Credential=c{n}&X-Goog-Date={n}&x-goog-signature={n}",
    "cloudfront": "Policy={n}&Signature={n}&Key-Pair-Id=K{n}",
    "azure": "sv=2026-01-0{n}&st={n}&se={n}&sr=b&sp=r&sig={n}%2B",
    "aliyun": "OSSAccessKeyId=k&Expires={n}&Signature={n}",
    "tencent": "q-sign-algorithm=sha1&q-ak=k&q-sign-time={n}&q-signature={n}",
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_new_signature_changes_no_key(kind: str) -> None:
    one, other = (SIGNATURES[kind].format(n=n) for n in (1, 2))
    assert identity(f"{HOST}?{one}") == identity(f"{HOST}?{other}") == HOST
    assert keys.mask(f"{HOST}?{one}") == keys.mask(HOST) == "masks/https/host/a.jpg.png"
    assert identity(f"{HOST}?versionId=7&{one}&w=9#f") == f"{HOST}?versionId=7&w=9#f"
    assert keys.mask(f"{HOST}?versionId=7&{one}") == keys.mask(f"{HOST}?{other}&versionId=7")
    assert keys.mask(f"{HOST}?versionId=8&{one}") != keys.mask(f"{HOST}?versionId=7&{one}")


@pytest.mark.parametrize(
    "query", ["Signature=Monet&page=1", "sig=abc&id=5", "Expires=never", "policy=open", "se=1&sp=2", "sv=3", "a=b&&c"]
)
def test_parameters_that_only_look_like_a_signature_stay(query: str) -> None:
    assert keys.mask(f"{HOST}?{query}") != keys.mask(HOST)
    assert identity(f"{HOST}?{query}") == f"{HOST}?{query.replace('&&', '&')}"


def test_a_new_password_is_that_of_the_same_image_and_another_user_is_not() -> None:
    assert identity("https://me:old@host/a.jpg") == identity("https://me:new@host/a.jpg") == "https://me@host/a.jpg"
    assert keys.mask("https://me:old@host/a.jpg") != keys.mask("https://you:old@host/a.jpg")


@pytest.mark.parametrize(
    "uri", ["/a.jpg?X-Amz-Signature=1", "s3://b/k?X-Amz-Signature=1", "zip://a?sig=1&sv=2::/x.zip"]
)
def test_what_is_no_web_address_is_its_own_identity(uri: str) -> None:
    assert identity(uri) == uri


# Keys of a job


def test_the_keys_of_a_shard_lead_back_to_its_number() -> None:
    job = keys.new_job_id()
    for index in (0, 17, 999_999, 1_234_567):
        names = [keys.shard(job, index), keys.metadata(job, index), keys.report(job, index)]
        assert [keys.shard_index(name) for name in names] == [index] * 3


def test_all_keys_of_a_job_lie_in_its_folder() -> None:
    job = keys.new_job_id()
    names = [keys.job_record(job), keys.manifest(job), keys.shard(job, 0), keys.metadata(job, 0), keys.report(job, 0)]
    assert len(set(names)) == 5
    assert all(name.startswith(keys.job_folder(job)) for name in names)
    assert keys.report(job, 0).startswith(keys.reports(job))


def test_job_ids_are_well_formed_and_differ() -> None:
    ids = {keys.new_job_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(keys.JOB_ID.fullmatch(each) for each in ids)


# Addresses that may be shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@example.org/a.jpg?sig=secret#secret", "https://example.org/a.jpg"),
        ("https://secret@example.org:8443/a.jpg", "https://example.org:8443/a.jpg"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("/home/me/what?.jpg", "/home/me/what?.jpg"),
        ("zip://a@b?#1.jpg::/home/me/what?.zip", "zip://a@b?#1.jpg::/home/me/what?.zip"),
        ("zip://a.jpg::https://user:secret@example.org/x.zip?sig=secret", "zip://a.jpg::https://example.org/x.zip"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert without_query(uri) == shown


secrets = st.text("abcXYZ019-._~!$&'()*+,;=%@:", max_size=12).map("SECRET{}".format)


@unhurried
@given(secrets, secrets, secrets, secrets)
def test_credentials_are_never_shown(user: str, password: str, query: str, fragment: str) -> None:
    shown = without_query(f"https://{user}:{password}@example.org/a.jpg?{query}#{fragment}")
    assert shown == "https://example.org/a.jpg"


def test_an_image_from_memory_has_one_mask_wherever_it_lies_and_none_of_a_folder() -> None:
    digest = "0123456789abcdef" * 2
    first, second = (in_store(digest, f"s3://b/o/jobs/{job}/images/{digest}") for job in ("J1", "J2"))
    assert identity(first) == identity(second) == f"memory://{digest}" == Address(first)
    assert keys.mask(first, "/data") == keys.mask(second)
    assert keys.mask(first).startswith(f"masks/_memory/{digest}~")
    assert keys.mask(first, "/data") != keys.mask(f"/data/memory/{digest}", "/data")
    assert keys.mask(first) != keys.mask(in_store(digest[::-1], "s3://b/o"))
