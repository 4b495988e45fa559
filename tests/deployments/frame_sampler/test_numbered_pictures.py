import numpy as np
import pytest

from tests.videos import numbered_picture, read_number


@pytest.mark.parametrize("number", [0, 1, 99, 2047])
def test_a_number_can_be_read_back(number: int) -> None:
    assert read_number(numbered_picture(number, 96, 64)) == number
    assert read_number(numbered_picture(number, 321, 240)[::3, ::2]) == number


def test_a_rotated_or_mirrored_picture_has_no_number() -> None:
    for number in range(100):
        picture = numbered_picture(number, 64, 64)
        for turned in [picture[::-1], picture[:, ::-1], *(np.rot90(picture, quarter) for quarter in (1, 2, 3))]:
            with pytest.raises(ValueError, match="check bits"):
                read_number(turned)


def test_a_blend_of_two_pictures_has_no_number() -> None:
    mixed = numbered_picture(0) // 2 + numbered_picture(2047) // 2
    with pytest.raises(ValueError, match="neither black nor white"):
        read_number(mixed)
