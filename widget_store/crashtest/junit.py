"""The results of a crash test as JUnit XML, for the CI that reads it."""

from xml.etree import ElementTree as ET

from widget_store.crashtest.crash_map import timeline, what_is_wrong
from widget_store.crashtest.results import Report, Result, Verdict
from widget_store.plain_text import plain

_WITHOUT = "without a crash"


def as_junit(report: Report) -> str:
    """One test case for each run, and one for each thing that was to be tried and was not."""
    runs = [*report.recorded, *report.results]
    untried = [
        *(("*", pattern, "no crash point is like this") for pattern in report.never_met),
        *((name, "*", "there is no crash point") for name in report.untried),
        *(("*", what, "no run has seen this") for what in report.never_seen),
    ]
    failures = len(report.failures) + len(untried)
    suite = ET.Element(
        "testsuite",
        name="crash test",
        tests=str(len(runs) + len(untried)),
        failures=str(failures),
        time=f"{report.seconds:.2f}",
    )
    for run in runs:
        suite.append(_case(run))
    for scenario, what, why in untried:
        case = ET.SubElement(suite, "testcase", classname=plain(scenario), name=plain(what))
        ET.SubElement(case, "failure", message=why)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _case(run: Result) -> ET.Element:
    name = plain(run.point) or _WITHOUT
    case = ET.Element("testcase", classname=plain(run.scenario), name=name, time=f"{run.seconds:.2f}")
    if run.verdict != Verdict.SAFE:
        failure = ET.SubElement(case, "failure", message="; ".join(what_is_wrong(run)))
        failure.text = timeline(run)
    return case
