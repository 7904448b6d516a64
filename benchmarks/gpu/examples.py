"""A stand-in for hypothesis on machines that lack it: the same property tests, on drawn examples.

A bare GPU machine may have pytest and no more, and most comparisons of kernels with their twins are property tests.
Examples are drawn from a fixed seed, the smallest and largest values often; nothing is shrunk. A test that asks for
more than is offered here is skipped with that reason.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any

import pytest

__all__ = ["Strategy", "modules"]

_EXAMPLES = 12
_SEED = 20_240_601


@dataclass(frozen=True)
class Strategy:
    """What an argument is drawn from.

    Attributes
    ----------
    draw : callable or None
        None for a strategy that is not offered.
    name : str
    """

    draw: Callable[[random.Random], Any] | None
    name: str = ""

    def map(self, function: Callable[[Any], Any]) -> Strategy:
        """Draw, then apply a function."""
        draw = self.draw
        return self if draw is None else Strategy(lambda rng: function(draw(rng)))


class _Rejected(Exception):
    """An example that a test does not want."""


def _integers(min_value: int = -(2**31), max_value: int = 2**31) -> Strategy:
    def draw(rng: random.Random) -> int:
        return rng.choice((min_value, max_value)) if rng.random() < 0.25 else rng.randint(min_value, max_value)

    return Strategy(draw)


def _floats(min_value: float = -1e6, max_value: float = 1e6, **_: Any) -> Strategy:
    return Strategy(lambda rng: rng.uniform(min_value, max_value))


def _sampled_from(values: Sequence[Any]) -> Strategy:
    return Strategy(lambda rng: rng.choice(list(values)))


def _lists(elements: Strategy, *, min_size: int = 0, max_size: int = 8, **more: Any) -> Strategy:
    draw = elements.draw
    if draw is None or more:
        return Strategy(None, elements.name or "lists with more options")
    return Strategy(lambda rng: [draw(rng) for _ in range(rng.randint(min_size, max_size))])


def _unknown(name: str) -> Callable[..., Strategy]:
    return lambda *_, **__: Strategy(None, name)


def _assume(holds: object) -> bool:
    if not holds:
        raise _Rejected
    return True


def _settings(*_: Any, max_examples: int = _EXAMPLES, **__: Any) -> Callable[[Any], Any]:
    def decorate(test: Any) -> Any:
        test.max_examples = max_examples
        return test

    return decorate


def _given(*positional: Strategy, **named: Strategy) -> Callable[[Any], Any]:
    def decorate(test: Any) -> Any:
        signature = inspect.signature(test)
        free = [name for name in signature.parameters if name not in named]
        strategies = {**dict(zip(free[len(free) - len(positional) :], positional, strict=True)), **named}

        @wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            rng = random.Random(_SEED)
            for _ in range(getattr(run, "max_examples", _EXAMPLES)):
                drawn = {name: strategy.draw(rng) for name, strategy in strategies.items() if strategy.draw}
                try:
                    test(*args, **kwargs, **drawn)
                except _Rejected:
                    continue
                except Exception as error:
                    error.add_note(f"drawn: {drawn}")
                    raise

        left = [parameter for name, parameter in signature.parameters.items() if name not in strategies]
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        lacking = sorted({strategy.name for strategy in strategies.values() if strategy.draw is None})
        if lacking:
            reason = f"hypothesis is not installed, and its stand-in does not draw {', '.join(lacking)}"
            return pytest.mark.skip(reason=reason)(run)
        return run

    return decorate


def modules() -> dict[str, ModuleType]:
    """Return modules by the names under which tests import hypothesis."""
    top, strategies, extra, arrays = (
        ModuleType(name)
        for name in ("hypothesis", "hypothesis.strategies", "hypothesis.extra", "hypothesis.extra.numpy")
    )
    vars(strategies).update(
        integers=_integers, floats=_floats, booleans=lambda: _sampled_from((False, True)), sampled_from=_sampled_from,
        lists=_lists, just=lambda value: _sampled_from((value,)), __getattr__=_unknown,
    )  # fmt: skip
    vars(arrays).update(__getattr__=_unknown)
    vars(extra).update(numpy=arrays)
    vars(top).update(given=_given, settings=_settings, assume=_assume, strategies=strategies, extra=extra)
    return {module.__name__: module for module in (top, strategies, extra, arrays)}
