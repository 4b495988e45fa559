"""Recognizes the type of a file by its content.

The supported types are the formats of the modalities. MP4, MOV, M4A and 3GP share one container format, MKV and WebM
another, WMV and WMA a third; and FLV and transport streams may hold sound only. There the tracks decide what a file is,
not the brand. The check is shallow: a damaged file of the right type passes, and its decoder then refuses it.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from deployments import asf, flv, mpeg_ps, mpeg_ts
from deployments.containers import (
    Content,
    Header,
    adts_frame_bytes,
    id3_end,
    mp3_frame_bytes,
    read_box_header,
    read_element_header,
    read_page_header,
)
from deployments.errors import InvalidFileType
from deployments.images import heif_files, tiff_files
from serve_app.modalities import MODALITIES
from serve_app.modalities.modality import FileFormat, Kind
from serve_app.modalities.video import VIDEO


@dataclass(frozen=True)
class FileType:
    """A type of file that `sniff` recognizes, supported or not."""

    description: str
    """As in "The content looks like a JPG image"."""
    kinds: frozenset[Kind] = frozenset()
    """The kinds of media it may be: none if it is not supported, both video and audio if its tracks cannot be read."""
    file_format: FileFormat | None = None
    """None if it is not supported."""


def require_kind(content: Content, kind: Kind) -> None:
    """Return if `content` is of a supported type of `kind`.

    Raises InvalidFileType, which says what the content looks like, what is supported, and which route takes it.
    """
    file_type = sniff(content)
    if file_type is not None and kind in file_type.kinds:
        return
    looks = f"looks like {file_type.description}, which is not supported here" if file_type else "is of no known type"
    supported = next(modality.formats for modality in MODALITIES if modality.kind == kind)
    names = ", ".join(file_format.name for file_format in supported)
    message = f"The content {looks}. Supported {kind} types: {names}."
    if file_type is not None and kind == "audio" and "video" in file_type.kinds:
        message += f" To transcribe a video's audio, post it to {VIDEO.path} with include_audio=true."
    elif file_type is not None and file_type.kinds:
        message += f" Post it to {_PATHS[min(file_type.kinds)]}."
    raise InvalidFileType(message)


def sniff(content: Content) -> FileType | None:
    """Return the type of `content`, or None if it is of no type known here."""
    view = memoryview(content)
    head = bytes(view[:64])
    for signature, file_type in _SIGNATURES.items():
        if head.startswith(signature):
            return file_type
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF_FORMS.get(head[8:12])
    if head[:2] == b"BM" and head[14:18] in _BMP_HEADER_SIZES:
        return _FORMATS["image", "BMP"]
    if head.startswith(tiff_files.SIGNATURES):
        return _sniff_tiff(view)
    if heif_files.is_heif(view):
        return _sniff_heif(view)
    if head[4:8] in _ISO_FIRST_BOXES:
        return _sniff_iso_media(view)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _sniff_matroska(view)
    if head[:4] == b"OggS":
        return _sniff_ogg(view)
    if head[:4] == b"FORM" and head[8:12] in _IFF_FORMS:
        return _IFF_FORMS[head[8:12]]
    if head.startswith(asf.MAGIC):
        return _sniff_asf(view)
    if head.startswith(mpeg_ps.MAGIC):
        return _by_tracks(_FORMATS["video", "MPG"], mpeg_ps.stream_kinds(view))
    if head.startswith(flv.MAGIC):
        return _by_tracks(_FORMATS["video", "FLV"], flv.stream_kinds(view))
    guesses = (guess(view) for guess in (_sniff_icon, _sniff_ac3, _sniff_transport_stream, _sniff_mp3, _sniff_text))
    return next((guess for guess in guesses if guess is not None), None)


_FORMATS: Mapping[tuple[Kind, str], FileType] = {
    (modality.kind, file_format.name): FileType(file_format.description, frozenset({modality.kind}), file_format)
    for modality in MODALITIES
    for file_format in modality.formats
}
_PATHS = {modality.kind: modality.path for modality in MODALITIES}

_UNSUPPORTED = {
    b"%PDF-": FileType("a PDF document"),
    b"PK\x03\x04": FileType("a ZIP archive or an office document"),
    b"\x1f\x8b": FileType("a gzip archive"),
    b"7z\xbc\xaf\x27\x1c": FileType("a 7-Zip archive"),
    b"Rar!": FileType("a RAR archive"),
    b"\x00\x00\x01\xb3": FileType("an MPEG video stream"),
    b".RMF": FileType("a RealMedia file"),
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": FileType("a JPEG 2000 image"),
    b"\xff\x4f\xff\x51\x00": FileType("a JPEG 2000 image"),
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": FileType("a JPEG XL image"),
    b"8BPS\x00\x01": FileType("a Photoshop image"),
    # libav reads its samples in the wrong byte order, as noise.
    b"RIFX": FileType("a big-endian WAV audio file (RIFX)"),
    b"#!AMR_MC1.0\n": FileType("an AMR audio file of several channels"),
    b"#!AMR-WB_MC1.0\n": FileType("an AMR audio file of several channels"),
    b"caff": FileType("a CAF audio file"),
    b".snd\x00\x00": FileType("an AU audio file"),
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb": FileType("a Wave64 (W64) audio file"),
    b"wvpk": FileType("a WavPack audio file"),
    b"MThd\x00\x00\x00\x06": FileType("a MIDI file"),
    b"\x7fELF": FileType("a program"),
    b"MZ": FileType("a Windows program"),
}

_SIGNATURES = {
    signature: _FORMATS[modality.kind, file_format.name]
    for modality in MODALITIES
    for file_format in modality.formats
    for signature in file_format.signatures
} | _UNSUPPORTED

_RIFF_FORMS = {
    file_format.riff_form: _FORMATS[modality.kind, file_format.name]
    for modality in MODALITIES
    for file_format in modality.formats
    if file_format.riff_form
}

_IFF_FORMS = {
    b"AIFF": _FORMATS["audio", "AIFF"],
    b"AIFC": _FORMATS["audio", "AIFF"],
    b"8SVX": FileType("an Amiga 8SVX audio file"),
    b"ILBM": FileType("an Amiga ILBM image"),
}

_BMP_HEADER_SIZES = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}


_MAX_HEADERS = 10_000
"""Headers of boxes, elements or pages read in one file: real files need a few hundred, a malicious one could hold
millions."""


def _parts(
    view: memoryview,
    path: Sequence[int],
    read_header: Callable[[memoryview, int], Header | None],
    budget: Iterator[int],
) -> Iterator[memoryview]:
    """Yield the content of every box or element with the nested names `path`; of a truncated one, what is there.

    `budget` gives one item for each header that may still be read in the file.
    """
    position = 0
    while position < len(view) and next(budget, None) is not None:
        header = read_header(view, position)
        if header is None:
            return
        name, start, end = header
        if name == path[0] and len(path) == 1:
            yield view[start:end]
        elif name == path[0]:
            yield from _parts(view[start:end], path[1:], read_header, budget)
        position = end


_VIDEO_OR_AUDIO = frozenset[Kind]({"video", "audio"})


def _by_tracks(video: FileType, kinds: set[str], sound: FileType | None = None) -> FileType:
    """Return the type of a container that may hold a video, `video`, or sound only, by the kinds of its tracks.

    `sound` is its type with sound only, if that has a format of its own.
    """
    if "video" in kinds:
        return video
    if "audio" in kinds:
        return sound or FileType(f"{video.description} with audio only", frozenset({"audio"}), video.file_format)
    return FileType(f"{video.description} without readable tracks", _VIDEO_OR_AUDIO, video.file_format)


def _sniff_tiff(view: memoryview) -> FileType:
    if tiff_files.is_camera_raw(view):
        return FileType("a camera's raw image (DNG, NEF, CR2, ARW or the like)")
    return _FORMATS["image", "TIFF"]


def _sniff_heif(view: memoryview) -> FileType:
    codec = heif_files.codec_of(view)
    return _FORMATS["image", codec] if codec else FileType("a HEIF image in another codec than HEVC and AV1")


def _sniff_asf(view: memoryview) -> FileType:
    return _by_tracks(_FORMATS["video", "WMV"], asf.stream_kinds(view), _FORMATS["audio", "WMA"])


_3GP_BRANDS = (b"3gp", b"3gr", b"3gs", b"3ge", b"3g2")
_ISO_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}


def _iso_path(*names: str) -> list[int]:
    return [int.from_bytes(name.encode(), "big") for name in names]


_ISO_TRACKS = _iso_path("moov", "trak")
_ISO_HANDLER = _iso_path("mdia", "hdlr")
_ISO_TRACK_HEADER = _iso_path("tkhd")
_ISO_CHAPTERS = _iso_path("tref", "chap")
_ISO_TIMES = _iso_path("mdia", "mdhd")
_ISO_FORMATS = _iso_path("mdia", "minf", "stbl", "stsd")
_ISO_SIZES = _iso_path("mdia", "minf", "stbl", "stsz")


def _sniff_iso_media(view: memoryview) -> FileType:
    brand = bytes(view[8:12]) if bytes(view[4:8]) == b"ftyp" else b"qt  "
    if brand.startswith(_3GP_BRANDS):
        video = _FORMATS["video", "3GP"]
        sound = _by_tracks(video, {"audio"})
    else:
        video, sound = _FORMATS["video", "MOV" if brand == b"qt  " else "MP4"], _FORMATS["audio", "M4A"]
    budget = iter(range(_MAX_HEADERS))
    tracks = list(_parts(view, _ISO_TRACKS, read_box_header, budget))

    def part(track: memoryview, path: Sequence[int]) -> bytes:
        return bytes(next(_parts(track, path, read_box_header, budget), b"")[:_MAX_BOX_BYTES])

    handlers = [part(track, _ISO_HANDLER)[8:12] for track in tracks]
    pictures = [track for track, handler in zip(tracks, handlers, strict=True) if handler == b"vide"]
    if b"soun" not in handlers:
        if pictures:
            return video
        return _by_tracks(video, set())
    # A recording may have a track of pictures, one for each chapter. Players show it as sound.
    chapters = b"".join(part(track, _ISO_CHAPTERS) for track in tracks)
    chapter_ids = {chapters[at : at + 4] for at in range(0, len(chapters), 4)}
    pictures = [track for track in pictures if _track_id(part(track, _ISO_TRACK_HEADER)) not in chapter_ids]
    if not pictures:
        return sound
    if all(
        _is_slide_show(part(track, _ISO_FORMATS), part(track, _ISO_TIMES), part(track, _ISO_SIZES))
        for track in pictures
    ):
        return FileType(sound.description, _VIDEO_OR_AUDIO, sound.file_format)
    return video


_MAX_BOX_BYTES = 4096
"""How much of a box is looked at."""
_STILL_PICTURES = (b"jpeg", b"png ", b"gif ")
"""Sample formats of pictures that are complete in themselves."""
_STILL_OBJECT_TYPES = (0x6C, 0x6D)
"""The same in MPEG-4 systems: JPEG and PNG (https://mp4ra.org/registered-types/object-types)."""
_MAX_SLIDES_PER_S = 2


def _track_id(header: bytes) -> bytes:
    start = 20 if header[:1] == b"\x01" else 12
    return header[start : start + 4]


def _is_slide_show(formats: bytes, times: bytes, sizes: bytes) -> bool:
    """Return whether a track consists of still pictures that are shown for half a second or longer.

    The arguments are the contents of its boxes stsd, mdhd and stsz.
    """
    name = formats[12:16]
    is_still = name in _STILL_PICTURES or (name == b"mp4v" and _object_type(formats) in _STILL_OBJECT_TYPES)
    if times[:1] == b"\x01":
        ticks_per_s, duration = int.from_bytes(times[20:24], "big"), int.from_bytes(times[24:32], "big")
    else:
        ticks_per_s, duration = int.from_bytes(times[12:16], "big"), int.from_bytes(times[16:20], "big")
    return is_still and int.from_bytes(sizes[8:12], "big") * ticks_per_s <= _MAX_SLIDES_PER_S * duration


def _object_type(formats: bytes) -> int | None:
    """Return objectTypeIndication of the box esds (ISO/IEC 14496-1, section 7.2.6)."""
    start = formats.find(b"esds")
    # The descriptor with tag 3 and its length of one to four bytes, an id and flags; then the descriptor with tag 4.
    match = re.match(rb"\x03[\x80-\xff]{0,3}[\0-\x7f]..\0\x04[\x80-\xff]{0,3}[\0-\x7f](.)", formats[start + 8 :], re.S)
    return match[1][0] if start >= 0 and match else None


_EBML_DOC_TYPE = (0x1A45DFA3, 0x4282)
_TRACK_TYPES = (0x18538067, 0x1654AE6B, 0xAE, 0x83)
_VIDEO_TRACK, _AUDIO_TRACK = 1, 2


def _sniff_matroska(view: memoryview) -> FileType | None:
    budget = iter(range(_MAX_HEADERS))
    doc_type = bytes(next(_parts(view, _EBML_DOC_TYPE, read_element_header, budget), b"")).rstrip(b"\x00")
    if doc_type not in (b"matroska", b"webm", b""):
        return None
    types = {int.from_bytes(part, "big") for part in _parts(view, _TRACK_TYPES, read_element_header, budget)}
    if _AUDIO_TRACK in types and _VIDEO_TRACK not in types:
        return _FORMATS["audio", "WEBM" if doc_type == b"webm" else "MKA"]
    return _FORMATS["video", "WEBM" if doc_type == b"webm" else "MKV"]


def _sniff_ogg(view: memoryview) -> FileType:
    """Return the type by the first page of each stream. Those come before all other pages, and flag 2 marks them."""
    position = 0
    for _ in range(_MAX_HEADERS):
        header = read_page_header(view, position)
        if header is None or header[0] != 2:
            break
        _, start, position = header
        if bytes(view[start : start + 7]) == b"\x80theora":
            return FileType("an Ogg video")
    return _FORMATS["audio", "OGG"]


def _sniff_icon(view: memoryview) -> FileType | None:
    """Recognize ICO and CUR: a reserved 0, the kind, the number of pictures, and an entry for each of them."""
    head = bytes(view[:22])
    if head[:4] not in (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00") or len(head) < 22:
        return None
    num_pictures, first_start = (int.from_bytes(part, "little") for part in (head[4:6], head[18:22]))
    if not num_pictures or first_start < 6 + 16 * num_pictures:
        return None
    return FileType("an ICO image" if head[2] == 1 else "a Windows cursor (CUR)")


def _sniff_ac3(view: memoryview) -> FileType | None:
    """Recognize the header of a frame of AC-3 or E-AC-3: ETSI TS 102 366, sections 4.4.1 and E.1.3.1."""
    head = bytes(view[:6])
    if head[:2] != b"\x0b\x77" or len(head) < 6:
        return None
    version = head[5] >> 3
    if version <= 10 and head[4] >> 6 != 3 and head[4] & 0x3F < 38:
        return FileType("an AC-3 audio file")
    return FileType("an E-AC-3 audio file") if 11 <= version <= 16 else None


def _sniff_transport_stream(view: memoryview) -> FileType | None:
    if not mpeg_ts.is_transport_stream(view):
        return None
    return _by_tracks(_FORMATS["video", "TS"], mpeg_ts.stream_kinds(view))


_MP3_SEARCH_BYTES = 4096
"""How far into the file the first frame may start: a file that was cut out of a stream begins in the middle of one."""
_FRAME_HEADER_BYTES = 8
"""The longest header that is looked at, that of AAC."""
_MP3_FRAMES = 3
"""Frames that must follow one another: the two sync bytes alone occur in any file."""


def _sniff_mp3(view: memoryview) -> FileType | None:
    mp3 = _FORMATS["audio", "MP3"]
    start = id3_end(view)
    if start and start >= len(view):
        return mp3
    if bytes(view[start : start + 4]) == b"fLaC":
        return _FORMATS["audio", "FLAC"]
    window = bytes(view[start : start + _MP3_SEARCH_BYTES])
    if _has_frames(view, start, window, mp3_frame_bytes):
        return mp3
    if _has_frames(view, start, window, _mp2_frame_bytes):
        return FileType("an MP2 audio file")
    if _has_frames(view, start, window, adts_frame_bytes):
        return _FORMATS["audio", "AAC"]
    return mp3 if start else None


def _has_frames(view: memoryview, start: int, window: bytes, frame_bytes: Callable[[bytes], int | None]) -> bool:
    """Return whether `_MP3_FRAMES` frames follow one another, or fewer up to the end of the file.

    The first one starts in `window`, which is what the file has from `start` on.
    """
    offset = window.find(b"\xff")
    while offset >= 0:
        position, count = start + offset, 0
        while count < _MP3_FRAMES:
            length = frame_bytes(bytes(view[position : position + _FRAME_HEADER_BYTES]))
            if length is None:
                break
            position, count = position + length, count + 1
        if count == _MP3_FRAMES or (count and position >= len(view)):
            return True
        offset = window.find(b"\xff", offset + 1)
    return False


# MPEG audio layer II: ISO/IEC 11172-3 section 2.4.1.3, and ISO/IEC 13818-3 for the lower sample rates.
_MP2_BIT_RATES_KBPS = {
    3: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By the version bits of the header, like the sample rates."""
_MP2_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000)}
_LAYER_2 = 2
"""The layer bits."""


def _mp2_frame_bytes(header: bytes) -> int | None:
    """Return the size of the MP2 frame with this 4-byte header, or None if it is not the header of an MP2 frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _MP2_SAMPLE_RATES or layer != _LAYER_2 or bit_rate in (0, 15) or sample_rate == 3:
        return None
    return 144_000 * _MP2_BIT_RATES_KBPS[version][bit_rate - 1] // _MP2_SAMPLE_RATES[version][sample_rate] + padding


def _sniff_text(view: memoryview) -> FileType | None:
    """Recognize text, the most common wrong file: an error page saved as an image, base64 sent as a file."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(bytes(view[:512]))
    except UnicodeDecodeError:
        return None
    is_printable = all(char.isprintable() or char in "\t\n\r\f\ufeff" for char in text)
    return FileType("text") if text and is_printable else None
