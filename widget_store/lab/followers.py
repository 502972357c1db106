"""Panels follow what a database holds; it is not closed while one of them looks."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_LOOK_EVERY_SECONDS = 0.5
_LAST_LOOK_SECONDS = 10.0


class Followers:
    """Those who look at something again and again, each in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._one_looks = threading.Lock()

    def add(self, look: Callable[[], None], tell: Callable[[Exception], None]) -> None:
        """Call `look` twice a second.

        Args:
            look: What to do.
            tell: Is called with an error of `look`, which would be shown nowhere else. The next look may succeed.
        """
        thread = threading.Thread(target=_follow, args=(self._over, look, tell), name="follows a database", daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look in this block: it is closed before or after, if whoever looks asks in the block whether it is open.

        Not only the followers look. JupyterLab runs the click on a button in another thread than the cells.
        """
        with self._one_looks:
            yield

    def end(self) -> None:
        """Let each follower look once more, now that all is over, and wait until nobody looks."""
        self._over.set()
        threads, self._threads, self._over = self._threads, [], threading.Event()
        deadline = time.monotonic() + _LAST_LOOK_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._one_looks.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self._one_looks.release()


def _follow(over: threading.Event, look: Callable[[], None], tell: Callable[[Exception], None]) -> None:
    is_last = False
    while not is_last:
        is_last = over.wait(_LOOK_EVERY_SECONDS)
        try:
            look()
        except Exception as failure:  # noqa: BLE001 - see `tell`
            if not over.is_set():  # it was closed meanwhile: that is no news
                tell(failure)
