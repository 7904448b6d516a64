"""The cost model chooses as the work does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastprobe.errors import InputError
from fastprobe.planner import ROUTE_NAMES, Shape, choose_route, estimate


@pytest.mark.parametrize(
    ("shape", "route"),
    [
        (Shape(n=100_000, d=1024, t=1, sets=40, m=10_000), "iterate"),  # n far above d: a few products
        (Shape(n=13_260, d=1024, t=1, sets=40, m=1326), "iterate"),
        (Shape(n=1140, d=1024, t=2, sets=40, m=114), "direct"),  # small blocks, leverages near 1
        (Shape(n=300, d=4096, t=2, sets=40, m=30), "dual"),  # n below d
        (Shape(n=6435, d=4, t=10, sets=40, m=644), "downdate"),  # d tiny: refits cost nothing
        (Shape(n=2880, d=64, t=16, sets=40, m=288), "downdate"),
    ],
)
def test_choice(shape: Shape, route: str) -> None:
    assert choose_route(shape).route == route


@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_cost_grows_with_the_problem(route: str) -> None:
    base = Shape(n=5000, d=300, t=2, sets=20, m=500, alphas=3)
    for field in ("n", "d", "sets", "alphas"):
        larger = replace(base, **{field: 2 * getattr(base, field)})
        assert estimate(larger, route).seconds > estimate(base, route).seconds
    assert estimate(replace(base, t=4), route).seconds >= estimate(base, route).seconds


def test_iterating_needs_rows_to_train_on() -> None:
    """Where features and held-out rows together reach n, H_SS has eigenvalues of 1 and iterating never ends."""
    assert estimate(Shape(n=1000, d=950, t=1, sets=40, m=100), "iterate").seconds == float("inf")


def test_memory_excludes_routes() -> None:
    shape = Shape(n=2415, d=1024, t=3, sets=40, m=242)
    best = choose_route(shape).route
    assert best == "direct"
    need = estimate(shape, best).bytes
    assert choose_route(shape, memory=need).route == best
    other = choose_route(shape, memory=need - 1).route
    assert other != best
    assert estimate(shape, other).bytes < need
    with pytest.raises(InputError, match="GiB"):
        choose_route(shape, memory=1000.0)


def test_forced_route_is_taken_and_said() -> None:
    plan = choose_route(Shape(n=13_260, d=1024, t=1, sets=40, m=1326), route="downdate")
    assert (plan.route, plan.forced) == ("downdate", True)
    with pytest.raises(InputError, match="direct, downdate, iterate, dual"):
        choose_route(Shape(1, 1, 1, 1, 1), route="fast")
