"""Drawn scenes: pictures that need no licence and can be described in one sentence."""

from collections.abc import Callable

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1920, 1440
"""The grid that scenes are drawn on; they are scaled down from it, which smooths their edges."""

Draw = ImageDraw.ImageDraw


def house_by_the_lake(image: Image.Image) -> None:
    draw = _gradient(image, "#7ec0ee", "#e8f6ff")
    draw.ellipse((1500, 100, 1760, 360), fill="#ffd84d")
    _cloud(draw, 320, 210)
    _cloud(draw, 1000, 330)
    draw.ellipse((-700, 700, 2000, 2100), fill="#79b85a")
    draw.rectangle((0, 1000, WIDTH, HEIGHT), fill="#5fa348")
    draw.ellipse((1040, 1060, 2240, 1400), fill="#3d85c6")
    _tree(draw, 260, 1040)
    _house(draw, 560, 1080)
    _boat(draw, 1560, 1230, 0.55)


def sailing_boat(image: Image.Image) -> None:
    draw = _gradient(image, "#bfe3ff", "#f4fbff")
    _cloud(draw, 260, 260)
    draw.rectangle((0, 900, WIDTH, HEIGHT), fill="#1f66ad")
    for x, y in ((150, 1000), (1350, 1080), (420, 1260), (1500, 1330), (900, 1370)):
        draw.line((x, y, x + 240, y), fill="#8fc1ea", width=14)
    _boat(draw, 980, 980, 1.3)


def yellow_car(image: Image.Image) -> None:
    draw = _gradient(image, "#f9b27c", "#fff0d9")
    draw.rectangle((0, 860, WIDTH, HEIGHT), fill="#b9975b")
    draw.rectangle((0, 980, WIDTH, 1340), fill="#55595f")
    for x in range(40, WIDTH, 320):
        draw.rectangle((x, 1200, x + 180, 1222), fill="#f5f5f5")
    draw.polygon(((680, 720), (800, 520), (1180, 520), (1330, 720)), fill="#f4c20d")
    draw.polygon(((740, 710), (830, 570), (970, 570), (970, 710)), fill="#cfe8f7")
    draw.polygon(((1010, 710), (1010, 570), (1150, 570), (1250, 710)), fill="#cfe8f7")
    draw.rounded_rectangle((480, 710, 1500, 990), radius=70, fill="#f4c20d")
    for x in (720, 1260):
        draw.ellipse((x - 120, 870, x + 120, 1110), fill="#22252a")
        draw.ellipse((x - 55, 935, x + 55, 1045), fill="#c9ced6")


def moon_over_mountains(image: Image.Image) -> None:
    draw = _gradient(image, "#0b1033", "#34407a")
    for x, y in ((180, 160), (460, 420), (700, 130), (930, 330), (1750, 520), (1150, 90), (1700, 120), (300, 620)):
        draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill="#ffffff")
    draw.ellipse((1260, 190, 1580, 510), fill="#fdf6d8")
    draw.polygon(((-100, HEIGHT), (520, 620), (1140, HEIGHT)), fill="#232a4d")
    draw.polygon(((520, 620), (392, 785), (480, 760), (530, 820), (580, 760), (652, 790)), fill="#e9edf7")
    draw.polygon(((760, HEIGHT), (1360, 800), (2050, HEIGHT)), fill="#171c38")


