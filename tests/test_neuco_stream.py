"""The replayed stream of random numbers, word for word."""

from __future__ import annotations

import neuco_twin
import numpy as np
import pytest
from sklearn.model_selection import ShuffleSplit

from fastprobe.probes.neuco import stream
from fastprobe.probes.neuco.stream import Draws, fold_words, initial_weights, shuffle_split, stored_probe_words
from fastprobe.specs import ReplaySpec

# torch.manual_seed(42); torch.nn.Linear(d, 1): first and last weight, bias; then torch.randperm(5). From torch 2.13.
TORCH = {
    1: ("0x1.8771980000000p-1", "0x1.8771980000000p-1", "0x1.a8f6cc0000000p-1", [1, 3, 2, 4, 0]),
    2: ("0x1.14cae20000000p-1", "0x1.2c7eb60000000p-1", "-0x1.5343460000000p-3", [4, 3, 0, 1, 2]),
    7: ("0x1.27e7540000000p-2", "-0x1.78dc480000000p-3", "0x1.c6993e0000000p-3", [0, 2, 3, 1, 4]),
    16: ("0x1.8771980000000p-3", "-0x1.2128c00000000p-5", "0x1.8ab18c0000000p-3", [0, 4, 3, 1, 2]),
    39: ("0x1.f573040000000p-4", "0x1.1ecdf60000000p-6", "-0x1.9db2700000000p-5", [1, 3, 0, 4, 2]),
    1024: ("0x1.8771980000000p-6", "-0x1.43ffdc0000000p-6", "0x1.1d2cdc0000000p-6", [3, 2, 1, 0, 4]),
}


def draws(tasks, folds=3, d=5, **options) -> Draws:
    return Draws(tuple(tasks), ReplaySpec(**{"epochs": 2, **options}), folds, d)


@pytest.mark.parametrize("d", TORCH)
def test_weights_and_shuffles_are_those_of_torch(d: int) -> None:
    state, words = stream._seeded(), np.empty(d + 1 + 4, dtype=np.uint32)
    stream.cpu.mt19937(state, words)
    weights = initial_weights(words[: d + 1])
    shuffled = np.empty(5, dtype=np.int32)
    stream.cpu.randperm(words[d + 1 :], np.arange(5, dtype=np.int32), shuffled)
    first, last, bias, order = TORCH[d]
    assert weights[[0, -2, -1]].tolist() == [float.fromhex(h) for h in (first, last, bias)]
    assert shuffled.tolist() == order


@pytest.mark.parametrize("n", [11, 20, 99, 1000])
def test_splits_are_those_of_scikit_learn(n: int) -> None:
    held_out, train = shuffle_split(n, 4)
    for k, (rows, others) in enumerate(ShuffleSplit(4, test_size=0.1, random_state=42).split(np.empty(n))):
        assert train[k].tolist() == rows.tolist()
        assert held_out[k].tolist() == others.tolist()


def test_every_draw_of_a_run_comes_in_its_place() -> None:
    tasks = [("a", 25), ("b", 40), ("c", 25)]
    d, epochs, folds = 5, 3, 4
    x = np.zeros((40, d), dtype=np.float32)
    twin, generator = neuco_twin.run(
        x,
        [(name, "regression", np.arange(n), np.zeros(n)) for name, n in tasks],
        folds=folds, epochs=epochs, batch=8, lr=1e-3,
    )  # fmt: skip
    found = draws(tasks, folds, d, epochs=epochs)
    every = slice(0, folds)
    for name, n in tasks:
        for k, fold in enumerate(twin[name]):
            assert fold.words == fold_words(n, d, epochs) == d + 1 + epochs * (n + 2)
            assert found[name].initial[k].tolist() == fold.initial.tolist()
            assert found[name].order(every)[k].tolist() == fold.orders
            assert found[name].held_out_order(every)[k].tolist() == fold.held_out_orders
    assert generator.drawn == folds * sum(fold_words(n, d, epochs) for _, n in tasks)
    # ... and the next word after the run is the same.
    after = np.empty(1, dtype=np.uint32)
    stream.cpu.mt19937(found["c"].states[-1].copy(), after)
    assert int(after[0]) == generator.word()


def test_stored_probes_draw_between_the_tasks() -> None:
    tasks, d, epochs, folds = [("a", 25), ("b", 40)], 5, 2, 2
    _, generator = neuco_twin.run(
        np.zeros((40, d), dtype=np.float32),
        [(name, "regression", np.arange(n), np.zeros(n)) for name, n in tasks],
        folds=folds, epochs=epochs, batch=8, lr=1e-3, store=True,
    )  # fmt: skip
    stored = draws(tasks, folds, d, epochs=epochs, store_probes=True)
    plain = draws(tasks, folds, d, epochs=epochs)
    assert stored_probe_words(d, epochs) == d + 1 + 2 * epochs
    total = sum(folds * fold_words(n, d, epochs) + stored_probe_words(d, epochs) for _, n in tasks)
    assert generator.drawn == total
    assert (stored["a"].initial == plain["a"].initial).all()
    assert (stored["b"].initial != plain["b"].initial).any()
    state = stored["b"].states[-1].copy()
    stream._skip(state, stored_probe_words(d, epochs))
    after = np.empty(1, dtype=np.uint32)
    stream.cpu.mt19937(state, after)
    assert int(after[0]) == generator.word()


def test_independent_tasks_begin_afresh() -> None:
    shared = draws([("a", 25), ("b", 40)])
    alone = draws([("b", 40)])
    independent = draws([("a", 25), ("b", 40)], stream="independent")
    every = slice(0, 3)
    assert (independent["b"].order(every) == alone["b"].order(every)).all()
    assert (independent["b"].initial == alone["b"].initial).all()
    assert (shared["b"].order(every) != alone["b"].order(every)).any()


def test_orders_in_pieces_and_not_kept_are_the_same(monkeypatch) -> None:
    whole = draws([("a", 25)], folds=5)["a"].order(slice(0, 5))
    monkeypatch.setattr(stream, "_CHUNK", 2 * 25 * 2 * 4)  # bytes of two folds
    monkeypatch.setattr(stream, "_KEPT", 0)
    pieces = draws([("a", 25)], folds=5)["a"]
    assert [(part.start, part.stop) for part in pieces.chunks()] == [(0, 2), (2, 4), (4, 5)]
    assert (np.concatenate([pieces.order(part) for part in pieces.chunks()]) == whole).all()
    assert not pieces._kept
