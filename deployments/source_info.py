"""The place that the API shows for a passage, made from the places of its parts.

A part of a chunk (`ChunkPart.place`) has the keys of its kind:

    a line of a PDF            page, box; printed_page and extraction where they apply
    a paragraph                paragraph
    a line in a picture        box, image_region (the same box in pixels)
    a word in a recording      start, end (seconds)
    a line in a video frame    box

A line that was read by OCR also has `words`: for each, from which to which character of the line it goes, and its box,
`[start, end, x0, y0, x1, y1]`. A part that begins within a line has `offset`, the number of characters before it.

Everything else in `source_info`, such as `type`, `heading` or `origin`, is the same for all parts of a chunk.
"""

from collections.abc import Sequence

from deployments.library.types import ChunkPart, SourceInfo


def source_info(common: SourceInfo, parts: Sequence[ChunkPart]) -> SourceInfo:
    """Return the place of a passage: what its parts have in common, and where they are.

    `common` may itself be a chunk's `source_info`, and `parts` some of that chunk's parts: then the result is the
    place of these parts only. A passage that runs over the border of two pages is on the page where it begins.
    """
    info = dict(common)
    places = [part.place for part in parts]
    if not places:
        return info
    if "page" in places[0]:
        for key in ("page", "printed_page", "extraction"):
            info.pop(key, None)
            if key in places[0]:
                info[key] = places[0][key]
        info["boxes"] = [place["box"] for place in places if place["page"] == info["page"]]
    elif "paragraph" in places[0]:
        info["paragraph"] = places[0]["paragraph"]
    elif "image_region" in places[0]:
        info["image_region"] = _union([place["image_region"] for place in places])
        info["boxes"] = [place["box"] for place in places]
    elif "start" in places[0]:
        info["start"] = min(place["start"] for place in places)
        info["end"] = max(place["end"] for place in places)
        if info["type"] == "audio":
            info["timestamp"] = f"{info['start']:.2f}s"
    return info


def narrowed(common: SourceInfo, parts: Sequence[ChunkPart], start: int, end: int) -> SourceInfo:
    """Return the place of the characters from `start` to `end` (exclusive) of a chunk, such as those of a quote."""
    return source_info(common, [part for part in parts if part.start < end and part.end > start])


def _union(regions: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return the smallest region that holds all regions, in pixels."""
    left, top = min(region["x"] for region in regions), min(region["y"] for region in regions)
    right = max(region["x"] + region["width"] for region in regions)
    bottom = max(region["y"] + region["height"] for region in regions)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}
