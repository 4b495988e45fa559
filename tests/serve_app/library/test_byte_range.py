import pytest

from deployments.errors import RangeNotSatisfiable
from serve_app.byte_range import ByteRange, parse_range

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=10-19", ByteRange(10, 20)),
        ("bytes=10-", ByteRange(10, 100)),
        ("bytes=90-1000", ByteRange(90, 100)),
        ("bytes=-10", ByteRange(90, 100)),
        ("bytes=-1000", ByteRange(0, 100)),
        ("BYTES= 5-6 ", ByteRange(5, 7)),
    ],
)
def test_one_range_is_understood(header: str, expected: ByteRange) -> None:
    assert parse_range({"range": header}, 100, ETAG) == expected


@pytest.mark.parametrize("header", ["", "bytes=-", "bytes=5-4", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=٣-٤"])
def test_what_is_no_single_range_gets_the_whole_file(header: str) -> None:
    assert parse_range({"range": header}, 100, ETAG) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={10**17}-"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="100 bytes"):
        parse_range({"range": header}, 100, ETAG)


def test_a_range_of_another_version_gets_the_whole_file() -> None:
    assert parse_range({"range": "bytes=0-1", "if-range": '"old"'}, 100, ETAG) is None
    assert parse_range({"range": "bytes=0-1", "if-range": ETAG}, 100, ETAG) == ByteRange(0, 2)
