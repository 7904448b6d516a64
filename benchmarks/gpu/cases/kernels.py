"""What the device can do, and each of our kernels alone."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.gpu.cases import ceilings as of_device
from benchmarks.gpu.cases.ceilings import Ceilings, measure_ceilings
from benchmarks.gpu.context import Context
from benchmarks.gpu.kernel_cases import Call, KernelCase, kernel_cases
from benchmarks.gpu.ledger import Finding, Missed
from benchmarks.gpu.target import Target
from benchmarks.gpu.timing import measure, readable
from fastprobe.kernels import gpu as launchers

__all__ = ["measure_kernel", "run"]


def measure_kernel(
    target: Target, case: KernelCase, launch: launchers.Launch, ceilings: Ceilings, *, repeat: int
) -> Finding:
    """Time a kernel, and hold that to what it has to do.

    Raises
    ------
    Missed
        If it leaves something unwritten, or writes what cannot be.
    """
    xp = target.xp
    calls = [case.make(xp, seed) for seed in range(case.inputs)]
    run = getattr(launchers, case.kernel)
    more = {"empty": xp.empty} if case.scratch else {}

    def work(i: int) -> None:
        run(launch, *calls[i].arguments, **more)

    _poison(calls[0])
    work(0)
    if not _written(xp, calls[0]):
        raise Missed(Finding("left something unwritten, or wrote what is no number"))
    found = measure(target, work, inputs=case.inputs, repeat=repeat)
    floor = case.floor.seconds(ceilings)
    share = floor / found.median_seconds
    text = (
        f"{readable(found.median_seconds)} for {case.size}: {case.floor.bytes / found.median_seconds / 1e9:.4g} GB/s, "
        f"{case.floor.flops / found.median_seconds / 1e12:.3g} TFLOP/s; floor {readable(floor)}, {share:.0%} of it"
    )
    values = {**found.values(), "size": case.size, "floor": asdict(case.floor), "floor_seconds": floor, "share": share}
    return Finding(text, values)


def _poison(call: Call) -> None:
    for array in call.written:
        array[...] = {"f": float("nan"), "i": -1, "b": False}[array.dtype.kind]


def _written(xp: Any, call: Call) -> bool:
    sound = {"f": xp.isfinite, "i": lambda a: a >= 0, "b": lambda a: a}
    return all(bool(sound[array.dtype.kind](array).all()) for array in call.written)


def run(context: Context) -> None:
    """Measure all kernels, and the ceilings that they are held to."""
    target, options, ledger = context.target, context.options, context.ledger
    of_device.run(context)
    found: list[Ceilings] = []

    def ceilings() -> Finding:
        target.require_gpu()
        found.append(measure_ceilings(target, options.scale))
        return Finding(
            f"memory {found[0].memory / 1e9:.4g} GB/s, last cache {found[0].cached / 1e9:.4g} GB/s, float64 "
            f"{found[0].float64 / 1e12:.3g} TFLOP/s, float32 {found[0].float32 / 1e12:.3g} TFLOP/s",
            asdict(found[0]),
        )

    if ledger.measure("ceilings", ceilings) is None:
        return
    from fastprobe.backend.cuda.modules import Modules

    launch = Modules()
    for case in kernel_cases(options.scale, options.folds):
        work = partial(measure_kernel, target, case, launch, found[0], repeat=options.repeat)
        ledger.measure(f"{case.kernel}, {case.size}", work)
