"""libav's demuxers that may open a user's file, and what their times mean."""

from fractions import Fraction

import av
from av.container import InputContainer

VIDEO_DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "asf", "flv")
"""`mov` also reads MP4, M4A and 3GP, `matroska` WebM, `mpeg` program streams, `asf` WMV and WMA. No others, because
playlist formats would open other files and addresses."""
SOUND_DEMUXERS = ("mp3", "wav", "w64", "flac", "ogg", "aac", "aiff", "amr", *VIDEO_DEMUXERS)
"""Also those of videos, for their sound."""

MOV, MATROSKA, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"
"""Names of formats in libav, as a container that is open gives them."""
_SHIFTED_FORMATS = ("mpegts", "mpeg", "asf", "flv")
"""Formats of which a recording may begin at any time of the sender's clock."""
CLOCKED_FORMATS = (MOV, MATROSKA, AVI, "ogg", *_SHIFTED_FORMATS)
"""Formats whose timestamps are a clock that several tracks share, so that sound may begin late. Other formats hold
nothing but sound, which begins at 0, whatever the timestamps are."""

MAX_START_S = 1e6
"""A later start, after 11 days, is a wrong timestamp."""


def clock_start_s(container: InputContainer) -> Fraction:
    """Return the time at which players begin to count a file's time: 0, or the first time of all tracks."""
    if container.format.name not in _SHIFTED_FORMATS or container.start_time is None:
        return Fraction(0)
    return Fraction(container.start_time, av.time_base)
