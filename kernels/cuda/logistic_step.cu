// Residuals, curvature weights and losses of all logistic probes in one pass over their linear predictors.

#include "logistic.cuh"
#include "losses.cuh"

// Block (part, tile): rows 64 part ... and columns 32 tile ..., all of shape (n, columns) except labels (n, tasks),
// training (n, folds) and the partial losses (parts, columns).
extern "C" __global__ void __launch_bounds__(256)
logistic_step(const double* eta, const double* labels, const bool* training, const Int* task, const Int* fold,
              double* residual, double* curvature, double* losses, Int n, int columns, int tasks, int folds) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, column = blockIdx.y * LANES + lane;
    double sum = 0.0;
    if (column < columns) {
        const Int begin = static_cast<Int>(blockIdx.x) * ROWS, end = min(begin + ROWS, n);
        const Int its_task = task[column], its_fold = fold[column];
        for (Int row = begin + warp; row < end; row += STRIDES) {
            const Int at = row * columns + column;
            const bool counts = training[row * folds + its_fold];
            const LogisticTerms terms = logistic_terms(eta[at], labels[row * tasks + its_task]);
            residual[at] = counts ? terms.residual : 0.0;
            curvature[at] = counts ? terms.curvature : 0.0;
            sum += counts ? terms.loss : 0.0;
        }
    }
    store_loss(sum, column, columns, losses);
}

// Adds the parts up in their order.
extern "C" __global__ void __launch_bounds__(256)
logistic_loss(const double* losses, double* loss, int parts, int columns) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    double sum = 0.0;
    for (int part = 0; part < parts; ++part) sum += losses[static_cast<Int>(part) * columns + column];
    loss[column] = sum;
}
