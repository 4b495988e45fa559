"""HEIC and AVIF files, written by hand around pictures that a video encoder makes: no encoder of HEIC is needed."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.hostile.containers import box

_ENCODERS = {
    "hvc1": (
        "libx265",
        {"x265-params": "log-level=none:pools=1:frame-threads=1:crf=4", "preset": "ultrafast"},
        b"hvcC",
        "yuv444p",
    ),
    "av01": ("libsvtav1", {"preset": "12", "crf": "5"}, b"av1C", "yuv420p"),
}
"""The encoder, its options, the box with the configuration, and the pixel format."""
_TILE_SIDE_PX = 64


@dataclass(frozen=True)
class Item:
    """An item of the file."""

    kind: str
    content: bytes
    properties: Sequence[bytes] = ()
    references: Sequence[tuple[str, Sequence[int]]] = ()
    """(kind, numbers of the items), counted from 1."""
    is_hidden: bool = False


def coded_picture(image: Image.Image, codec: str = "hvc1", pix_fmt: str = "") -> Item:
    """Return a picture as one coded item, with its configuration and its size as the properties."""
    name, options, configuration, usual_pix_fmt = _ENCODERS[codec]
    pix_fmt = pix_fmt or usual_pix_fmt
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream(name, rate=1, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = *image.size, pix_fmt
        if codec == "hvc1":
            stream.codec_context.codec_tag = "hvc1"
        frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), "rgb24").reformat(
            format=pix_fmt, dst_colorspace="ITU601", dst_color_range="JPEG"
        )
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # the decoding time of a single picture is not set
            output.mux(packet)
    with av.open(io.BytesIO(file.getvalue()), "r") as source:
        [content] = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    written = file.getvalue()
    start = written.index(configuration) - 4
    properties = [
        written[start : start + int.from_bytes(written[start : start + 4], "big")],
        size_property(*image.size),
        box("pixi", bytes(4), b"\x03" + (b"\x0a" if "10" in pix_fmt else b"\x08") * 3),
        # BT.601 with values from 0 to 255.
        box("colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 0x80)),
    ]
    return Item(codec, content, properties)


def size_property(width: int, height: int) -> bytes:
    return box("ispe", bytes(4), struct.pack(">II", width, height))


def with_size(picture: Item, width: int, height: int) -> Item:
    """Return a picture that claims another size."""
    properties = [size_property(width, height) if b"ispe" in each else each for each in picture.properties]
    return replace(picture, properties=properties)


def rotation_property(quarter_turns: int) -> bytes:
    """Counter-clockwise."""
    return box("irot", bytes([quarter_turns]))


def mirror_property(axis: int) -> bytes:
    """0 exchanges top and bottom, 1 left and right."""
    return box("imir", bytes([axis]))


def heif(
    *items: Item, brand: bytes = b"heic", primary: int = 1, edit: Callable[[bytes], bytes] = lambda boxes: boxes
) -> bytes:
    """Return a file of items, numbered from 1; those of the same content share it.

    `edit` changes the boxes in `meta`.
    """
    start = box("ftyp", brand, bytes(4), b"mif1", brand, b"miaf")

    def with_positions(first: int) -> bytes:
        """Return `meta` for contents that begin at `first`, one behind the other."""
        properties: list[bytes] = []
        places: dict[bytes, int] = {}
        associations, locations, references, position = [], [], [], first
        for number, item in enumerate(items, 1):
            indices = []
            for each in item.properties:
                if each not in properties:
                    properties.append(each)
                indices.append(0x80 | properties.index(each) + 1)
            if indices:
                associations.append(struct.pack(">HB", number, len(indices)) + bytes(indices))
            place = places.get(item.content)
            if place is None:
                place = places[item.content] = position
                position += len(item.content)
            locations.append(struct.pack(">HHHII", number, 0, 1, place, len(item.content)))
            for kind, targets in item.references:
                entry = struct.pack(f">HH{len(targets)}H", number, len(targets), *targets)
                references.append(box(kind, entry))
        infos = [
            box("infe", bytes([2, 0, 0, item.is_hidden]), struct.pack(">HH", number, 0), item.kind.encode(), b"\x00")
            for number, item in enumerate(items, 1)
        ]
        boxes = [
            box("hdlr", bytes(8), b"pict", bytes(13)),
            box("pitm", bytes(4), struct.pack(">H", primary)),
            box("iloc", bytes(4), b"\x44\x00", struct.pack(">H", len(items)), *locations),
            box("iinf", bytes(4), struct.pack(">H", len(items)), *infos),
            box(
                "iprp",
                box("ipco", *properties),
                box("ipma", bytes(4), struct.pack(">I", len(associations)), *associations),
            ),
            box("iref", bytes(4), *references) if references else b"",
        ]
        return box("meta", bytes(4), edit(b"".join(boxes)))

    size = len(start) + len(with_positions(0)) + 8
    return start + with_positions(size) + box("mdat", *dict.fromkeys(item.content for item in items))


def picture_file(image: Image.Image, codec: str = "hvc1", *properties: bytes, **options: Any) -> bytes:
    """Return a file of one picture, with further properties."""
    item = coded_picture(image, codec, **options)
    return heif(replace(item, properties=[*item.properties, *properties]), brand=_brand(codec))


def tiled_file(image: Image.Image, codec: str = "hvc1", *properties: bytes, side_px: int = _TILE_SIDE_PX) -> bytes:
    """Return a file whose picture is a grid of square tiles, as phones write it; the last ones are cut off."""
    columns, rows = -(-image.width // side_px), -(-image.height // side_px)
    whole = Image.new("RGB", (columns * side_px, rows * side_px))
    whole.paste(image)
    tiles = [
        replace(coded_picture(whole.crop((x, y, x + side_px, y + side_px)), codec), is_hidden=True)
        for y in range(0, whole.height, side_px)
        for x in range(0, whole.width, side_px)
    ]
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *image.size)
    grid = Item("grid", layout, [size_property(*image.size), *properties], [("dimg", range(2, 2 + len(tiles)))])
    return heif(grid, *tiles, brand=_brand(codec))


def same_tiles(tile: Item, num_rows: int, num_columns: int, width: int, height: int) -> list[Item]:
    """Return a picture of tiles that all have the same content, and the tiles."""
    layout = struct.pack(">BBBBII", 0, 1, num_rows - 1, num_columns - 1, width, height)
    count = num_rows * num_columns
    whole = Item("grid", layout, [size_property(width, height)], [("dimg", range(2, 2 + count))])
    return [whole, *[replace(tile, is_hidden=True)] * count]


def _brand(codec: str) -> bytes:
    return b"heic" if codec == "hvc1" else b"avif"
