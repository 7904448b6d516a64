// Held-out scores for every prefix of the features, without storing predictions.
//
// One block per fold and task. A warp takes a row at a time, each lane 16 neighbouring columns: the sums of the lanes'
// products are scanned within the warp, then each lane runs through its own columns and adds to 16 tallies in
// registers. Tallies of the warps are merged in shared memory, in the order of the warps, once per 512 columns.

#include "prefix.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int RUN = 16, WIDTH = 32 * RUN;  // columns of a lane and of a warp
constexpr int PITCH = RUN + 2, PART = 32 * PITCH;  // the padding keeps lanes out of each other's memory banks

HD int place(int column) { return column / RUN * PITCH + column % RUN; }

// The sum over the lanes before this one.
__device__ __forceinline__ double sum_before(double value, int lane) {
    double sum = value;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        const double below = __shfl_up_sync(FULL, sum, distance);
        if (lane >= distance) sum += below;
    }
    const double before = __shfl_up_sync(FULL, sum, 1);
    return lane ? before : 0.0;
}

// Features (K, m, d), coefficients (K, d, tasks), mean (K, tasks), labels (K, m, tasks), sizes (K,), carry
// (K, tasks, m). Calls write(column, tally, positive labels) for every column.
template <class Tally, class Write>
__device__ __forceinline__ void scan(const double* features, const double* coefficients, const double* mean,
                                     const double* labels, const Int* sizes, double* carry, int m, int d, int tasks,
                                     Write write) {
    __shared__ double memory[WARPS * PART];
    __shared__ int positives[WARPS];
    static_assert(sizeof(Tally) == sizeof(double), "rows and tallies take turns in shared memory");
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, task = blockIdx.x;
    const Int fold = blockIdx.y;
    const int size = static_cast<int>(sizes[fold]);
    const double start = mean[fold * tasks + task];
    double* const part = memory + warp * PART;
    carry += (fold * tasks + task) * m;

    for (int left = 0; left < d; left += WIDTH) {
        double coefficient[RUN];
        Tally tallies[RUN] = {};
        int positive = 0;
#pragma unroll
        for (int i = 0; i < RUN; ++i) {
            const int j = left + lane * RUN + i;
            coefficient[i] = j < d ? coefficients[(fold * d + j) * tasks + task] : 0.0;
        }
        double next[RUN];
        const auto load = [&](int row) {  // neighbouring lanes, neighbouring columns
            const double* const source = features + (fold * m + row) * d;
#pragma unroll
            for (int i = 0; i < RUN; ++i) {
                const int j = left + lane + 32 * i;
                next[i] = row < size && j < d ? __ldg(source + j) : 0.0;
            }
        };
        load(warp);
        for (int row = warp; row < size; row += WARPS) {
#pragma unroll
            for (int i = 0; i < RUN; ++i) part[place(lane + 32 * i)] = next[i];
            __syncwarp();
            load(row + WARPS);
            const double label = labels[(fold * m + row) * tasks + task];
            double running = left ? carry[row] : Tally::start(start, label), sum = 0.0;
#pragma unroll
            for (int i = 0; i < RUN; i += 2) {
                const double2 value = *reinterpret_cast<const double2*>(part + lane * PITCH + i);
                sum += value.x * coefficient[i] + value.y * coefficient[i + 1];
            }
            running += sum_before(sum, lane);
#pragma unroll
            for (int i = 0; i < RUN; i += 2) {
                const double2 value = *reinterpret_cast<const double2*>(part + lane * PITCH + i);
                running += value.x * coefficient[i];
                tallies[i].add(running, label);
                running += value.y * coefficient[i + 1];
                tallies[i + 1].add(running, label);
            }
            if (lane == 31) carry[row] = running;
            positive += label > 0;
            __syncwarp();
        }
#pragma unroll
        for (int i = 0; i < RUN; ++i) reinterpret_cast<Tally*>(part)[lane * PITCH + i] = tallies[i];
        if (lane == 0) positives[warp] = positive;
        __syncthreads();
        int truths = 0;
        for (int other = 0; other < WARPS; ++other) truths += positives[other];
        for (int column = thread; column < min(WIDTH, d - left); column += THREADS) {
            Tally total = {};
            for (int other = 0; other < WARPS; ++other)
                total.merge(reinterpret_cast<const Tally*>(memory)[other * PART + place(column)]);
            write(left + column, total, truths);
        }
        __syncthreads();
    }
}

// Sums of squared errors, sse (K, tasks, d).
extern "C" __global__ void __launch_bounds__(256)
prefix_scan(const double* features, const double* coefficients, const double* mean, const double* labels,
            const Int* sizes, double* carry, double* sse, int m, int d, int tasks) {
    double* const out = sse + (static_cast<Int>(blockIdx.y) * tasks + blockIdx.x) * d;
    scan<Squares>(features, coefficients, mean, labels, sizes, carry, m, d, tasks,
                  [=](int column, const Squares& total, int) { out[column] = total.sum; });
}

// True positives, false positives and false negatives, counts (K, tasks, 3, d).
extern "C" __global__ void __launch_bounds__(256)
prefix_confusion(const double* features, const double* coefficients, const double* mean, const double* labels,
                 const Int* sizes, double* carry, int* counts, int m, int d, int tasks) {
    int* const out = counts + (static_cast<Int>(blockIdx.y) * tasks + blockIdx.x) * 3 * d;
    scan<Positives>(features, coefficients, mean, labels, sizes, carry, m, d, tasks,
                    [=](int column, const Positives& total, int truths) {
                        out[column] = total.right;
                        out[d + column] = total.wrong;
                        out[2 * d + column] = truths - total.right;
                    });
}
