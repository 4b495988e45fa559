"""Makes the files and `cases.json` of `benchmarks/search_files/`: `python -m recipes.search_files`.

The texts and what they say are made up. The Markdown, HTML and plain text files are written by hand; a PDF of two
columns, a scan, a DOCX and a receipt are made here. The boxes of the right places come from where the text is drawn.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docx import Document
from PIL import Image, ImageDraw, ImageFont

from deployments.project import project_folder

FOLDER = project_folder() / "benchmarks" / "search_files"

PAGE_WIDTH, PAGE_HEIGHT = 595, 842
"""A4, in points."""
FONT_SIZE, LEADING = 9, 11.5
COLUMN_LEFT = (50, 310)
COLUMN_CHARACTERS = 52
LINES_PER_COLUMN = 30
TOP = 90
CHARACTER_WIDTH = 0.6 * FONT_SIZE * 0.8
"""Courier, which has one width for all characters, set at 80 % of it."""

OBSERVATORY = (
    "The observatory at High Fell was founded by a brewer, Josiah Penn, who had lost his sight and wanted others to "
    "see the stars. He left the land, nine thousand pounds and one condition: that the dome be open to the public on "
    "every clear Thursday. The trustees have kept to it for a hundred and thirty years, through two wars.",
    "The great refractor has a lens of 62 centimetres, ground in Dublin. It took three attempts to cast the glass: the "
    "first disc cracked while cooling, and the second was dropped at the docks of Liverpool. The tube is nine metres "
    "long and so well balanced that a push of two fingers moves it.",
    "Between 1902 and 1911 the assistant Edith Marlow measured the brightness of 4,100 variable stars by eye. Her "
    "notebooks were found in a coal cellar in 1987, and the measurements agree with modern ones to a tenth of a "
    "magnitude. Crater Marlow on the Moon bears her name.",
    "The clock room lies six metres underground, where the temperature changes by less than half a degree in a year. "
    "The pendulum clock there gave the time to four railways by telegraph. It lost one second in ninety days, and was "
    "stopped only once, when a cat was shut in with it.",
    "In the winter of 1947 the road was closed for eleven weeks. The staff burned the shelves of the library, though "
    "not the books, and photographed the sky on every clear night. Of the 212 plates from that winter, nine show the "
    "comet that was later named after the cook, who had seen it first.",
    "Street lamps became the greatest enemy of the observatory. In 1993 the county agreed to shield every lamp within "
    "twelve miles, and the sky over High Fell grew darker by a third. Light from the new motorway is still the "
    "brightest thing above the southern horizon.",
    "The radio dish behind the dome is 14 metres across. Students built it from the parts of a gun turret. It follows "
    "hydrogen at a wavelength of 21 centimetres, and on quiet nights it can hear the echo of meteors that nobody sees.",
    "Groups of up to thirty people may stay in the dormitory for eighteen pounds a night. Torches must have a red "
    "filter. Telephones are handed in at the door, because their screens spoil everybody's eyes for half an hour.",
    "The telescope's drive was a falling weight of 180 kilograms until 1968, wound up by hand every two hours. An "
    "electric motor took its place. The old governor, with its spinning brass balls, is kept in the entrance hall.",
    "The library holds eleven thousand volumes. Its treasure is a star atlas of 1729 with notes in the hand of "
    "Caroline Fenwick. It is shown on the first Sunday of June only, since its green pigment, verdigris, eats the "
    "paper.",
)

SCAN = (
    "STOCK OF THE MUSEUM STORE",
    "Room 3, counted by H. Adeyemi on 9 May 2018",
    "",
    "Shelf A holds fourteen brass sextants, two of",
    "them without their mirrors.",
    "Shelf B holds the plaster model of the Narrows",
    "bridge. It is broken and waits for glue.",
    "Shelf C is reserved for uniforms. Moths were",
    "found in the admiral's hat.",
    "The fire extinguisher is behind the door. It was",
    "last checked in 2011, which is too long ago.",
)

RECEIPT = (
    ("HARBOUR STORES", ""),
    ("12 Quay Street, Ennismore", ""),
    ("Rope 8 mm, 20 m", "18.40"),
    ("Lamp oil 1 l", "6.95"),
    ("Brass polish", "4.20"),
    ("Chart of the Narrows", "22.50"),
    ("TOTAL", "52.05"),
    ("Paid by card", ""),
)

WORKSHOP: Sequence[tuple[int, str]] = (
    (1, "Rules of the workshop"),
    (0, "Everybody who uses the workshop has read these rules and signed the list at the door."),
    (2, "Machines"),
    (0, "Nobody works at a machine alone after eight in the evening."),
    (3, "Lathe"),
    (0, "Take the key out of the chuck before you let go of it. Sleeves are rolled up and rings are taken off."),
    (3, "Band saw"),
    (0, "The guard stands no more than five millimetres above the wood. Broken blades go into the red tin."),
    (3, "Furnace"),
    (0, "The furnace is lit by Anwar or Beatrix only. It needs fifty minutes to reach 1,100 degrees."),
    (2, "Materials"),
    (0, "Oak from the old pier is free for members. Take no more than two planks a month."),
    (2, "Fees"),
    (0, "A year costs 85 pounds, half of that for pupils. Guests pay seven pounds for an evening."),
)


@dataclass(frozen=True)
class _Line:
    page: int
    text: str
    box: tuple[float, float, float, float]


def _wrap(text: str, characters: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > characters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def make_pdf(path: Path) -> list[_Line]:
    """Write a PDF of two columns and return its lines."""
    texts = [line for paragraph in OBSERVATORY for line in (*_wrap(paragraph, COLUMN_CHARACTERS), "")]
    lines = []
    for index, text in enumerate(texts):
        page, column = divmod(index // LINES_PER_COLUMN, len(COLUMN_LEFT))
        top = TOP + index % LINES_PER_COLUMN * LEADING
        left = COLUMN_LEFT[column]
        right = left + len(text) * CHARACTER_WIDTH
        box = (left / PAGE_WIDTH, top / PAGE_HEIGHT, right / PAGE_WIDTH, (top + FONT_SIZE) / PAGE_HEIGHT)
        if text:
            lines.append(_Line(page + 1, text, box))
    path.write_bytes(_pdf([_page_content(lines, page) for page in range(1, lines[-1].page + 1)]))
    return lines


def _page_content(lines: Sequence[_Line], page: int) -> str:
    """Return the drawing operators of one page."""
    return "\n".join(
        f"BT /F1 {FONT_SIZE} Tf 80 Tz {line.box[0] * PAGE_WIDTH:.2f} "
        f"{PAGE_HEIGHT - line.box[3] * PAGE_HEIGHT + 0.2 * FONT_SIZE:.2f} Td ({_escaped(line.text)}) Tj ET"
        for line in lines
        if line.page == page
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _pdf(contents: Sequence[str]) -> bytes:
    """Return a PDF whose pages have these drawing operators, with Courier as font F1."""
    font = 3
    first = 4
    kids = " ".join(f"{first + 2 * index} 0 R" for index in range(len(contents)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    ]
    for index, content in enumerate(contents):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] "
            f"/Resources << /Font << /F1 {font} 0 R >> >> /Contents {first + 2 * index + 1} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    output = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(output))
        output += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return output + f"{trailer}startxref\n{len(output)}\n%%EOF\n".encode("latin-1")


def make_scan(path: Path) -> list[_Line]:
    """Write a PDF that is only a picture of a page, and return its lines."""
    image = Image.new("L", (1000, 1414), 244)
    lines = _draw(image, [(text, "") for text in SCAN], left=90, top=120, leading=62, size=36)
    image.rotate(0.6, fillcolor=244, resample=Image.Resampling.BICUBIC).save(path, resolution=120, quality=60)
    return lines


def make_receipt(path: Path) -> list[_Line]:
    """Write a picture of a receipt and return its lines; a price is a line of its own."""
    image = Image.new("L", (520, 640), 238)
    lines = _draw(image, RECEIPT, left=40, top=50, leading=66, size=28, price_left=400)
    image.save(path, optimize=True)
    return lines


def _draw(
    image: Image.Image,
    rows: Sequence[tuple[str, str]],
    *,
    left: int,
    top: int,
    leading: int,
    size: int,
    price_left: int = 0,
) -> list[_Line]:
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    lines = []
    for index, row in enumerate(rows):
        for x, text in zip((left, price_left), row, strict=True):
            if text:
                draw.text((x, top + index * leading), text, 30, font)
                x0, y0, x1, y1 = draw.textbbox((x, top + index * leading), text, font)
                box = (x0 / image.width, y0 / image.height, x1 / image.width, y1 / image.height)
                lines.append(_Line(1, text, box))
    return lines


def make_docx(path: Path) -> None:
    document = Document()
    for level, text in WORKSHOP:
        if level:
            document.add_heading(text, level)
        else:
            document.add_paragraph(text)
    document.save(str(path))


def _on_page(lines: Sequence[_Line], words: str) -> dict[str, Any]:
    """Return the place of the line that has these words."""
    [line] = [line for line in lines if words in line.text]
    return {"kind": "page", "page": line.page, "box": [round(value, 4) for value in line.box]}


def _in_picture(lines: Sequence[_Line], words: str) -> dict[str, Any]:
    return {"kind": "box", "box": _on_page(lines, words)["box"]}


def _under(*heading: str, contains: str) -> dict[str, Any]:
    return {"kind": "docx", "heading": list(heading), "paragraph_contains": contains}


def _at(start: float, end: float) -> dict[str, Any]:
    return {"kind": "time", "start": start, "end": end}


def main() -> None:
    pdf, scan = make_pdf(FOLDER / "observatory.pdf"), make_scan(FOLDER / "inventory_scan.pdf")
    receipt = make_receipt(FOLDER / "receipt.png")
    make_docx(FOLDER / "workshop.docx")
    rock = "The lighthouse on Carrow Rock"
    orchard = "The community orchard"
    rules = "Rules of the workshop"
    text = {"kind": "text"}
    questions: Sequence[tuple[str, str, str, dict[str, Any]]] = (
        ("lighthouse.md", "Who was the engineer of the lighthouse?", "Margaret Hale",
         _under(rock, "Building it", contains="Margaret Hale")),
        ("lighthouse.md", "Where did the granite come from?", "Tolver", _under(rock, "Building it", contains="Tolver")),
        ("lighthouse.md", "Why was nobody hurt when the barrack was swept away?", "wedding",
         _under(rock, "Building it", contains="wedding")),
        ("lighthouse.md", "How heavy is the lens of the lighthouse?", "3.4 tonnes",
         _under(rock, "The light", contains="3.4 tonnes")),
        ("lighthouse.md", "How often does Carrow Rock flash?", "fifteen seconds",
         _under(rock, "The light", contains="fifteen seconds")),
        ("lighthouse.md", "What happened to the barometer?", "school", _under(rock, "The keepers", contains="school")),
        ("lighthouse.md", "Why were the beds curved?", "rooms are round",
         _under(rock, "The keepers", contains="rooms are round")),
        ("lighthouse.md", "How many steps lead up to the gallery?", "189", _under(rock, "Visiting", contains="189")),
        ("orchard.html", "When must plum trees be pruned?", "June", _under(orchard, "Pruning", contains="June")),
        ("orchard.html", "Until when does Winter Banana keep?", "April",
         _under(orchard, "Varieties", contains="Winter Banana")),
        ("orchard.html", "What should I do after a bee sting if my face swells?", "adrenaline",
         _under(orchard, "Bees", contains="adrenaline")),
        ("orchard.html", "How much juice do forty kilograms of apples give?", "twenty-five litres",
         _under(orchard, "Cider", contains="twenty-five litres")),
        ("orchard.html", "What are the pressing cloths rinsed in?", "soda", _under(orchard, "Cider", contains="soda")),
        ("orchard.html", "Who has the key of the tool shed?", "Okafor",
         _under(orchard, "Work days", contains="Okafor")),
        ("ferry.txt", "How many cars does the Saint Bride carry?", "38 cars", text),
        ("ferry.txt", "What colour is the tag on sealed gas bottles?", "yellow tag", text),
        ("ferry.txt", "Which radio channel does the lookout use in fog?", "channel 9", text),
        ("ferry.txt", "How do I correct the tide table for the Narrows?", "one hour and ten minutes", text),
        ("ferry.txt", "How long is lost property kept?", "ninety days", text),
        ("ferry.txt", "Which extinguisher is for burning fat?", "class F", text),
        ("observatory.pdf", "On which day is the dome open to the public?", "Thursday", _on_page(pdf, "Thursday")),
        ("observatory.pdf", "What happened to the second disc of glass?", "Liverpool", _on_page(pdf, "Liverpool")),
        ("observatory.pdf", "How many variable stars did Edith Marlow measure?", "4,100", _on_page(pdf, "4,100")),
        ("observatory.pdf", "Why was the pendulum clock stopped?", "cat", _on_page(pdf, "a cat")),
        ("observatory.pdf", "What did the staff burn in the winter of 1947?", "shelves", _on_page(pdf, "shelves")),
        ("observatory.pdf", "What was the radio dish built from?", "gun turret", _on_page(pdf, "turret")),
        ("observatory.pdf", "What does a night in the dormitory cost?", "eighteen pounds", _on_page(pdf, "eighteen")),
        ("observatory.pdf", "Which pigment eats the paper of the star atlas?", "verdigris", _on_page(pdf, "verdigris")),
        ("workshop.docx", "Who may light the furnace?", "Beatrix",
         _under(rules, "Machines", "Furnace", contains="Beatrix")),
        ("workshop.docx", "Where do broken saw blades go?", "red tin",
         _under(rules, "Machines", "Band saw", contains="red tin")),
        ("workshop.docx", "How many planks of oak may I take?", "two planks",
         _under(rules, "Materials", contains="two planks")),
        ("workshop.docx", "What do guests pay for an evening?", "seven pounds",
         _under(rules, "Fees", contains="seven pounds")),
        ("inventory_scan.pdf", "How many sextants are in the museum store?", "fourteen", _on_page(scan, "fourteen")),
        ("inventory_scan.pdf", "Where were moths found?", "admiral", _on_page(scan, "admiral")),
        ("inventory_scan.pdf", "When was the fire extinguisher last checked?", "2011", _on_page(scan, "2011")),
        ("receipt.png", "What did the chart of the Narrows cost?", "22.50", _in_picture(receipt, "22.50")),
        ("receipt.png", "What did I pay at Harbour Stores in total?", "52.05", _in_picture(receipt, "52.05")),
        ("../../samples/recording.mp3", "Which trees are in bloom?", "apple trees", _at(3.85, 6.05)),
        ("../../samples/recording.mp3", "What should be closed when leaving?", "gate", _at(7.45, 9.55)),
        ("../../samples/clip.mp4", "Where is the large white cross?", "white cross", _at(12.8, 14.6)),
    )  # fmt: skip
    cases = [
        {"id": number, "file": file, "question": question, "expect_words": [words], "place": place}
        for number, (file, question, words, place) in enumerate(questions, 1)
    ]
    (FOLDER / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
