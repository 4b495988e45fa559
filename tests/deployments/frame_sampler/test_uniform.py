from fractions import Fraction

from deployments.frame_sampler.uniform import uniform_frames


def test_the_prd_example_gives_the_documented_frames() -> None:
    assert uniform_frames(range(915), 915, 5) == [0, 183, 366, 549, 732]


def test_the_frame_on_screen_is_the_latest_that_has_appeared() -> None:
    assert uniform_frames([0, 10, 11, 70, 90], 100, 4) == [0, 2, 3]
    assert uniform_frames([0, 26, 51, 76, 99], 100, 4) == [0, 1, 2]


def test_a_video_with_fewer_frames_than_requested_gives_each_frame_once() -> None:
    assert uniform_frames([0, 1, 1000], 1001, 5) == [0, 1, 2]
    assert uniform_frames([0], 0, 5) == [0]


def test_a_frame_on_screen_at_several_sample_times_is_chosen_once() -> None:
    assert uniform_frames([0, 1, 2, 3, 4, 5], 100, 5) == [0, 5]


def test_times_rounded_by_the_container_do_not_change_the_frames() -> None:
    times = [0, 33, 67, 100, 133, 167, 200, 233, 267]  # 30 frames a second in milliseconds
    assert uniform_frames(times, 299, 3) == [0, 2, 5]
    assert uniform_frames(times, 299, 3, tolerance=Fraction(1)) == [0, 3, 6]
    assert uniform_frames([0, 60999, 122000], 183000, 3, tolerance=Fraction(1)) == [0, 1, 2]
