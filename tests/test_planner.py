"""The cost model chooses as the work does."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from cuda_standin import LapackLibraries, StandIn
from strict_namespace import Namespace

from fastprobe.backend.cuda.backend import CudaBackend
from fastprobe.backend.rates import CONSUMER, CPU, H100
from fastprobe.errors import InputError
from fastprobe.planner import ROUTE_NAMES, Rates, Shape, choose_route, estimate


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


LARGE = [
    Shape(n, 1024, t, sets=40, m=n // 10, alphas=alphas)
    for n, t in ((1659, 2), (2415, 3), (3355, 1), (4691, 2), (13_260, 1))
    for alphas in (1, 13)
]


@pytest.mark.parametrize("rates", [CPU, H100], ids=["cpu", "h100"])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_float32_is_not_chosen_where_float64_is_fast(shape: Shape, rates: Rates) -> None:
    free = {**choose_route(shape, rates=rates).seconds}
    del free["mixed"]
    assert choose_route(shape, rates=rates).route == min(free, key=free.__getitem__)
    fast = replace(rates, gemm32=4 * rates.gemm, rows32=1e15, potrf32=1e15)  # even if it took no time
    assert choose_route(shape, rates=fast).route != "mixed"
    assert choose_route(shape, rates=rates, route="mixed").route == "mixed"


@pytest.mark.parametrize("shape", [shape for shape in LARGE if shape.alphas == 1], ids=str)
def test_float32_is_chosen_where_float64_is_slow(shape: Shape) -> None:
    plan = choose_route(shape, rates=CONSUMER)
    assert plan.route == "mixed"
    assert plan.seconds["mixed"] < min(seconds for route, seconds in plan.seconds.items() if route != "mixed")
    small = Shape(n=2880, d=64, t=16, sets=40, m=288)  # nothing to save by factorising once
    assert choose_route(small, rates=CONSUMER).route == "downdate"


@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_a_faster_device_takes_less(route: str) -> None:
    shape = LARGE[0]
    twice = Rates(**{name: 2 * rate for name, rate in asdict(CPU).items()})
    assert estimate(shape, route, twice).seconds == pytest.approx(estimate(shape, route).seconds / 2)
    assert estimate(shape, route, twice).bytes == estimate(shape, route).bytes


@pytest.mark.parametrize(("fast", "rates"), [(True, H100), (False, CONSUMER)])
def test_a_gpu_has_the_rates_of_its_float64(fast: bool, rates: Rates) -> None:
    xp = Namespace()
    gpu = StandIn(xp, limit=1 << 20, shared_bytes=49_152)
    gpu.fast_float64 = fast
    backend = CudaBackend(xp, gpu, LapackLibraries(xp), launch=lambda *_: None, lanes=1)
    assert backend.rates == rates


def test_iterating_needs_rows_to_train_on() -> None:
    """Where features and held-out rows together reach n, H_SS has eigenvalues of 1 and iterating never ends."""
    for route in ("iterate", "mixed"):
        assert estimate(Shape(n=1000, d=950, t=1, sets=40, m=100), route).seconds == float("inf")


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
    with pytest.raises(InputError, match="direct, downdate, iterate, dual, mixed"):
        choose_route(Shape(1, 1, 1, 1, 1), route="fast")
