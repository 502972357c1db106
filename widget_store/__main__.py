"""`python -m widget_store` is the `widget-store` command. Ctrl-C waits until its `main` can answer it in words."""

import sys

from widget_store.system.interrupts import hold_interrupts

hold_interrupts()

from widget_store.cli import main  # noqa: E402 - it imports much more

if __name__ == "__main__":
    sys.exit(main())
