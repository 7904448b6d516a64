// Residuals, shares and losses of all multinomial logistic probes in one pass over their linear predictors.

#include "logistic.cuh"
#include "losses.cuh"

// Block (part, tile): rows 64 part ... and pairs (problem, column) 32 tile ... A thread has all classes of a sample: it
// reads them three times, twice from the cache. Predictors, residuals and shares are (n, problems, classes, columns),
// training (n, folds), the partial losses (parts, problems, columns).
extern "C" __global__ void __launch_bounds__(256)
softmax_step(const double* eta, const Int* codes, const bool* training, const Int* fold, double* residual,
             double* shares, double* losses, Int n, int problems, int classes, int columns, int folds) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int pairs = problems * columns, pair = blockIdx.y * LANES + lane;
    double sum = 0.0;
    if (pair < pairs) {
        const int problem = pair / columns, column = pair % columns;
        const Int begin = static_cast<Int>(blockIdx.x) * ROWS, end = min(begin + ROWS, n), its_fold = fold[column];
        for (Int row = begin + warp; row < end; row += STRIDES) {
            const Int at = (row * problems + problem) * classes * columns + column;
            const bool counts = training[row * folds + its_fold];
            const int code = static_cast<int>(codes[row]);
            const SoftmaxSum terms = softmax_sum(eta + at, classes, columns);
            const double inverse = 1.0 / (1.0 + terms.others);
            for (int k = 0; k < classes; ++k) {
                const Int entry = at + static_cast<Int>(k) * columns;
                const double share = exp(eta[entry] - terms.top) * inverse;
                shares[entry] = counts ? share : 0.0;
                residual[entry] = counts ? share : 0.0;
            }
            const Int its = at + static_cast<Int>(code) * columns;
            const double own = eta[its];
            // 1 - share of the greatest is what all others have: no difference of nearly equal numbers.
            const double missing = own < terms.top ? 1.0 - exp(own - terms.top) * inverse : terms.others * inverse;
            residual[its] = counts ? -missing : 0.0;
            sum += counts ? log1p(terms.others) + (terms.top - own) : 0.0;
        }
    }
    store_loss(sum, pair, pairs, losses);
}
