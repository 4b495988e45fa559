"""Reads a video: the presentation time of every frame, and the decoded frames with given numbers.

A first pass reads all packets without decoding them, to get the presentation time of every frame: headers are not
reliable. To decode a frame, the container seeks to the keyframe before it, and the frame is recognized by its
presentation time. If a container has no usable presentation times (AVI stores only the decoding order) or seeks to a
wrong position, the video is decoded from the start and frames are counted.
"""

import io
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
from deployments.demuxers import AVI, MAX_START_S, MOV, VIDEO_DEMUXERS, clock_start_s
from deployments.errors import InvalidFile
from deployments.frame_sampler.hidden_frames import shows_frame
from deployments.media import READ_BUFFER_BYTES

_DECODER_THREADS = 2
"""Each thread holds its own frames (50 MB each at 8K), and two videos may be processed at once."""
_MAX_FRAMES = 2_000_000
"""18 hours at 30 frames a second; a damaged index can claim hundreds of millions."""
_MAX_SKIPPED_FRAMES = 8
"""If the next keyframe is at most this many frames ahead, decoding on is about as cheap as seeking to it."""
_MIN_HOLD_S = 0.5
"""The duration in the last packet is used only if it is at least this long. A shorter one may be a default of the
program that wrote the file."""

_REORDERING_CODECS = ("h264", "hevc")
"""Codecs that may have B-frames even if libav reports none before it reads the first one."""

_CUT_FORMATS = ("mpegts", "mpeg")
"""Formats whose recordings may begin in the middle of a stream: with frames that refer to others before them."""

_ADVICE = "Export the video again, for example as MP4 with H.264."

NumberedFrame = tuple[int, VideoFrame]


class _Keyframe(NamedTuple):
    """A packet that can be decoded without others."""

    number: int
    """Number of its frame or, if that is not shown, of the first frame shown after it."""
    pts: int
    dts: int | None
    is_shown: bool


