"""The Newton direction of one column of more than two classes, slow and sure: in float64, with a metric for each class.

Where classes are all but separable and the penalty is weak, the curvatures of a column lie many orders of magnitude
apart. Float32 loses the small ones, and a metric that all classes share is far from the Hessian. Few columns come to
that.
"""

from __future__ import annotations

from fastprobe.backend.base import Array
from fastprobe.probes.logistic.problem import LogisticProblem, Point
from fastprobe.probes.logistic.whitening import Whitening
from fastprobe.probes.ridge.cg import conjugate_gradients

__all__ = ["direction_alone"]

_TOLERANCE = 1e-6  # relative residual, in the metric
_ITERATIONS = 400


def direction_alone(
    problem: LogisticProblem, point: Point, by_weights: Array, by_intercepts: Array, penalty: Array
) -> tuple[Array, Array, int]:
    """Solve a Newton system by conjugate gradients in the metric of the diagonal blocks of its Hessian.

    Parameters
    ----------
    problem : LogisticProblem
        With M > 2 outputs.
    point : Point
        Of one strength and one fold.
    by_weights, by_intercepts : array, shapes (1, M, 1, d) and (1, M, 1)
        Gradient of the objective.
    penalty : array, shape (1,)

    Returns
    -------
    by_weights, by_intercepts : array
        The direction, of the same shapes.
    iterations : int
    """
    backend, xp, m, r = problem.backend, problem.backend.xp, problem.outputs, problem.d + 1
    assert point.shares is not None
    shares = point.shares
    metric = Whitening(problem, point.curvature[:, 0, :, 0], xp.ones(m) * penalty)

    def whitened(weights: Array, intercepts: Array) -> Array:
        return metric.whitened(weights.reshape(m, 1, 1, r - 1), intercepts.reshape(m, 1, 1)).reshape(1, m * r, 1)

    def unwhitened(z: Array) -> tuple[Array, Array]:
        weights, intercepts = metric.unwhitened(z.reshape(m, 1, 1, r))
        return weights.reshape(by_weights.shape), intercepts.reshape(by_intercepts.shape)

    def apply(z: Array, none: Array, live: Array) -> tuple[Array, Array]:
        weights, intercepts = unwhitened(z)
        along = problem.decisions(weights, intercepts)
        bent = shares * (along - (shares * along).sum(axis=2, keepdims=True))
        image = backend.adjoint(problem.design, bent.reshape(problem.n, m)).reshape(by_weights.shape)
        return whitened(image + penalty * weights, bent.sum(axis=0)), none

    z, taken = conjugate_gradients(
        xp,
        apply,
        -whitened(by_weights, by_intercepts),
        xp.zeros((1, 1, 0)),
        tol=_TOLERANCE,
        max_iterations=_ITERATIONS,
    )
    return *unwhitened(z), taken
