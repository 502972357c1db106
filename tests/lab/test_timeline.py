"""The timeline as a picture."""

from xml.etree import ElementTree as ET

from widget_store.lab.state import Step
from widget_store.lab.store import Death
from widget_store.lab.timeline import OrderStory, draw, legend

STORY = OrderStory(
    title="Order 7: DISPATCHED",
    checkout=[
        Step(1, "create_order", "7", 100.0, 100.01),
        Step(4, "recv", "paid", 103.0, 103.5),
    ],
    dispatch=[Step(2 * n, "update_order_progress", str(10 - n), 103 + n, 103 + n + 0.01) for n in range(1, 11)],
    ended=True,
)


def _shapes(picture: str, css_class: str) -> list[ET.Element]:
    return [shape for shape in ET.fromstring(picture).iter() if css_class in shape.get("class", "").split()]  # noqa: S314


def test_the_text_alternative_tells_the_story() -> None:
    picture = draw(STORY, [Death(101, 102)])
    svg = ET.fromstring(picture)  # noqa: S314
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == (
        "Timeline. Order 7: DISPATCHED. Steps: create_order, recv (after recovery), "
        "dispatch, 10 of 10 (after recovery). "
        "One crash on the way."
    )


def test_a_crash_is_a_band_from_death_to_return_with_a_label() -> None:
    picture = draw(STORY, [Death(101, 102)])
    (band,) = _shapes(picture, "away")
    first_step = _shapes(picture, "step")[0]
    waiting = _shapes(picture, "wait")[0]
    assert float(first_step.get("x", 0)) < float(band.get("x", 0)) < float(waiting.get("x", 0))
    assert [label.text for label in _shapes(picture, "crash")] == ["✖ crash, dead for 1.0 s"]


def test_labels_of_crashes_that_are_close_do_not_cover_each_other() -> None:
    picture = draw(STORY, [Death(101, 101.1), Death(101.2, 101.3)])
    assert [label.text for label in _shapes(picture, "crash")] == ["✖", "✖ crash, dead for 100 ms"]


def test_what_ran_after_the_recovery_is_marked_in_words() -> None:
    assert "after recovery" in draw(STORY, [Death(101, 102)])
    assert "after recovery" not in draw(STORY, [])


def test_a_process_that_is_not_back_is_away_until_now_and_no_longer() -> None:
    under_way = OrderStory("Order 8: PENDING", [Step(1, "create_order", "8", 100.0, 100.01)], [], ended=False)
    (band,) = _shapes(draw(under_way, [Death(100.5)], now=101.0), "away")
    right = float(band.get("x", 0)) + float(band.get("width", 0))
    back = _shapes(draw(under_way, [Death(100.5, 101.0)], now=101.0), "away")[0]
    assert right == float(back.get("x", 0)) + float(back.get("width", 0))


def test_a_wait_looks_like_one_however_short_it_was_and_says_whether_it_ended_after_a_recovery() -> None:
    short = OrderStory("Order 8", [Step(4, "recv", "paid", 101.0, 101.004)], [], ended=True)
    (wait,) = _shapes(draw(short, []), "wait")
    assert wait.get("class") == "wait"
    assert float(wait.get("width", 0)) > 6, "there is room for dashes"
    (again,) = _shapes(draw(STORY, [Death(101, 102)]), "wait")
    assert again.get("class") == "wait again"


def test_how_long_a_step_took_is_in_seconds_from_one_second_on() -> None:
    steps = [Step(1, "create_order", "8", 100.0, 100.01), Step(4, "recv", "", 101.0, 103.211)]
    picture = draw(OrderStory("Order 8", steps, [], ended=True), [])
    assert ">10 ms<" in picture
    assert ">2.2 s<" in picture


def test_the_legend_has_each_shape_that_the_pictures_have() -> None:
    rects = ET.fromstring(draw(STORY, [Death(101, 102)])).iter("{*}rect")  # noqa: S314
    away = {kind for shape in rects for kind in shape.get("class", "").split()}
    keys = {shape.get("class") for shape in ET.fromstring(f"<body>{legend()}</body>").iter("rect")}  # noqa: S314
    assert away <= keys
    assert "↻" in legend()
    assert "✖ no process" in legend()


def test_crashes_outside_of_the_orders_time_are_left_out() -> None:
    assert not _shapes(draw(STORY, [Death(10, 11), Death(500, 501)]), "away")


def test_an_order_without_a_checkpoint_is_a_sentence() -> None:
    assert "no step has a checkpoint yet" in draw(OrderStory("An order", [], [], ended=False), [])


def test_what_an_order_is_called_is_escaped() -> None:
    assert "<script>" not in draw(OrderStory("<script>", STORY.checkout, [], ended=True), [])
