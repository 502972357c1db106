"""What came out: of one run, and of a whole crash test."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What came out of a run."""

    SAFE = "safe"  # killed where it should be, and nothing is wrong in the end
    BROKEN = "broken"
    NOT_REACHED = "not_reached"  # the process never came to the crash point: nothing was tried
    HUNG = "hung"  # not done within the time limit


@dataclass(frozen=True)
class Result:
    """One run and its outcome.

    Attributes:
        scenario: The name of the workload.
        points: The crash points asked for, in order; none in a recording run.
        violations: A sentence for each.
        reached: The crash points that the last process, the one that was not killed, went through.
        seconds: How long it took.
        lives: The crash points that each process went through, in order; the last of these lists is `reached`.
        seen: What the workload has said that it saw: see `Workload.saw`.
        printed: The last lines that the application's processes have printed.
    """

    scenario: str
    points: tuple[str, ...]
    verdict: Verdict
    violations: list[str]
    reached: list[str]
    seconds: float
    lives: list[list[str]] = field(default_factory=list)
    seen: frozenset[str] = frozenset()
    printed: str = ""

    @property
    def point(self) -> str:
        """The crash points as one name."""
        return " then ".join(self.points)


@dataclass(frozen=True)
class Report:
    """The results of a crash test, in the order of the workloads and their points.

    Attributes:
        recorded: The run of each workload in which nothing was killed; its `reached` are the workload's crash points.
        results: A run for each crash point, or pair of them.
        seconds: How long all of it took.
        target: What was tested, as the command takes it: `--app FILE`, or a workload; empty for the store's own.
        never_met: The patterns of crash points that were asked for, and that no workload reached.
        never_seen: What a workload says to see sometimes, and what no run saw.
        untried: The workloads that have no crash point.
    """

    recorded: list[Result] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    target: str = ""
    never_met: list[str] = field(default_factory=list)
    never_seen: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)

    @property
    def is_safe(self) -> bool:
        """Whether all that was to be tried was tried, and everything is safe."""
        return not (self.failures or self.never_met or self.never_seen or self.untried)

    @property
    def failures(self) -> list[Result]:
        """Every run that is not safe."""
        return [result for result in [*self.recorded, *self.results] if result.verdict != Verdict.SAFE]

    def as_json(self) -> dict[str, Any]:
        """As `widget-store crash-test --json` prints it. A run without a crash is there only if it failed."""
        unsafe = [result for result in self.recorded if result.verdict != Verdict.SAFE]
        points = [_point(run.scenario, run.point, run.verdict, run.violations) for run in [*unsafe, *self.results]]
        points += [_point("*", pattern, Verdict.NOT_REACHED, []) for pattern in self.never_met]
        points += [_point(name, "*", Verdict.NOT_REACHED, ["there is no crash point"]) for name in self.untried]
        points += [_point("*", "*", Verdict.BROKEN, [f"never seen: {each}"]) for each in self.never_seen]
        return {"points": points, "seconds": round(self.seconds, 2)}


def _point(scenario: str, point: str, verdict: Verdict, violations: list[str]) -> dict[str, Any]:
    return {"scenario": scenario, "point": point, "verdict": verdict.value, "violations": violations}
