"""Ridge probes on every number of leading features, from one factorisation.

The Cholesky factor of a leading submatrix is the leading submatrix of the Cholesky factor. So with ``G + alpha I =
L L'`` for the Gram matrix G of the training rows, ``z = L^-1 X'y`` and ``T = L^-1 (x - mean)'`` of the rows to predict,
the probe on the first s features predicts ``mean_y + sum(T_j z_j, j < s)``: a running sum. All sizes cost one
factorisation and one scan of the predicted rows. In the basis of the eigenvectors of G the factor is diagonal, and the
same scan gives every number of principal components.

Source: design/algorithms.md, 3.
"""

from __future__ import annotations

from fastprobe.probes.prefix.cells import Cells, complements, nested_subsets
from fastprobe.probes.prefix.problem import PrefixProblem, require_memory
from fastprobe.probes.prefix.select import inner_cells, mean_losses
from fastprobe.probes.prefix.solve import Curves, solve

__all__ = [
    "Cells",
    "Curves",
    "PrefixProblem",
    "complements",
    "inner_cells",
    "mean_losses",
    "nested_subsets",
    "require_memory",
    "solve",
]
