"""Panels follow what a database holds; it is not closed while one of them looks."""

import threading
from collections.abc import Callable

_LOOK_EVERY_SECONDS = 0.5
_LAST_LOOK_SECONDS = 10.0


class Followers:
    """Those who look at something again and again, each in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, look: Callable[[], None], tell: Callable[[Exception], None]) -> None:
        """Call `look` twice a second.

        Args:
            look: What to do.
            tell: Is called with an error of `look`, which would be shown nowhere else. The next look may succeed.
        """
        over = self._over
        thread = threading.Thread(target=_follow, args=(over, look, tell), name="follows a database", daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        """Let each look once more, now that all is over, and wait until none of them is looking."""
        self._over.set()
        for thread in self._threads:
            thread.join(_LAST_LOOK_SECONDS)
        self._threads.clear()
        self._over = threading.Event()


def _follow(over: threading.Event, look: Callable[[], None], tell: Callable[[Exception], None]) -> None:
    is_last = False
    while not is_last:
        is_last = over.wait(_LOOK_EVERY_SECONDS)
        try:
            look()
        except Exception as failure:  # noqa: BLE001 - see `tell`
            if not over.is_set():  # it was closed meanwhile: that is no news
                tell(failure)
