"""All hostile items: files for each route, and whole requests."""

from tests.hostile.bodies import BODIES
from tests.hostile.documents import DOCUMENTS
from tests.hostile.images import IMAGES
from tests.hostile.item import Item
from tests.hostile.sounds import SOUNDS
from tests.hostile.videos import VIDEOS

CORPUS: tuple[Item, ...] = (*IMAGES.items, *SOUNDS.items, *VIDEOS.items, *DOCUMENTS.items, *BODIES.items)