def snowman(image: Image.Image) -> None:
    draw = _gradient(image, "#8fa9c4", "#d9e6f2")
    draw.ellipse((-600, 1050, 2500, 2000), fill="#ffffff")
    for x, y in ((200, 180), (520, 420), (320, 760), (1500, 240), (1700, 640), (1330, 520), (760, 120), (1120, 90)):
        draw.ellipse((x - 16, y - 16, x + 16, y + 16), fill="#ffffff")
    for y, radius in ((1080, 270), (720, 195), (440, 140)):
        draw.ellipse((960 - radius, y - radius, 960 + radius, y + radius), fill="#fbfdff", outline="#b9c7d6", width=6)
    draw.rectangle((780, 305, 1140, 345), fill="#23262b")
    draw.rectangle((850, 120, 1070, 310), fill="#23262b")
    for x in (910, 1010):
        draw.ellipse((x - 16, 394, x + 16, 426), fill="#23262b")
    draw.polygon(((955, 440), (955, 480), (1110, 470)), fill="#f0822b")
    draw.rectangle((840, 560, 1080, 610), fill="#d03a3a")
    draw.rectangle((1000, 600, 1060, 760), fill="#d03a3a")


def red_apple(image: Image.Image) -> None:
    """Draw on nothing: what is not apple stays as transparent as it was."""
    draw = ImageDraw.Draw(image)
    draw.ellipse((420, 420, 1080, 1240), fill="#d62828")
    draw.ellipse((840, 420, 1500, 1240), fill="#d62828")
    draw.line((960, 480, 1030, 240), fill="#6b4226", width=50)
    draw.polygon(((1040, 340), (1220, 180), (1440, 230), (1270, 370)), fill="#3f9b3f")
    draw.ellipse((560, 560, 700, 760), fill="#ef7676")


Scene = Callable[[Image.Image], None]


def draw_scene(scene: Scene, width: int, height: int) -> Image.Image:
    """Return `scene` as an RGBA picture of width * height pixels."""
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    scene(image)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _gradient(image: Image.Image, top: str, bottom: str) -> Draw:
    """Fill `image` from `top` to `bottom` and return what draws on it."""
    mask = Image.linear_gradient("L").resize(image.size)
    image.paste(Image.composite(Image.new("RGBA", image.size, bottom), Image.new("RGBA", image.size, top), mask))
    return ImageDraw.Draw(image)


def _cloud(draw: Draw, x: int, y: int) -> None:
    for dx, dy, radius in ((0, 30, 75), (95, 0, 100), (205, 25, 80)):
        draw.ellipse((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius), fill="#ffffff")


def _tree(draw: Draw, x: int, ground: int) -> None:
    draw.rectangle((x - 35, ground - 260, x + 35, ground), fill="#7a4e2b")
    for dx, dy, radius in ((-90, -300, 130), (90, -300, 130), (0, -430, 160)):
        draw.ellipse((x + dx - radius, ground + dy - radius, x + dx + radius, ground + dy + radius), fill="#2f7d32")


def _house(draw: Draw, x: int, ground: int) -> None:
    draw.rectangle((x, ground - 400, x + 560, ground), fill="#c8423b")
    draw.rectangle((x + 410, ground - 640, x + 480, ground - 480), fill="#8a5a44")
    draw.polygon(((x - 60, ground - 400), (x + 280, ground - 660), (x + 620, ground - 400)), fill="#5b3a2e")
    draw.rectangle((x + 220, ground - 210, x + 340, ground), fill="#6b4226")
    for window in (x + 60, x + 400):
        draw.rectangle((window, ground - 310, window + 100, ground - 200), fill="#fff3b0", outline="#ffffff", width=10)


def _boat(draw: Draw, x: int, waterline: int, scale: float) -> None:
    """Draw a boat whose hull stands on `waterline`, `x` its middle."""

    def at(*points: tuple[int, int]) -> list[tuple[float, float]]:
        return [(x + scale * dx, waterline + scale * dy) for dx, dy in points]

    draw.polygon(at((-290, -20), (290, -20), (200, 110), (-200, 110)), fill="#8c2f1b")
    draw.polygon(at((-12, -20), (-12, -620), (12, -620), (12, -20)), fill="#4a2f1d")
    draw.polygon(at((30, -600), (30, -70), (330, -70)), fill="#ffffff")
    draw.polygon(at((-30, -540), (-30, -70), (-250, -70)), fill="#f6e7c1")
