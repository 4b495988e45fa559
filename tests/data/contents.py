"""The scenes that the media in this folder show, and the sentences that are spoken in them."""

from recipes.moondream_mini.world import Scene, Shape

SENTENCE = "There is a small blue square at the top right."
CLIP_SENTENCE = "A red circle is on the left."
SCENE_S = 1.0
CLIP = (
    Scene((Shape("circle", "red", "large", "left"),)),
    Scene((Shape("square", "blue", "large", "right"),)),
    Scene((Shape("triangle", "green", "small", "top left"), Shape("star", "yellow", "large", "middle"))),
)
"""The scenes of the clips, SCENE_S seconds each."""

PICTURE = Scene((Shape("circle", "red", "large", "left"), Shape("square", "blue", "small", "bottom right")))
SCENE_ON_TRANSPARENCY = Scene((Shape("star", "purple", "large", "middle"),))
GIF_FRAMES = (CLIP[2], CLIP[0])
PICTURES = {
    "picture.jpg": PICTURE,
    "picture.png": SCENE_ON_TRANSPARENCY,
    "picture.webp": PICTURE,
    "picture.bmp": PICTURE,
    "picture.gif": GIF_FRAMES[0],
    "picture.tiff": PICTURE,
    "picture.heic": PICTURE,
    "picture.avif": PICTURE,
    "picture-rotated.jpg": PICTURE,
}
"""The scene that each picture shows: of an animation the first frame, and of a rotated picture the upright one."""
