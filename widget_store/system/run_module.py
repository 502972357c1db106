"""Runs a module as a program, as `python -m` does, and says in the words of the command line how it ended early.

The larger commands run in a Python of their own, and import for half a second. Ctrl-C is blocked while that Python
starts, and is heard from here on: within the imports, too, it prints no traceback.
"""

import runpy
import sys

from widget_store.system.interrupts import hear_interrupts
from widget_store.system.limits import lack


def main(command: str, module: str) -> None:
    """Run the module, to its own exit status; 130 when it was interrupted, 1 when the machine has not enough.

    Args:
        command: What to call it in front of people.
        module: Its name; its arguments are those that follow in `sys.argv`.
    """
    sys.argv[:3] = [module]
    try:
        hear_interrupts()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as failure:
        if (starved := lack(failure)) is None:
            raise
        print(f"widget-store {command}: {starved}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
