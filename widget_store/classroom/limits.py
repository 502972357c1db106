"""What a seat may use of the machine: by control groups where root may make them, else by limits of processes."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from widget_store.classroom.plan import Plan, Seat

_CGROUPS = Path("/sys/fs/cgroup")
_OURS = "widget-store-workshop"
_MB = 1000**2


@dataclass(frozen=True)
class Limits:
    """What holds for a seat.

    Attributes:
        groups: The control groups that its processes are put into.
        has_memory: Whether they limit its memory.
        has_tasks: Whether they limit the number of its processes.
    """

    groups: tuple[Path, ...] = ()
    has_memory: bool = False
    has_tasks: bool = False

    def in_words(self, plan: Plan) -> str:
        """What is enforced, for the instructor."""
        tasks = f"at most {plan.tasks} processes and threads ({'control group' if self.has_tasks else 'ulimit -u'})"
        if self.has_memory:
            return f"Each seat has at most {plan.memory_mb} MB of memory (control group), and {tasks}."
        return (
            f"Each seat has {tasks}. No control group limits its memory here: each of its processes may reserve "
            f"{2 * plan.memory_mb} MB (ulimit -v), and all together may have more."
        )


def make_limits(plan: Plan, seat: Seat) -> Limits:
    """Make a seat's control groups, as far as this machine lets root make some."""
    memory, tasks = str(plan.memory_mb * _MB), str(plan.tasks)
    if (_CGROUPS / "cgroup.controllers").exists():
        parent = _CGROUPS / _OURS
        with contextlib.suppress(OSError):
            _write(_CGROUPS / "cgroup.subtree_control", "+memory +pids")
            parent.mkdir(exist_ok=True)
            _write(parent / "cgroup.subtree_control", "+memory +pids")
        values = {"memory.max": memory, "pids.max": tasks}
        has = {name: _group(parent / seat.name, name, value) for name, value in values.items()}
        groups = (parent / seat.name,) if any(has.values()) else ()
        return Limits(groups, has["memory.max"], has["pids.max"])
    of_memory, of_tasks = (_CGROUPS / controller / _OURS / seat.name for controller in ("memory", "pids"))
    has_memory = _group(of_memory, "memory.limit_in_bytes", memory)
    has_tasks = _group(of_tasks, "pids.max", tasks)
    return Limits((*[of_memory] * has_memory, *[of_tasks] * has_tasks), has_memory, has_tasks)


def remove_limits(seat: Seat) -> None:
    """Remove a seat's control groups; none of its processes runs any more."""
    for parent in (_CGROUPS / _OURS, _CGROUPS / "memory" / _OURS, _CGROUPS / "pids" / _OURS):
        for folder in (parent / seat.name, parent):
            with contextlib.suppress(OSError):  # it is not there, or other seats have theirs in it
                folder.rmdir()


def _group(folder: Path, name: str, value: str) -> bool:
    """Make a control group with one limit; return whether it holds."""
    try:
        folder.parent.parent.stat()
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / name, value)
    except OSError:
        return False
    return True


def _write(file: Path, text: str) -> None:
    """Write to a file of the kernel's, which must be there."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
