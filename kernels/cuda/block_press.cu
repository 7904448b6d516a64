// Held-out residuals by block leave-out: Cholesky factorisation of I - H_SS, solve, and check. One block per set.
//
// The packed lower triangle stays in shared memory from the first read to the last use. It is factorised in panels of
// 16 columns:
//   1. sixteen lanes factorise the 16 x 16 block on the diagonal in registers and shuffles, a row each;
//   2. every thread solves its rows below against that block, in registers;
//   3. all threads subtract the product of the panel with itself from the rest, in tiles of 4 x 4 in registers.
// That is three barriers per sixteen columns. Right-hand sides are then substituted by a warp each, without barriers.
// The diagonal holds 1 / L_kk, which is what every use of it needs.
//
// The order in which an element is computed depends on its place and the size of the set only: not on the padding, the
// number of threads or the other sets.
#include "packed_lower.cuh"

constexpr int PANEL = 16;
constexpr int TILE = 4;
constexpr int CHECKED = 4;  // right-hand sides that are checked in one pass over the matrix

// Factorises columns `start` to `start + PANEL` of the diagonal block; called by the first warp. Columns beyond the
// size of the matrix are those of the identity.
__device__ __forceinline__ bool factorise_diagonal(double* lower, int start, int size) {
    const int lane = threadIdx.x % 32, row = start + lane;
    const bool mine = lane < PANEL && row < size;
    double a[PANEL];
#pragma unroll
    for (int j = 0; j < PANEL; ++j) a[j] = mine && j <= lane ? lower[packed(row, start + j)] : double(j == lane);
    bool positive = true;
#pragma unroll
    for (int k = 0; k < PANEL; ++k) {
        const double pivot = __shfl_sync(FULL, a[k], k);
        positive = positive && pivot > 0 && pivot < 1.7976931348623157e308;
        const double inverse = rsqrt(pivot);
        a[k] = lane == k ? inverse : a[k] * inverse;
#pragma unroll
        for (int j = k + 1; j < PANEL; ++j) a[j] -= a[k] * __shfl_sync(FULL, a[k], j);
    }
#pragma unroll
    for (int j = 0; j < PANEL; ++j)
        if (mine && j <= lane) lower[packed(row, start + j)] = a[j];
    return positive;
}

// Solves the rows below the diagonal block, a thread each.
__device__ __forceinline__ void solve_panel(double* lower, int start, int size) {
    for (int row = start + PANEL + threadIdx.x; row < size; row += blockDim.x) {
        double* mine = lower + packed(row, start);
        double a[PANEL];
#pragma unroll
        for (int j = 0; j < PANEL; ++j) a[j] = mine[j];
#pragma unroll
        for (int k = 0; k < PANEL; ++k) {
            a[k] *= lower[packed(start + k, start + k)];
#pragma unroll
            for (int j = k + 1; j < PANEL; ++j) a[j] -= a[k] * lower[packed(start + j, start + k)];
        }
#pragma unroll
        for (int j = 0; j < PANEL; ++j) mine[j] = a[j];
    }
}

// Subtracts the product of the panel's rows below the diagonal block from the triangle to its right.
__device__ __forceinline__ void update_rest(double* lower, int start, int size) {
    const int next = start + PANEL, tiles = (size - next + TILE - 1) / TILE;
    for (int tile = threadIdx.x; tile < packed_row(tiles); tile += blockDim.x) {
        const int down = row_of_packed(tile), right = tile - packed_row(down);
        const double *left[TILE], *top[TILE];
        double sum[TILE][TILE] = {};
#pragma unroll
        for (int t = 0; t < TILE; ++t) {  // rows beyond the last stand for it, and are not written
            left[t] = lower + packed(min(next + down * TILE + t, size - 1), start);
            top[t] = lower + packed(min(next + right * TILE + t, size - 1), start);
        }
#pragma unroll 4
        for (int k = 0; k < PANEL; ++k)
#pragma unroll
            for (int i = 0; i < TILE; ++i)
#pragma unroll
                for (int j = 0; j < TILE; ++j) sum[i][j] += left[i][k] * top[j][k];
#pragma unroll
        for (int i = 0; i < TILE; ++i)
#pragma unroll
            for (int j = 0; j < TILE; ++j) {
                const int row = next + down * TILE + i, column = next + right * TILE + j;
                if (row < size && column <= row) lower[packed(row, column)] -= sum[i][j];
            }
    }
}

// Solves L L' x = z for one right-hand side in shared memory, in place; called by a warp. Within 32 unknowns each waits
// for the one before; what they mean for all other rows is then a product. A row is scaled by 1 / L_ii beforehand, so
// that only a shuffle and one multiply-add are waited for. Only a part that has just been solved is read by other lanes
// than those that wrote it.
__device__ __forceinline__ void substitute(const double* lower, int size, double* z) {
    const int lane = threadIdx.x % 32, last = (size + 31) / 32 * 32 - 32;
    for (int start = 0; start <= last; start += 32) {
        const int count = min(32, size - start), row = start + min(lane, count - 1);
        const double* mine = lower + packed(row, start);
        const double inverse = lower[packed(row, row)];
        double own = lane < count ? z[row] * inverse : 0.0;
#pragma unroll 4
        for (int l = 0; l < count; ++l) {
            const double known = __shfl_sync(FULL, own, l);
            if (row > start + l) own -= inverse * mine[l] * known;
        }
        if (lane < count) z[row] = own;
        __syncwarp();
        for (int i = start + 32 + lane; i < size; i += 32) {
            const double* left = lower + packed(i, start);
            double sum = 0;
#pragma unroll 8
            for (int l = 0; l < 32; ++l) sum += left[l] * z[start + l];
            z[i] -= sum;
        }
    }
    for (int start = last; start >= 0; start -= 32) {
        const int count = min(32, size - start), row = start + min(lane, count - 1);
        const double inverse = lower[packed(row, row)];
        double own = lane < count ? z[row] * inverse : 0.0;
#pragma unroll 4
        for (int l = count - 1; l >= 0; --l) {
            const double known = __shfl_sync(FULL, own, l);
            if (row < start + l) own -= inverse * lower[packed(start + l, row)] * known;
        }
        if (lane < count) z[row] = own;
        __syncwarp();
        for (int i = lane; i < start; i += 32) {
            double sum = 0;
#pragma unroll 8
            for (int l = 0; l < count; ++l) sum += lower[packed(start + l, i)] * z[start + l];
            z[i] -= sum;
        }
    }
}

