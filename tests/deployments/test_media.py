import io

import pytest

from deployments.media import MediaReader, as_media


def test_a_reader_behaves_like_a_file() -> None:
    content = bytes(range(200))
    reader, file = MediaReader(as_media(content)), io.BytesIO(content)
    for offset, whence, size in [(0, 0, 10), (5, 1, 20), (-7, 2, 50), (500, 0, 3), (198, 0, -1), (0, 0, 0)]:
        assert reader.seek(offset, whence) == file.seek(offset, whence)
        assert reader.read(size) == file.read(size)
        assert reader.tell() == file.tell()


def test_a_seek_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="before the start"):
        MediaReader(as_media(b"abc")).seek(-1)
