"""Reading a video: when its frames are shown, and the frames asked for by number.

A first pass reads all packets without decoding: it tells the presentation time of every frame, whatever the header
says. Frames are then known by these times, and decoded from the keyframe before each. Where a container gives no
usable presentation times (AVI stores the order of decoding only) or seeks to a wrong place, all is decoded from the
start.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

import av
from av.codec.context import ThreadType
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile
from deployments.media import Media, MediaReader

_FORMATS = "mov,matroska,avi"
"""libav's names; MP4 is read by `mov`. No other may be tried: a playlist format would open files and addresses."""
_DECODER_THREADS = 2
"""Each holds frames of its own, 50 MB apiece at 8K, and two videos may be worked on at once."""
_MAX_FRAMES = 2_000_000
"""18 hours at 30 frames a second; a damaged index can claim hundreds of millions."""
_MAX_GAP = 8
"""Frames decoded for nothing rather than seeked over; a seek costs about as much."""
_HOLD_S = 0.5
"""A last frame said to last as long is held on purpose; writers that do not know give it a usual frame's interval."""

_REORDERING_CODECS = ("h264", "hevc")
"""Whether they reorder is not always told before the first B-frame."""

_ADVICE = "Export the video again, for example as MP4 with H.264."

Numbered = tuple[int, VideoFrame]


class _Key(NamedTuple):
    """A packet that decodes without others."""

    number: int
    """Of its frame, or of the first frame shown after it where it is not shown itself."""
    pts: int
    dts: int | None
    is_shown: bool