// |a v - e|^2 and |e|^2 of up to CHECKED columns, from the matrix as it was given: the share of a thread. Rows of `a`
// serve as columns, which is the same for a symmetric matrix, so that neighbouring threads read neighbouring elements.
// `v` lies column after column.
__device__ __forceinline__ void measure(const double* __restrict__ a, int m, const double* __restrict__ e, int t,
                                        int columns, const double* v, int size, double (&rest)[CHECKED],
                                        double (&scale)[CHECKED]) {
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        double product[CHECKED] = {};
#pragma unroll 8
        for (int j = 0; j < size; ++j) {
            const double entry = a[Int(j) * m + i];
#pragma unroll
            for (int c = 0; c < CHECKED; ++c) product[c] += entry * v[min(c, columns - 1) * size + j];
        }
#pragma unroll
        for (int c = 0; c < CHECKED; ++c) {
            const double target = e[Int(i) * t + min(c, columns - 1)], difference = product[c] - target;
            rest[c] += difference * difference;
            scale[c] += target * target;
        }
    }
}

// The larger of two, NaN if one of them is.
HD double larger(double a, double b) { return a != a || a > b ? a : b; }

// `together` right-hand sides are solved side by side. Shared memory holds two sums per warp for each of them, the
// triangle, and the right-hand sides themselves: _press_bytes in gpu.py.
extern "C" __global__ void __launch_bounds__(256, 2)
    block_press(const double* __restrict__ blocks, const Int* __restrict__ sizes, const double* __restrict__ rhs, int m,
                int t, int together, double* __restrict__ v, bool* __restrict__ ok, double* __restrict__ error) {
    DYNAMIC_SHARED(double, partial);  // (warps, together, 2), for sums over the block
    const int size = int(sizes[blockIdx.x]), warps = blockDim.x / 32, lane = threadIdx.x % 32;
    // From a shuffle, so that the compiler knows that a warp does not diverge on it: that saves a third of the code.
    const int warp = __shfl_sync(FULL, int(threadIdx.x / 32), 0);
    double* lower = partial + 2 * warps * together;
    double* solution = lower + packed_row(size);  // (together, size)
    const double* a = blocks + Int(blockIdx.x) * m * m;
    const double* e = rhs + Int(blockIdx.x) * m * t;
    double* out = v + Int(blockIdx.x) * m * t;

    for (int i = warp; i < size; i += warps)
        for (int j = lane; j <= i; j += 32) lower[packed(i, j)] = a[Int(i) * m + j];
    bool positive = true;
    for (int start = 0; start < size; start += PANEL) {
        __syncthreads();
        const bool failed = warp == 0 && !factorise_diagonal(lower, start, size);
        positive = !__syncthreads_or(failed);
        if (!positive) break;
        solve_panel(lower, start, size);
        __syncthreads();
        update_rest(lower, start, size);
    }
    const double nothing = __longlong_as_double(0x7ff8000000000000ll);
    double worst = positive ? 0.0 : nothing;
    for (int first = 0; first < t; first += together) {
        const int columns = min(together, t - first);
        for (int c = warp; c < columns; c += warps) {
            double* z = solution + c * size;
            for (int i = lane; i < size; i += 32) z[i] = e[Int(i) * t + first + c];
            if (positive) substitute(lower, size, z);
            for (int i = lane; i < m; i += 32)
                out[Int(i) * t + first + c] = i >= size ? 0.0 : positive ? z[i] : nothing;
        }
        if (!positive) continue;
        __syncthreads();
        for (int c = 0; c < columns; c += CHECKED) {
            const int checked = min(CHECKED, columns - c);
            double rest[CHECKED] = {}, scale[CHECKED] = {};
            measure(a, m, e + first + c, t, checked, solution + c * size, size, rest, scale);
#pragma unroll
            for (int k = 0; k < CHECKED; ++k) {
                const double missed = warp_sum(rest[k]), target = warp_sum(scale[k]);
                double* mine = partial + 2 * (warp * together + c + k);
                if (lane == 0 && k < checked) mine[0] = missed, mine[1] = target;
            }
        }
        __syncthreads();
        for (int c = 0; c < columns; ++c) {
            double missed = 0, target = 0;
            for (int w = 0; w < warps; ++w) {
                missed += partial[2 * (w * together + c)];
                target += partial[2 * (w * together + c) + 1];
            }
            const double ratio = sqrt(missed) / (target > 0 ? sqrt(target) : 2.2250738585072014e-308);
            worst = larger(missed == 0 ? 0.0 : ratio, worst);
        }
    }
    if (threadIdx.x == 0) {
        ok[blockIdx.x] = positive;
        error[blockIdx.x] = worst;
    }
}