class Video:
    """The frames of a video stream that a player shows, numbered from 0 in presentation order.

    Frames outside an edit list and packets that are damaged or empty or show nothing do not count; cover art is not a
    video stream. Opening and `decode` raise InvalidFile if no frame can be shown, with advice for the user, and what
    `cancellation.check` raises.
    """

    times: Sequence[int]
    """Presentation times in ticks, ascending from 0."""
    duration: Fraction
    """Time from the first frame to the end of the last, in ticks.

    The last frame lasts one frame interval if the frame rate is constant, otherwise as long as the frame before it. It
    lasts longer if its packet says so with a duration of half a second or more. The only frame of a video lasts as long
    as its packet or else the frame rate says.
    """
    start: int
    """Presentation time of the first frame on the container's clock, in ticks; audio may start earlier."""
    tick_s: Fraction
    """Seconds per tick, the stream's time base."""
    has_audio: bool
    pixel_aspect: Fraction | None
    """Width of a stored pixel divided by its height."""
    num_pixels: int
    """Pixels of one stored frame, according to the header."""

    def __init__(self, file: io.RawIOBase, max_pixels: int, cancellation: Cancellation) -> None:
        """Read the times of all frames of a seekable file."""
        self._file = file
        self._max_pixels = max_pixels
        # Frames can be larger than the header says. This limit is twice as high, because libav counts padding.
        self._decoder_options = {"max_pixels": str(2 * max_pixels)}
        self._cancellation = cancellation
        self._progress = "the frames of the video were still being counted"
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
        """Return the presentation time of a frame, on the container's clock."""
        return float((self.start + self.times[number]) * self.tick_s)

    def number_at(self, seconds: float) -> int:
        """Return the number of the frame on screen at this time of the container's clock."""
        time = Fraction(seconds).limit_denominator(10**6) / self.tick_s - self.start
        # Written times are rounded: a frame counts as on screen a millisecond before it appears.
        return max(0, bisect_right(self.times, time + Fraction(1, 1000) / self.tick_s) - 1)

    @property
    def end_s(self) -> float:
        """End of the last frame, on the container's clock."""
        return float((self.start + self.duration) * self.tick_s)

    def keyframes(self) -> list[int]:
        """Return the numbers of the keyframes that are shown, ascending; empty if seeking is impossible."""
        return [keyframe.number for keyframe in self._keyframes if keyframe.is_shown]

    def num_frames_to_decode(self, frame_numbers: Sequence[int]) -> int:
        """Return an estimate of how many frames `decode(frame_numbers)` has to decode."""
        groups = self._group_by_keyframe(frame_numbers)
        return sum(group[-1] - (keyframe.number if keyframe else 0) + 1 for keyframe, group in groups)

    def decode(self, frame_numbers: Sequence[int], progress: str = "frames were decoded") -> Iterator[NumberedFrame]:
        """Yield (number, frame) for each of `frame_numbers`, which must ascend; the order of the results may differ.

        A frame that cannot be decoded is replaced by the last decodable one before it, or else the first one after it,
        with that frame's own number. `progress` is the end of DeadlineExceeded's message: "2 of 5 frames were decoded".
        """
        num_yielded = 0
        for number, frame in self._decode(frame_numbers):
            num_yielded += 1
            yield number, frame
            self._progress = f"{num_yielded} of {len(frame_numbers)} {progress}"
        if not num_yielded:
            raise InvalidFile(f"No frame of the video can be decoded: it is damaged or encrypted. {_ADVICE}") from (
                self._decoder_error
            )

    def _open(self) -> None:
        self._file.seek(0)
        try:
            self._container = av.open(
                self._file,
                "r",
                metadata_errors="replace",
                options=self._decoder_options,
                container_options={"format_whitelist": ",".join(VIDEO_DEMUXERS)},
                buffer_size=READ_BUFFER_BYTES,
            )
        except (av.FFmpegError, MemoryError) as error:
            raise InvalidFile(f"The video cannot be opened: it is damaged or incomplete. {_ADVICE}") from error
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            self._refuse(f"The file has no video stream: it is audio only, or damaged. {_ADVICE}")
        codec = stream.codec_context
        if codec is None or not stream.time_base:
            self._refuse(f"The video is encrypted or in a codec that is not supported. {_ADVICE}")
        if codec.width * codec.height > self._max_pixels:
            self._refuse(
                f"The video has {codec.width} x {codec.height} pixels; the limit is {self._max_pixels / 1e6:.1f} "
                "million. Scale it down."
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
        self._clock_start = round(clock_start_s(self._container) / self.tick_s)
        """The start of the clock of `start`, in ticks of the container's own."""
        self.pixel_aspect = stream.sample_aspect_ratio
        self.num_pixels = codec.width * codec.height
        self.has_audio = bool(self._container.streams.audio)

    def _refuse(self, message: str) -> NoReturn:
        self._container.close()
        raise InvalidFile(message)

    def _read_times(self) -> None:
        packets: list[tuple[int | None, int | None, int]] = []
        """(pts, dts, duration) of each."""
        keyframes: list[tuple[int, int | None]] = []
        """(pts, dts) of each."""
        codec_name = self._stream.codec_context.codec.canonical_name
        for packet in self._packets():
            if packet.is_keyframe and packet.pts is not None:
                keyframes.append((packet.pts, packet.dts))
            if not packet.is_discard and shows_frame(codec_name, memoryview(packet)):
                packets.append((packet.pts, packet.dts, packet.duration or 0))
            if len(packets) > _MAX_FRAMES:
                raise InvalidFile(f"The video has more than {_MAX_FRAMES} frames. Split it into shorter videos.")
        container = self._container.format.name
        if container == MOV:
            # Frames before the start of an edit list have negative times. In fragmented files libav does not mark them
            # as discarded.
            packets = [packet for packet in packets if packet[0] is None or packet[0] >= 0] or packets
        if container in _CUT_FORMATS and keyframes:
            packets = [packet for packet in packets if packet[0] is None or packet[0] >= keyframes[0][0]]
        if not packets:
            raise InvalidFile(f"The video has no frames: it is empty or truncated. {_ADVICE}") from self._decoder_error
        # AVI has no presentation times and ASF no others: what libav guesses is wrong if the codec reorders frames.
        codec = self._stream.codec_context
        is_guessed = container in (AVI, "asf") and (codec.reorder_depth > 0 or codec.name in _REORDERING_CODECS)
        shown = sorted((pts, duration) for pts, _, duration in packets if pts is not None)
        has_pts = len(shown) == len(packets) and not is_guessed
        if not has_pts:
            shown = sorted((dts, duration) for _, dts, duration in packets if dts is not None)
        if len(shown) < len(packets):
            interval = round(self._frame_interval())
            shown = [(number * interval, interval) for number in range(len(packets))]
        start = shown[0][0]
        self.times = [time - start for time, _ in shown]
        self.duration = self._duration(shown[-1][1])
        self._first_pts = start
        self.start = max(0, start - self._clock_start) if has_pts else 0
        if self.start * self.tick_s > MAX_START_S:
            self.start = 0
        self._number_by_time = {time: number for number, time in enumerate(self.times)}
        self._must_count = not has_pts or len(self._number_by_time) < len(shown)
        self._keyframes: list[_Keyframe] = []
        if not self._must_count:
            self._keyframes = sorted(
                _Keyframe(bisect_left(self.times, pts - start), pts, dts, is_shown=pts - start in self._number_by_time)
                for pts, dts in keyframes
            )

    def _duration(self, last_packet_duration: int) -> Fraction:
        """Return the value of `duration`, given the duration of the last frame's packet in ticks."""
        interval = self._frame_interval()
        if len(self.times) == 1:
            return Fraction(last_packet_duration or round(interval))
        hold = last_packet_duration
        if hold * self.tick_s < _MIN_HOLD_S:
            rounding = min(Fraction(1), interval / 10)
            if interval and all(abs(time - number * interval) <= rounding for number, time in enumerate(self.times)):
                return len(self.times) * interval
            hold = 0
        return Fraction(self.times[-1] + max(self.times[-1] - self.times[-2], hold))

    def _frame_interval(self) -> Fraction:
        """Return the frame interval that the container declares, in ticks; 0 if it declares none."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return 1 / (rate * self.tick_s) if rate else Fraction(0)

    def _group_by_keyframe(self, frame_numbers: Sequence[int]) -> list[tuple[_Keyframe | None, list[int]]]:
        """Return groups of frames, each with the keyframe from which to decode it; None is the start of the file."""
        groups: list[tuple[_Keyframe | None, list[int]]] = []
        for number in frame_numbers:
            index = bisect_right(self._keyframes, number, key=lambda keyframe: keyframe.number)
            keyframe = self._keyframes[index - 1] if index else None
            if groups and (keyframe is None or keyframe.number - groups[-1][1][-1] <= _MAX_SKIPPED_FRAMES):
                groups[-1][1].append(number)
            else:
                groups.append((keyframe, [number]))
        return groups

    def _decode(self, frame_numbers: Sequence[int]) -> Iterator[NumberedFrame]:
        missing: list[int] = []
        for keyframe, group in self._group_by_keyframe(frame_numbers):
            missing += group if keyframe is None else (yield from self._decode_from(keyframe, group))
        if missing:
            yield from self._decode_from_start(missing)

    def _decode_from(self, keyframe: _Keyframe, frame_numbers: list[int]) -> Generator[NumberedFrame, None, list[int]]:
        """Yield the frames that can be decoded from a keyframe on; return the numbers of the others."""
        missing = set(frame_numbers)
        is_verified = not keyframe.is_shown
        for number, frame in self._numbered_frames(self._seek(keyframe), frame_numbers):
            if not is_verified and number >= keyframe.number:
                is_verified = True
                if not frame.key_frame:
                    break  # The container marks this frame as a keyframe, but it is not one.
            if number in missing:
                missing.remove(number)
                yield number, frame
            if not missing or number >= frame_numbers[-1]:
                break
        return sorted(missing)

    def _decode_from_start(self, frame_numbers: list[int]) -> Iterator[NumberedFrame]:
        remaining = deque(frame_numbers)
        last: NumberedFrame | None = None
        self._container.close()
        self._open()
        for number, frame in self._numbered_frames(self._packets(), frame_numbers):
            while remaining and remaining[0] <= number:
                yield (number, frame) if remaining.popleft() == number or last is None else last
            if not remaining:
                return
            last = (number, frame)
        if last is not None:
            yield last

    def _seek(self, keyframe: _Keyframe) -> Iterator["Packet[VideoStream]"]:
        """Return the packets from a keyframe (or an earlier one) on; none if the container cannot seek there."""
        for time in (keyframe.pts, keyframe.dts):
            if time is None:
                continue
            try:
                self._container.seek(time, stream=self._stream)
            except av.FFmpegError as error:
                self._decoder_error = error
                continue
            packets = self._packets()
            first = next(packets, None)
            if first is not None and first.is_keyframe and first.pts is not None and first.pts <= keyframe.pts:
                return chain([first], packets)
        return iter(())

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """Yield the packets that may contain a frame, to the end of the file or its first unreadable part."""
        try:
            for packet in self._container.demux(self._stream):
                self._cancellation.check(self._progress)
                # An empty packet would flush the decoder.
                if packet.size and not packet.is_corrupt:
                    yield packet
        except av.FFmpegError as error:
            self._decoder_error = error

    def _numbered_frames(
        self, packets: Iterator["Packet[VideoStream]"], frame_numbers: Sequence[int]
    ) -> Iterator[NumberedFrame]:
        """Decode packets; may skip frames that are not in `frame_numbers`."""
        wanted_pts = {self._first_pts + self.times[number] for number in frame_numbers}
        codec = self._stream.codec_context
        num_decoded = 0
        packets_then_flush: Iterator[Packet[VideoStream] | None] = chain(packets, [None])
        for packet in packets_then_flush:
            if not self._must_count and packet is not None:
                # Frames that no other frame refers to need to be decoded only if they are wanted.
                codec.skip_frame = "DEFAULT" if packet.pts in wanted_pts else "NONREF"
            try:
                frames = codec.decode(packet)
            except av.FFmpegError as error:
                self._decoder_error = error
                continue
            for frame in frames:
                self._cancellation.check(self._progress)
                number: int | None = num_decoded
                if not self._must_count:
                    number = None if frame.pts is None else self._number_by_time.get(frame.pts - self._first_pts)
                num_decoded += 1
                if number is not None and number < len(self.times):
                    yield number, frame
