"""What the benchmark says of its figures: what was lost, what was aimed at, and how it is shown."""

from __future__ import annotations

import json

import pytest

from bench.growth import growth
from bench.markdown import as_markdown
from bench.pairs import Pairs, Spread, Took, alternately, spread
from bench.report import Report, Row, Skipped, Terms, Unit, as_json, dump, load, row

HOST = {"processor": "a test's own"}


def row_of(own: float, other: float, *, count: int = 1, peak: float = 0.0, **terms: object) -> Row:
    """Of three pairs that took so many seconds, by the clock and of processors."""
    pairs = Pairs((Took(own, own, peak),) * 3, (Took(other, other),) * 3)
    given = Terms(count=count)
    given.update(terms)  # type: ignore[typeddict-item] # as a caller gives them
    return row("a group", "what", "against", pairs, **given)


def cells_of(found: Row) -> list[str]:
    table = as_markdown(Report((found,)), "bin/bench", HOST).splitlines()
    return [cell.strip() for cell in table[-1].strip("|").split("|")]


@pytest.mark.parametrize("unit", ["x", "+ ms", "+ ms of processor", "ms late", "/s"])
@pytest.mark.parametrize(("own", "other", "lost"), [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 1.0, False)])
def test_lost_is_whatever_a_peer_did_better(unit: Unit, own: float, other: float, lost: bool) -> None:
    found = row_of(own, other, unit=unit)
    assert found.lost is lost
    assert cells_of(found)[4].endswith(", lost") is lost


@pytest.mark.parametrize("unit", ["x", "+ ms", "+ ms of processor", "ms late", "/s"])
def test_nothing_is_lost_to_ctl_itself_or_to_a_yardstick(unit: Unit) -> None:
    found = row_of(2.0, 1.0, unit=unit, peer=False)
    assert found.lost is None
    assert "lost" not in cells_of(found)[4]


def test_too_early_is_no_better_than_too_late() -> None:
    assert row_of(0.002, -0.3, unit="ms late").lost is False
    assert row_of(-0.3, 0.002, unit="ms late").lost is True


def test_a_row_whose_aim_is_met_can_be_lost() -> None:
    found = row_of(0.005, 0.001, unit="ms late", aim=10.0)
    assert (found.met, found.lost) == (True, True)
    assert cells_of(found)[4] == "5.0 ms, lost"
    assert cells_of(found)[-1] == "at most 10: met"


@pytest.mark.parametrize(
    ("unit", "own", "aim", "met"),
    [
        ("x", 1.3, 1.3, True),
        ("x", 1.4, 1.3, False),
        ("+ ms", 1.015, 15.1, True),
        ("+ ms", 1.016, 15.0, False),
        ("/s", 2.0, 500.0, True),
        ("/s", 2.0, 501.0, False),
    ],
)
def test_an_aim_is_the_most_of_a_time_and_the_least_of_a_number_a_second(
    unit: Unit, own: float, aim: float, met: bool
) -> None:
    assert row_of(own, 1.0, unit=unit, aim=aim, count=1000).met is met


@pytest.mark.parametrize(("peak", "met", "shown"), [(149.0, True, "met"), (151.0, False, "MISSED")])
def test_memory_is_judged_beside_the_time(peak: float, met: bool, shown: str) -> None:
    found = row_of(0.5, 1.0, aim=1.0, aim_mib=150, peak=peak)
    assert (found.met, found.met_mib) == (True, met)
    assert cells_of(found)[-1] == f"at most 1: met; at most 150 MiB: {shown}"


def test_without_an_aim_nothing_is_judged() -> None:
    found = row_of(1.0, 1.0)
    assert (found.met, found.met_mib, cells_of(found)[-1]) == (None, None, "")


@pytest.mark.parametrize(
    ("aim", "shown"), [(1 / 1.3, "0.77"), (1 / 1.8, "0.56"), (0.2, "0.2"), (1.3, "1.3"), (20.0, "20"), (3000, "3000")]
)
def test_an_aim_is_shown_as_people_write_it(aim: float, shown: str) -> None:
    assert cells_of(row_of(0.1, 1.0, aim=aim))[-1].startswith(f"at most {shown}: ")


def test_a_number_a_second_is_at_least_what_was_aimed_at() -> None:
    found = row_of(2.0, 0.1, unit="/s", count=1000, aim=300, peer=False)
    assert cells_of(found)[4] == "500/s"
    assert cells_of(found)[-1] == "at least 300: met"


def test_a_spread_is_the_median_and_its_quartiles() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_which_goes_first_changes_from_pair_to_pair() -> None:
    order: list[str] = []
    pairs = alternately(lambda: order.append("own"), lambda: order.append("other"), 2)
    assert order == ["own", "other", "other", "own"]
    assert len(pairs) == 2


def test_a_report_survives_json() -> None:
    rows = (row_of(2.0, 1.0, aim=1.3, aim_mib=150, peak=20), row_of(1.0, 2.0, unit="ms late", peer=False))
    report = Report(rows, (Skipped("a group", "what", "why"),))
    document = json.loads(json.dumps(dump(report)))
    assert load(document) == report
    assert [(found["lost"], found["met"], found["met_mib"]) for found in document["rows"]] == [
        (True, False, True),
        (None, None, None),
    ]


def test_a_document_says_of_which_machine_it_is_and_how_it_was_made() -> None:
    report = Report((row_of(1.0, 2.0),), (Skipped("another", "all", "needs root"),))
    document = json.loads(as_json(report, "bin/bench startup", HOST))
    assert (document["command"], document["host"]) == ("bin/bench startup", HOST)
    text = as_markdown(report, "bin/bench startup", HOST)
    assert "`bin/bench startup`" in text
    assert "processor a test's own." in text
    assert "- not measured: all: needs root" in text


def test_a_bar_in_a_name_does_not_end_its_cell() -> None:
    pairs = Pairs((Took(1.0),), (Took(1.0),))
    found = row("a group", "status", "ps | grep", pairs)
    assert r"| ps \| grep |" in as_markdown(Report((found,)), "bin/bench", HOST)


def test_what_takes_in_proportion_costs_the_same_for_each() -> None:
    found = {size: Report((row_of(seconds, 1.0),)) for size, seconds in ((30000, 4.5), (10000, 1.0), (1000, 0.5))}
    fewer, more = growth(found, "what").rows
    assert (fewer.value.median, fewer.lost) == (0.2, None)
    assert more.value.median == pytest.approx(1.5)
    assert growth(found, "another") == Report()