class Video:
    """The frames of the video stream that are shown, numbered from 0 in presentation order.

    Packets cut off by an edit list, damaged and empty ones do not count; cover art is not a video stream. Opening and
    `decode` raise InvalidFile for media that show nothing, with what to do about it, and what
    `cancellation.check` raises.
    """

    times: Sequence[int]
    """Presentation times in units of `tick_s`, ascending from 0."""
    duration: Fraction
    """In units of `tick_s`, from the first frame on: the last presentation time plus the last interval, which is
    exactly one frame's where the times are those of the stated rate, rounded. A last frame that its packet holds for
    half a second or more counts with that; a single frame lasts as long as its packet or the rate says."""
    start: int
    """When the first frame is shown on the container's clock, in units of `tick_s`; sound may begin before."""
    tick_s: Fraction
    has_audio: bool
    pixel_aspect: Fraction | None
    """Width of a stored pixel over its height."""
    num_pixels: int
    """Of one stored frame, as the header says."""

    def __init__(self, media: Media, max_pixels: int, cancellation: Cancellation) -> None:
        self._media = media
        self._max_pixels = max_pixels
        # For frames larger than the header says; libav counts padding, so this is the coarser limit.
        self._decoder_options = {"max_pixels": str(2 * max_pixels)}
        self._cancellation = cancellation
        self._progress = "its frames were still being counted"
        self._open()
        try:
            self._read_times()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    def timestamp_s(self, number: int) -> float:
        """Return when a frame is shown, on the container's clock."""
        return float((self.start + self.times[number]) * self.tick_s)

    @property
    def end_s(self) -> float:
        """When the last frame ends, on the container's clock."""
        return float((self.start + self.duration) * self.tick_s)

    def keyframes(self) -> list[int]:
        """Return the numbers of the frames that decode without others, ascending; empty where seeking is impossible."""
        return [key.number for key in self._keys if key.is_shown]

    def num_decoded(self, numbers: Sequence[int]) -> int:
        """Return how many frames `decode(numbers)` has to decode, about."""
        return sum(group[-1] - (key.number if key else 0) + 1 for key, group in self._groups(numbers))

    def decode(self, numbers: Sequence[int], found: str = "frames were found") -> Iterator[Numbered]:
        """Yield (number, frame) for each of the ascending `numbers`, in any order.

        In place of a frame that cannot be decoded comes the last one before it that can, or else the next, with its own
        number. `found` words the progress that a passed deadline tells: "2 of 5 frames were found".
        """
        num_found = 0
        for number, frame in self._decode(numbers):
            num_found += 1
            yield number, frame
            self._progress = f"{num_found} of {len(numbers)} {found}"
        if not num_found:
            raise InvalidFile(f"No frame of the video can be decoded: it is damaged or encrypted. {_ADVICE}") from (
                self._decoder_error
            )

    def _open(self) -> None:
        try:
            self._container = av.open(
                MediaReader(self._media),
                "r",
                metadata_errors="replace",
                options=self._decoder_options,
                container_options={"format_whitelist": _FORMATS},
            )
        except av.FFmpegError as error:
            raise InvalidFile(f"The video cannot be opened: it is damaged or incomplete. {_ADVICE}") from error
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            self._refuse(f"The file holds no video stream: it is sound alone, or damaged. {_ADVICE}")
        codec = stream.codec_context
        if codec is None or not stream.time_base:
            self._refuse(f"The video is encrypted or in a codec that is not supported. {_ADVICE}")
        if codec.width * codec.height > self._max_pixels:
            self._refuse(
                f"The video has {codec.width} x {codec.height} pixels; at most {self._max_pixels / 1e6:.1f} million "
                "are allowed. Scale it down."
            )
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all
        codec.options = self._decoder_options
        codec.thread_count = _DECODER_THREADS
        codec.thread_type = ThreadType.AUTO
        self._stream = stream
        self._decoder_error: av.FFmpegError | None = None
        self.tick_s = stream.time_base
        self.pixel_aspect = stream.sample_aspect_ratio
        self.num_pixels = codec.width * codec.height
        self.has_audio = bool(self._container.streams.audio)

    def _refuse(self, message: str) -> NoReturn:
        self._container.close()
        raise InvalidFile(message)

    def _read_times(self) -> None:
        packets: list[tuple[int | None, int | None, int]] = []
        keys: list[tuple[int, int | None]] = []
        for packet in self._packets():
            if packet.is_keyframe and packet.pts is not None:
                keys.append((packet.pts, packet.dts))
            if not packet.is_discard:
                packets.append((packet.pts, packet.dts, packet.duration or 0))
            if len(packets) > _MAX_FRAMES:
                raise InvalidFile(f"The video says it has more than {_MAX_FRAMES} frames. Cut it into shorter ones.")
        container = self._container.format.name
        if container.startswith("mov"):
            # The edit list puts the start at 0; in fragmented files libav leaves unmarked what lies before it.
            packets = [packet for packet in packets if packet[0] is None or packet[0] >= 0] or packets
        if not packets:
            raise InvalidFile(f"The video has no frames: it is empty or cut off. {_ADVICE}") from self._decoder_error
        # AVI has no presentation times; where the codec may reorder frames, what libav makes up for them is wrong.
        codec = self._stream.codec_context
        is_guessed = container == "avi" and (codec.reorder_depth > 0 or codec.name in _REORDERING_CODECS)
        shown = sorted((pts, duration) for pts, _, duration in packets if pts is not None)
        has_pts = len(shown) == len(packets) and not is_guessed
        if not has_pts:
            shown = sorted((dts, duration) for _, dts, duration in packets if dts is not None)
        if len(shown) < len(packets):
            interval = round(self._usual_interval())
            shown = [(number * interval, interval) for number in range(len(packets))]
        start = shown[0][0]
        self.times = [time - start for time, _ in shown]
        self.duration = self._duration(shown[-1][1])
        self._start = start
        self.start = max(0, start) if has_pts else 0
        self._number_at = {time: number for number, time in enumerate(self.times)}
        self._is_counted = not has_pts or len(self._number_at) < len(shown)
        self._keys: list[_Key] = []
        if not self._is_counted:
            numbers = ((bisect_left(self.times, pts - start), pts - start, pts, dts) for pts, dts in keys)
            self._keys = sorted(_Key(number, pts, dts, time in self._number_at) for number, time, pts, dts in numbers)

    def _duration(self, last_held: int) -> Fraction:
        """Return the duration, given the last frame's own as its packet tells it."""
        interval = self._usual_interval()
        if len(self.times) == 1:
            return Fraction(last_held or round(interval))
        if last_held * self.tick_s < _HOLD_S:
            rounding = min(Fraction(1), interval / 10)
            if interval and all(abs(time - number * interval) <= rounding for number, time in enumerate(self.times)):
                return len(self.times) * interval
            last_held = 0
        return Fraction(self.times[-1] + max(self.times[-1] - self.times[-2], last_held))

    def _usual_interval(self) -> Fraction:
        """Return one frame's interval as the container states it, 0 where it does not."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return 1 / (rate * self.tick_s) if rate else Fraction(0)

    def _groups(self, numbers: Sequence[int]) -> list[tuple[_Key | None, list[int]]]:
        """Return `numbers` in groups, each with the keyframe it is decoded from; None is the start of the file."""
        groups: list[tuple[_Key | None, list[int]]] = []
        for number in numbers:
            before = bisect_right(self._keys, number, key=lambda key: key.number)
            key = self._keys[before - 1] if before else None
            if groups and (key is None or key.number - groups[-1][1][-1] <= _MAX_GAP):
                groups[-1][1].append(number)
            else:
                groups.append((key, [number]))
        return groups

    def _decode(self, numbers: Sequence[int]) -> Iterator[Numbered]:
        missed: list[int] = []
        for key, group in self._groups(numbers):
            missed += group if key is None else (yield from self._decode_from(key, group))
        if missed:
            yield from self._decode_from_start(missed)

    def _decode_from(self, key: _Key, numbers: list[int]) -> Generator[Numbered, None, list[int]]:
        """Yield what can be decoded from a keyframe on; return the numbers that could not."""
        missed = set(numbers)
        is_checked = not key.is_shown
        for number, frame in self._numbered_frames(self._seek(key), numbers):
            if not is_checked and number >= key.number:
                is_checked = True
                if not frame.key_frame:
                    break  # The container was wrong about the keyframe.
            if number in missed:
                missed.remove(number)
                yield number, frame
            if not missed or number >= numbers[-1]:
                break
        return sorted(missed)

    def _decode_from_start(self, numbers: list[int]) -> Iterator[Numbered]:
        left = deque(numbers)
        last: Numbered | None = None
        self._container.close()
        self._open()
        for number, frame in self._numbered_frames(self._packets(), numbers):
            while left and left[0] <= number:
                yield (number, frame) if left.popleft() == number or last is None else last
            if not left:
                return
            last = (number, frame)
        if last is not None:
            yield last

    def _seek(self, key: _Key) -> Iterator["Packet[VideoStream]"]:
        """Return the packets from a keyframe on, or from an earlier one; none where the container cannot seek there."""
        for time in (key.pts, key.dts):
            if time is None:
                continue
            try:
                self._container.seek(time, stream=self._stream)
            except av.FFmpegError as error:
                self._decoder_error = error
                continue
            packets = self._packets()
            first = next(packets, None)
            if first is not None and first.is_keyframe and first.pts is not None and first.pts <= key.pts:
                return chain([first], packets)
        return iter(())

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """Yield the packets that can give a frame, up to the end or to where the file cannot be read any further."""
        try:
            for packet in self._container.demux(self._stream):
                self._cancellation.check(self._progress)
                # An empty packet would tell the decoder that the video ends here.
                if packet.size and not packet.is_corrupt:
                    yield packet
        except av.FFmpegError as error:
            self._decoder_error = error

    def _numbered_frames(self, packets: Iterator["Packet[VideoStream]"], numbers: Sequence[int]) -> Iterator[Numbered]:
        """Decode packets; of the frames not among `numbers`, some are left out."""
        wanted = {self._start + self.times[number] for number in numbers}
        codec = self._stream.codec_context
        num_decoded = 0
        every: Iterator[Packet[VideoStream] | None] = chain(packets, [None])
        for packet in every:
            if not self._is_counted and packet is not None:
                # What no other frame is made from need not be decoded, unless it is wanted.
                codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            try:
                frames = codec.decode(packet)
            except av.FFmpegError as error:
                self._decoder_error = error
                continue
            for frame in frames:
                self._cancellation.check(self._progress)
                number: int | None = num_decoded
                if not self._is_counted:
                    number = None if frame.pts is None else self._number_at.get(frame.pts - self._start)
                num_decoded += 1
                if number is not None and number < len(self.times):
                    yield number, frame
