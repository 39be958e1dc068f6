"""The grammar of stop schedules, and what is said of a text that is none."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.model.schedule import (
    DEFAULT,
    LONGEST_WAIT,
    SIGNALS,
    BadSchedule,
    Schedule,
    Step,
    parse_schedule,
    signal_name,
    with_grace,
)

INFINITE = float("inf")


def steps(*pairs: tuple[str | None, float], repeat_from: int | None = None) -> Schedule:
    return Schedule(tuple(Step(signal, wait) for signal, wait in pairs), repeat_from)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("TERM/30/KILL/5", steps(("TERM", 30), ("KILL", 5))),
        ("5", steps(("TERM", 5), ("KILL", 5))),
        ("0.5", steps(("TERM", 0.5), ("KILL", 0.5))),
        ("0", steps(("TERM", 0), ("KILL", 0))),
        ("TERM/5", steps(("TERM", 5))),
        ("INT/5/TERM/5/KILL/1", steps(("INT", 5), ("TERM", 5), ("KILL", 1))),
        ("TERM/INT/5", steps(("TERM", 0), ("INT", 5))),
        ("TERM/5/5", steps(("TERM", 5), (None, 5))),
        ("2/TERM/5", steps((None, 2), ("TERM", 5))),
        ("TERM/0.5/KILL/0.25", steps(("TERM", 0.5), ("KILL", 0.25))),
        ("forever/TERM/5", steps(("TERM", 5), repeat_from=0)),
        ("TERM/5/forever/KILL/1", steps(("TERM", 5), ("KILL", 1), repeat_from=1)),
        ("INT/1/forever/TERM/2/KILL/3", steps(("INT", 1), ("TERM", 2), ("KILL", 3), repeat_from=1)),
        ("TERM/forever/5", steps(("TERM", 0), (None, 5), repeat_from=1)),
        # Every way of writing a signal.
        ("SIGTERM/5", steps(("TERM", 5))),
        ("-TERM/5/-KILL/5", steps(("TERM", 5), ("KILL", 5))),
        ("-SIGTERM/5", steps(("TERM", 5))),
        ("-15/5/-9/5", steps(("TERM", 5), ("KILL", 5))),
        ("-5/5", steps(("TRAP", 5))),
        ("term/5", steps(("TERM", 5))),
        ("sigquit/5", steps(("QUIT", 5))),
        ("RTMIN/5", steps(("RTMIN", 5))),
        ("RTMIN+3/5", steps(("RTMIN+3", 5))),
        ("SIGRTMIN+30/5", steps(("RTMIN+30", 5))),
        (" TERM / 5 ", steps(("TERM", 5))),
    ],
)
def test_a_schedule(text: str, schedule: Schedule) -> None:
    assert parse_schedule(text) == schedule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is neither a signal nor a number of seconds"),
        ("/", "'' is neither a signal nor a number of seconds"),
        ("TERM//5", "'' is neither a signal nor a number of seconds"),
        ("TERM/5/", "'' is neither a signal nor a number of seconds"),
        ("TERM", "ends in a signal"),
        ("TERM/5/KILL", "ends in a signal"),
        ("TERM/-5", "ends in a signal"),
        ("TREM/5", "'TREM' is neither a signal nor a number of seconds"),
        ("SIGKIL/5", "'SIGKIL' is neither a signal nor a number of seconds"),
        ("TERM/5s", "'5s' is neither a signal nor a number of seconds"),
        ("TERM/1e3", "'1e3' is neither a signal nor a number of seconds"),
        ("TERM/inf", "'inf' is neither a signal nor a number of seconds"),
        ("TERM/nan", "'nan' is neither a signal nor a number of seconds"),
        ("TERM/5.", "'5.' is neither a signal nor a number of seconds"),
        ("TERM/\u0663", "'\u0663' is neither a signal nor a number of seconds"),
        ("TERM,5", "'TERM,5' is neither a signal nor a number of seconds"),
        ("TERM/5;KILL/5", "'5;KILL' is neither a signal nor a number of seconds"),
        ("RTMIN+0/5", "'RTMIN+0' is neither a signal nor a number of seconds"),
        ("RTMIN+31/5", "'RTMIN+31' is neither a signal nor a number of seconds"),
        ("-99/5", "'-99' is no signal's number (1 to 31)"),
        ("-0/5", "'-0' is no signal's number (1 to 31)"),
        ("15/5", "sends no signal"),
        ("forever", "sends no signal"),
        ("forever/5", "sends no signal"),
        ("TERM/5/forever", "repeats 'forever' without a wait"),
        ("forever/TERM/0", "repeats 'forever' without a wait"),
        ("forever/TERM/5/forever/KILL/5", "has 'forever' twice"),
        ("STOP/5", "STOP stops no service"),
        ("TERM/5/-19/5", "STOP stops no service"),
        ("CONT/5", "CONT stops no service"),
        ("CHLD/5", "CHLD stops no service"),
        ("TERM/604801", "waits 604801 seconds, which is more than a week"),
        ("604801", "waits 604801 seconds, which is more than a week"),
    ],
)
def test_no_schedule(text: str, why: str) -> None:
    with pytest.raises(BadSchedule) as caught:
        parse_schedule(text)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("TERM", "say how long to wait after it, for example TERM/5"),
        ("TERM/5/KILL", "say how long to wait after it, for example TERM/5/KILL/5"),
        ("TERM/-5", "say how long to wait after it, for example TERM/-5/5"),
        ("TREM/5", "write TERM instead"),
        ("SIGKIL/5", "write KILL instead"),
        ("TERM,5", "write TERM instead"),
        ("TERM/5s", None),
        ("STOP/5", None),
    ],
)
def test_what_to_write_instead(text: str, fix: str | None) -> None:
    with pytest.raises(BadSchedule) as caught:
        parse_schedule(text)
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("text", "longest", "grace", "forceful_wait", "first"),
    [
        (DEFAULT, 35, 30, 5, "TERM"),
        ("KILL/5", 5, 0, 5, "KILL"),
        ("TERM/30", 30, 30, None, "TERM"),
        ("INT/5/TERM/10/KILL/2", 17, 15, 2, "INT"),
        ("2/TERM/5/KILL/1", 8, 7, 1, "TERM"),
        ("TERM/5/KILL/1/KILL/9", 15, 5, 9, "TERM"),
        ("forever/TERM/5", INFINITE, INFINITE, None, "TERM"),
        ("TERM/5/forever/KILL/1", INFINITE, 5, 1, "TERM"),
    ],
)
def test_how_long_it_takes(text: str, longest: float, grace: float, forceful_wait: float | None, first: str) -> None:
    schedule = parse_schedule(text)
    assert schedule.longest == longest
    assert schedule.grace == grace
    assert schedule.forceful_wait == forceful_wait
    assert schedule.first_signal == first


@pytest.mark.parametrize(
    ("text", "timeline"),
    [
        ("TERM/30/KILL/5", [("TERM", 30), ("KILL", 35)]),
        ("TERM/INT/5/5", [("TERM", 0), ("INT", 5), (None, 10)]),
        ("TERM/5/forever/INT/1/KILL/2", [("TERM", 5), ("INT", 6), ("KILL", 8), ("INT", 9), ("KILL", 11), ("INT", 12)]),
    ],
)
def test_timeline(text: str, timeline: list[tuple[str | None, float]]) -> None:
    assert list(islice(parse_schedule(text).timeline(), 6)) == timeline


@pytest.mark.parametrize(
    ("text", "grace", "expected"),
    [
        ("TERM/30/KILL/5", 2.5, "TERM/2.5/KILL/5"),
        ("INT/5/TERM/5/KILL/1", 9, "INT/9/KILL/5"),
        ("KILL/1", 0, "KILL/0/KILL/5"),
    ],
)
def test_with_grace(text: str, grace: float, expected: str) -> None:
    assert str(with_grace(parse_schedule(text), grace)) == expected


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_has_its_number(name: str) -> None:
    assert (
        signal_name(str(SIGNALS.index(name) + 1))
        == signal_name(f"sig{name.lower()}")
        == signal_name(f"-{name}")
        == name
    )


signals = st.sampled_from(["TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "RTMIN", "RTMIN+15"])
waits = st.integers(0, int(LONGEST_WAIT)) | st.floats(0.001, LONGEST_WAIT).map(lambda seconds: round(seconds, 3))
written = st.lists(st.tuples(signals | st.none(), waits), min_size=1, max_size=5)


@settings(deadline=None, database=None)
@given(pairs=written, repeat=st.none() | st.integers(0, 4))
def test_what_it_writes_it_reads(pairs: list[tuple[str | None, float]], repeat: int | None) -> None:
    items = [str(item) for pair in pairs for item in pair if item is not None]
    if repeat is not None:
        items.insert(min(repeat, len(items)), "forever")
    try:
        schedule = parse_schedule("/".join(items))
    except BadSchedule as error:
        if str(error) not in {"sends no signal", "repeats 'forever' without a wait"}:  # these are rightly none
            raise
        return
    assert parse_schedule(str(schedule)) == schedule


@settings(deadline=None, database=None)
@given(text=st.text(alphabet="TERMKIL0159/-+. fover", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_schedule_or_says_why_not(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except BadSchedule:
        return
    assert any(step.signal for step in schedule.steps)
    assert all(0 <= step.wait <= LONGEST_WAIT for step in schedule.steps)
    assert parse_schedule(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("TERM/30/KILL/5", "TERM/30/KILL/5"),
        ("TERM/0/10/5/KILL/5", "TERM/15/KILL/5"),
        ("2/3/TERM/5", "5/TERM/5"),
        ("TERM/forever/5", "TERM/5/forever/5"),
        ("TERM/1/forever/3/KILL/1", "TERM/1/forever/3/KILL/1"),
        ("TERM/1/forever/KILL/1/3", "TERM/1/forever/KILL/4"),
    ],
)
def test_a_wait_belongs_to_the_signal_before_it(text: str, joined: str) -> None:
    schedule = parse_schedule(text)
    assert str(schedule.joined()) == joined
    assert (schedule.joined().longest, schedule.joined().grace) == (schedule.longest, schedule.grace)


@pytest.mark.parametrize(
    ("text", "catchable"),
    [("TERM/5/INT/5/TERM/1/KILL/5", ("TERM", "INT")), ("KILL/5/TERM/5", ()), ("2/QUIT/5", ("QUIT",))],
)
def test_what_can_be_caught(text: str, catchable: tuple[str, ...]) -> None:
    assert parse_schedule(text).catchable == catchable
