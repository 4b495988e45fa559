import threading
import time

from deployments.captioner.turns import Turns


def _run(*work: threading.Thread) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in work)


def test_a_short_request_is_not_held_up_by_a_long_one() -> None:
    turns, steps, begun = Turns(), [], threading.Event()

    def work(name: str, num_steps: int) -> None:
        with turns.taken():
            begun.set()
            for _ in range(num_steps):
                steps.append(name)
                while name == "long" and len(steps) == 1 and not turns._waiting:
                    time.sleep(0.001)  # until the short one has asked
                turns.pass_on()

    def come_later() -> None:
        begun.wait()
        work("short", 3)

    _run(
        threading.Thread(daemon=True, target=work, args=("long", 20)), threading.Thread(daemon=True, target=come_later)
    )
    assert steps[:7] == ["long", "short"] * 3 + ["long"]
    assert steps.count("long") == 20


def test_only_one_thread_works_at_a_time() -> None:
    turns, inside, most = Turns(), [], []

    def work() -> None:
        for _ in range(20):
            with turns.taken():
                for _ in range(5):
                    inside.append(1)
                    time.sleep(0.0003)  # gives the others a chance to come in, were they let
                    most.append(len(inside))
                    inside.pop()
                    turns.pass_on()

    _run(*(threading.Thread(daemon=True, target=work) for _ in range(4)))
    assert len(most) == 400
    assert set(most) == {1}


def test_a_request_that_fails_gives_its_turn_back() -> None:
    turns, done = Turns(), []

    def fail() -> None:
        try:
            with turns.taken():
                raise ValueError
        except ValueError:
            done.append("failed")

    def work() -> None:
        with turns.taken():
            done.append("worked")

    _run(threading.Thread(daemon=True, target=fail), threading.Thread(daemon=True, target=work))
    assert sorted(done) == ["failed", "worked"]


def test_what_is_to_be_done_at_the_end_is_done_once_nobody_waits() -> None:
    calls: list[int] = []
    turns = Turns(after_last=lambda: calls.append(1))
    for expected in (1, 2):
        with turns.taken():
            turns.pass_on()
            assert len(calls) == expected - 1
        assert len(calls) == expected
