import numpy as np
import pytest

from deployments.captioner.model_config import VisionConfig
from deployments.captioner.preprocessing import make_crops, select_tiling

MOONDREAM2 = VisionConfig()


@pytest.mark.parametrize(
    ("width", "height", "tiling"),
    [
        (64, 48, (1, 1)),
        (300, 420, (1, 1)),
        (378, 378, (1, 1)),
        (378, 5000, (1, 1)),
        (379, 379, (3, 3)),  # one pixel over a window: the reference then uses as many local crops as fit
        (1280, 520, (2, 5)),
        (1600, 1200, (3, 3)),
        (1920, 1080, (2, 4)),
        (1080, 1920, (4, 2)),
        (4000, 3000, (2, 4)),
    ],
)
def test_tilings_equal_the_reference_implementation(width: int, height: int, tiling: tuple[int, int]) -> None:
    assert select_tiling(height, width, MOONDREAM2, 12) == tiling


@pytest.mark.parametrize("max_crops", [1, 2, 3, 6, 12])
def test_no_image_has_more_local_crops_than_allowed(max_crops: int) -> None:
    for width in (1, 379, 700, 1920, 20_000, 100_000):
        for height in (1, 379, 645, 1080, 9_000):
            rows, columns = select_tiling(height, width, MOONDREAM2, max_crops)
            assert rows >= 1
            assert columns >= 1
            assert rows * columns <= max_crops, (width, height)


def test_a_single_local_crop_is_left_out_because_it_equals_the_global_crop() -> None:
    crops = make_crops(np.zeros((32, 64, 3), np.uint8), MOONDREAM2, 12)
    assert crops.tiling == (1, 1)
    assert crops.values.shape == (1, 3, 378, 378)
    assert crops.values.dtype == np.float32


def test_pixels_range_from_minus_one_to_one() -> None:
    black_and_white = np.zeros((400, 10, 3), np.uint8)
    black_and_white[200:] = 255
    crops = make_crops(black_and_white, MOONDREAM2, 12)
    assert crops.values.min() == -1.0
    assert crops.values.max() == 1.0
    assert crops.values[0, :, 0, 0].tolist() == [-1.0, -1.0, -1.0]


def test_local_crops_follow_the_global_crop_row_by_row_and_overlap_by_their_margins() -> None:
    rows, columns = np.mgrid[0:520, 0:1280]
    ramp = np.stack([rows * 255 // 519, columns * 255 // 1279, np.zeros_like(rows)], axis=2).astype(np.uint8)
    crops = make_crops(ramp, MOONDREAM2, 12)
    assert crops.tiling == (2, 5)
    assert crops.values.shape == (11, 3, 378, 378)
    local_crops = crops.values[1:].reshape(2, 5, 3, 378, 378)
    # Neighbours overlap by 112 pixels, twice the margin.
    np.testing.assert_array_equal(local_crops[0, 0, :, :, -112:], local_crops[0, 1, :, :, :112])
    np.testing.assert_array_equal(local_crops[0, 3, :, -112:], local_crops[1, 3, :, :112])
    # Red increases from top to bottom, green from left to right.
    assert local_crops[0, 0, 0, 0, 0] < local_crops[1, 0, 0, -1, 0]
    assert local_crops[0, 0, 1, 0, 0] == -1.0
    assert local_crops[1, 4, 1, -1, -1] == 1.0
