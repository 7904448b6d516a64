"""NeuCo-Bench's linear probe as its code reads, one step after another: slow, obvious, and all by itself.

Random numbers are drawn where torch draws them, from one generator; nothing is shared with the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.random import RandomState

F = np.float32


class Generator:
    """Torch's generator on the CPU: words of MT19937, counted."""

    def __init__(self) -> None:
        self._words = RandomState(42)
        self.drawn = 0

    def word(self) -> int:
        self.drawn += 1
        return int(self._words.randint(0, 2**32, dtype=np.uint32))

    def uniform(self, bound: np.float32) -> np.float32:
        u = (self.word() & 0xFFFFFF) / 2**24
        return F(u * float(bound + bound) - float(bound))

    def randperm(self, n: int) -> list[int]:
        r = list(range(n))
        for i in range(n - 1):
            j = i + self.word() % (n - i)
            r[i], r[j] = r[j], r[i]
        return r

    def loader_order(self, rows: list[int]) -> list[int]:
        self.word(), self.word()  # the loader's own seed
        return [rows[i] for i in self.randperm(len(rows))]


@dataclass
class Fold:
    history: list[float] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)
    held_out_orders: list[list[int]] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    initial: np.ndarray = field(default_factory=lambda: np.zeros(0))
    words: int = 0

    @property
    def score(self) -> float:
        best = -math.inf
        for value in self.history:
            if value > best:
                best = value
        return best


def bounds(d: int) -> tuple[np.float32, np.float32]:
    """Bounds of weights and bias: kaiming_uniform_(a=sqrt(5)), and 1/sqrt(fan_in)."""
    std = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2)) / math.sqrt(d)
    return F(math.sqrt(3.0) * std), F(1 / math.sqrt(d))


def r2(outputs: np.ndarray, y: np.ndarray) -> float:
    rss = F(sum(float(r) ** 2 for r in (y - outputs)))
    squares, total = F(sum(float(v) ** 2 for v in y)), F(sum(map(float, y)))
    tss = F(squares - total * F(total / F(len(y))))
    if rss <= F(1e-4):
        return 1.0
    if abs(tss) <= F(1e-4):
        return 0.0
    return float(F(1) - F(rss / tss))


def f1(outputs: np.ndarray, y: np.ndarray) -> float:
    if any(z < 0 or z > 1 for z in outputs):
        outputs = F(1) / (F(1) + np.exp(-outputs))
    tp = sum(1 for p, t in zip(outputs, y, strict=True) if p > 0.5 and t == 1)
    wrong = sum(1 for p, t in zip(outputs, y, strict=True) if (p > 0.5) != (t == 1))
    return float(F(2 * tp) / F(2 * tp + wrong)) if tp + wrong else 0.0


def loss_of(outputs: np.ndarray, y: np.ndarray, logistic: bool) -> float:
    if logistic:
        return float(np.mean(np.log1p(np.exp(-np.abs(outputs))) + np.maximum(outputs, 0) - outputs * y))
    return float(np.mean((outputs - y) ** 2))


def run(
    x: np.ndarray,
    tasks: list[tuple[str, str, np.ndarray, np.ndarray]],
    *,
    folds: int,
    epochs: int,
    batch: int,
    lr: float,
    store: bool = False,
) -> tuple[dict[str, list[Fold]], Generator]:
    """Run tasks (name, kind, rows, labels as they are trained on) in order."""
    draw, d = Generator(), x.shape[1]
    results: dict[str, list[Fold]] = {}
    for name, kind, rows, y in tasks:
        n, results[name] = len(y), []
        splitter = RandomState(42)
        for _ in range(folds):
            p = splitter.permutation(n).tolist()
            cut = math.ceil(0.1 * n)
            results[name].append(_fold(draw, x[rows], y.astype(F), p[cut:], p[:cut], kind, epochs, batch, lr))
        if store:
            for _ in range(d + 1 + 2 * epochs):
                draw.word()
    return results, draw


def _fold(draw, x, y, train, held_out, kind, epochs, batch, lr) -> Fold:
    fold, before, d, logistic = Fold(), draw.drawn, x.shape[1], kind == "classification"
    of_weights, of_bias = bounds(d)
    w = np.array([draw.uniform(of_weights) for _ in range(d)] + [draw.uniform(of_bias)], dtype=F)
    fold.initial = w.copy()
    m, v, step = np.zeros_like(w), np.zeros_like(w), 0
    for _ in range(epochs):
        order, losses = draw.loader_order(train), []
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            z = x[rows] @ w[:-1] + w[-1]
            losses.append(loss_of(z, y[rows], logistic))
            slope = (F(1) / (F(1) + np.exp(-z)) - y[rows] if logistic else F(2) * (z - y[rows])) / F(len(rows))
            g = np.append(slope @ x[rows], slope.sum(dtype=F))
            step += 1
            w = w * F(1 - lr * 0.01)
            m = m + F(1 - 0.9) * (g - m)
            v = F(0.999) * v + F(1 - 0.999) * g * g
            w = w - F(lr / (1 - 0.9**step)) * (m / (np.sqrt(v) / F(math.sqrt(1 - 0.999**step)) + F(1e-8)))
        shuffled = draw.loader_order(held_out)
        z = x[shuffled] @ w[:-1] + w[-1]
        blocks = [slice(s, s + batch) for s in range(0, len(shuffled), batch)]
        fold.val_loss.append(float(np.mean([loss_of(z[b], y[shuffled][b], logistic) for b in blocks])))
        fold.train_loss.append(float(np.mean(losses)))
        fold.history.append((f1 if logistic else r2)(z, y[shuffled]))
        fold.orders.append(order)
        fold.held_out_orders.append(shuffled)
    fold.words = draw.drawn - before
    return fold
