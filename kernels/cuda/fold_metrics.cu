// Held-out residuals and labels of every (fold, column), reduced to the sums that scores are made of.
//
// A block has one fold and up to 256 columns. Its threads are laid over (slot, column) as memory is, so that a warp
// reads whole lines and a thread stays in one column; what the threads of a column found is added in a tree. The sum of
// squares about the mean takes a second pass over the labels, because sum y^2 - n mean^2 would cancel.
#include "statistics.cuh"

constexpr int THREADS = 256;  // _FOLD_THREADS in gpu.py

// Adds up what the threads of each column hold: `height` of them, `width` apart. The order depends on `height` only.
template <typename Add>
__device__ void add_columns(int height, int width, Add add) {
    const int mine = threadIdx.x / width;
    for (int rest = height; rest > 1; rest = (rest + 1) / 2) {
        __syncthreads();
        if (mine < rest / 2) add(threadIdx.x, threadIdx.x + (rest + 1) / 2 * width);
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS)
    fold_metrics(const double* __restrict__ y, const Int* __restrict__ rows, const Int* __restrict__ sizes,
                 const double* __restrict__ residuals, int m, int columns, int tasks, double* __restrict__ out) {
    __shared__ Sums sums[THREADS];
    __shared__ double squares[THREADS];
    const int thread = threadIdx.x, width = min(THREADS, columns), height = THREADS / width;
    const int fold = blockIdx.x, size = int(sizes[fold]), column = blockIdx.y * width + thread % width;
    const bool works = thread < width * height && column < columns;
    const int first = works ? thread / width : size;  // of the slots of this thread
    const Int* members = rows + Int(fold) * m;
    const double* labels = y + column % tasks;
    const double* residual = residuals + Int(fold) * m * columns + column;

    Sums found = Sums::none();
    for (int slot = first; slot < size; slot += height)
        found.add(labels[members[slot] * tasks], residual[Int(slot) * columns]);
    sums[thread] = found;
    add_columns(height, width, [&](int target, int source) { sums[target].add(sums[source]); });
    const Sums total = sums[thread % width];
    const double mean = total.y / size;

    double square = 0;
    for (int slot = first; slot < size; slot += height) {
        const double centered = labels[members[slot] * tasks] - mean;
        square += centered * centered;
    }
    squares[thread] = square;
    add_columns(height, width, [&](int target, int source) { squares[target] += squares[source]; });
    if (thread >= width || !works) return;
    const double fields[] = {mean,
                             total.is_constant() ? 0.0 : squares[thread],
                             total.sse,
                             double(total.tp),
                             double(total.fp),
                             double(total.fn),
                             double(total.tn)};
#pragma unroll
    for (int field = 0; field < 7; ++field) out[(Int(field) * gridDim.x + fold) * columns + column] = fields[field];
}
