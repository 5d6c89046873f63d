"""Items in files of bounded length."""

import pytest

from maskmill.export.split import in_files


@pytest.mark.parametrize(
    ("items", "most", "max_bytes", "wanted"),
    [
        ([], 2, 9, [[]]),
        (["a", "b", "c"], 2, 9, [["a", "b"], ["c"]]),
        (["a", "b"], 2, 9, [["a", "b"]]),
        (["aaaa", "bbbb", "c"], 9, 8, [["aaaa", "bbbb"], ["c"]]),
        (["too long for a file", "b", "too long again"], 9, 8, [["too long for a file"], ["b"], ["too long again"]]),
    ],
)
def test_a_file_ends_where_it_would_be_too_long(
    items: list[str], most: int, max_bytes: int, wanted: list[list[str]]
) -> None:
    found = [[each.decode() for each in some] for some in in_files(map(str.encode, items), most, max_bytes)]
    assert found == wanted
