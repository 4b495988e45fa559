import threading
import time

from deployments.captioner.fair_lock import FairLock


def _run(*work: threading.Thread) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in work)


def test_a_short_request_does_not_wait_for_a_long_one() -> None:
    lock, steps, started = FairLock(), [], threading.Event()

    def work(name: str, num_steps: int) -> None:
        with lock.held():
            started.set()
            for _ in range(num_steps):
                steps.append(name)
                while name == "long" and len(steps) == 1 and not lock._waiters:
                    time.sleep(0.001)  # until the short one waits
                lock.yield_to_waiters()

    def start_later() -> None:
        started.wait()
        work("short", 3)

    _run(
        threading.Thread(daemon=True, target=work, args=("long", 20)), threading.Thread(daemon=True, target=start_later)
    )
    assert steps[:7] == ["long", "short"] * 3 + ["long"]
    assert steps.count("long") == 20


def test_only_one_thread_holds_the_lock_at_a_time() -> None:
    lock, holders, counts = FairLock(), [], []

    def work() -> None:
        for _ in range(20):
            with lock.held():
                for _ in range(5):
                    holders.append(1)
                    time.sleep(0.0003)  # gives other threads the chance to get in, if the lock let them
                    counts.append(len(holders))
                    holders.pop()
                    lock.yield_to_waiters()

    _run(*(threading.Thread(daemon=True, target=work) for _ in range(4)))
    assert len(counts) == 400
    assert set(counts) == {1}


def test_a_holder_that_fails_releases_the_lock() -> None:
    lock, done = FairLock(), []

    def fail() -> None:
        try:
            with lock.held():
                raise ValueError
        except ValueError:
            done.append("failed")

    def work() -> None:
        with lock.held():
            done.append("worked")

    _run(threading.Thread(daemon=True, target=fail), threading.Thread(daemon=True, target=work))
    assert sorted(done) == ["failed", "worked"]


def test_on_idle_is_called_when_the_lock_is_released_without_waiters() -> None:
    calls: list[int] = []
    lock = FairLock(on_idle=lambda: calls.append(1))
    for expected in (1, 2):
        with lock.held():
            lock.yield_to_waiters()
            assert len(calls) == expected - 1
        assert len(calls) == expected
