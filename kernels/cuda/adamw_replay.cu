// Trains linear probes by AdamW, all epochs in one launch: the CUDA form of train_linear, one block per fold.
//
// Weights and moments stay in shared memory, the gradient in registers. A team of TEAM warps reads a pair of rows at a
// time into registers, 4 * QUADS columns per lane, computes their outputs, and adds them to its share of the gradient
// while it has them. At the end of a batch the shares of the teams are added in shared memory, in the order of the
// teams. The next pair is on its way meanwhile: rows do not depend on weights.
//
// The order of every sum follows from the number of features and the batch size alone.

#include "adamw.cuh"
#include "rows.cuh"

constexpr int WARPS = 8, THREADS = 32 * WARPS, PAIR = 2;

// What a fold trains on.
struct Replay {
    const float* x;      // (n, d)
    const Int* rows;     // (s,)
    const float* y;      // (s,)
    const int* order;    // (epochs, samples)
    const float* rate;   // (steps,)
    const float* root;   // (steps,)
    float* weights;      // (epochs + 1, d + 1)
    float* fitted;       // (epochs, samples)
    int d, epochs, samples, batch;
    float shrink;
    bool logistic, keep;

    __device__ int batches() const { return (samples + batch - 1) / batch; }
    __device__ int size(int begin) const { return min(batch, samples - begin); }
    __device__ float* after(int epoch) const { return weights + static_cast<Int>(epoch + 1) * (d + 1); }
    __device__ Int position(int epoch, int sample) const { return static_cast<Int>(epoch) * samples + sample; }
};

struct Sample {
    int row;  // -1: none
    float label;
};

// The samples of a team are numbered through all batches and epochs, `per_step` of them in each batch, so that the
// lanes of a warp can look up the next 32 at once: two dependent loads, whose latency is paid once per 32 rows.
__device__ __forceinline__ Sample look_up(const Replay& fold, int number, int per_step, int teams, int team) {
    const int step = number / per_step, slot = number % per_step;
    const int epoch = step / fold.batches(), begin = step % fold.batches() * fold.batch;
    const int within = (slot / PAIR * teams + team) * PAIR + slot % PAIR;
    if (epoch >= fold.epochs || within >= fold.size(begin)) return {-1, 0.0f};
    const int sample = __ldg(fold.order + fold.position(epoch, begin + within));
    return {static_cast<int>(__ldg(fold.rows + sample)), __ldg(fold.y + sample)};
}

template <int QUADS, int TEAM>
__device__ __forceinline__ void replay(const Replay& fold) {
    constexpr int TEAMS = WARPS / TEAM, WIDTH = 128 * QUADS * TEAM, PITCH = WIDTH + 4;  // the bias is at WIDTH
    DYNAMIC_SHARED(float, shared);
    float *const w = shared, *const m = w + PITCH, *const v = m + PITCH;
    float* const shares = v + PITCH;                // (TEAMS, PITCH)
    float* const products = shares + TEAMS * PITCH;  // (2, WARPS, PAIR)

    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, team = warp / TEAM;
    const int first = warp % TEAM * (128 * QUADS) + 4 * lane;  // column of this lane
    const int pairs = (fold.batch + PAIR * TEAMS - 1) / (PAIR * TEAMS), per_step = pairs * PAIR;
    const bool quads = in_quads(fold.x, fold.d);

    for (int j = thread; j < PITCH; j += THREADS) {
        w[j] = j < fold.d ? fold.weights[j] : j == WIDTH ? fold.weights[fold.d] : 0.0f;
        m[j] = v[j] = 0.0f;
    }
    __syncthreads();

    Sample window = look_up(fold, lane, per_step, TEAMS, team);
    Sample ahead = look_up(fold, lane + 32, per_step, TEAMS, team);
    float label[PAIR];
    float4 features[PAIR][QUADS];
    int number = 0;
    const auto load = [&] {
#pragma unroll
        for (int p = 0; p < PAIR; ++p) {
            const int row = __shfl_sync(FULL, window.row, number % 32 + p);
            label[p] = __shfl_sync(FULL, window.label, number % 32 + p);
            load_row(features[p], fold.x + static_cast<Int>(max(row, 0)) * fold.d, first, row < 0 ? 0 : fold.d, quads);
        }
    };
    load();

    int epoch = 0, begin = 0, turn = 0;
    for (int step = 0; epoch < fold.epochs; ++step) {
        const int size = fold.size(begin);
        const float share = 1.0f / static_cast<float>(size), bias = w[WIDTH];
        float4 gradient[QUADS] = {};
        float slopes = 0.0f;
        for (int at = 0; at < pairs; ++at) {
            float halves[PAIR][2] = {}, output[PAIR];  // two sums per row: twice as many additions at a time
#pragma unroll
            for (int i = 0; i < QUADS; ++i) {
                const float4 weight = *reinterpret_cast<const float4*>(w + first + 128 * i);
#pragma unroll
                for (int p = 0; p < PAIR; ++p) add_product(halves[p][i % 2], features[p][i], weight);
            }
#pragma unroll
            for (int p = 0; p < PAIR; ++p) output[p] = warp_sum(halves[p][0] + halves[p][1]);
            if constexpr (TEAM > 1) {  // two buffers take turns, so that one barrier is enough
                float* const product = products + turn * WARPS * PAIR;
                turn ^= 1;
                if (lane < PAIR) product[warp * PAIR + lane] = lane ? output[1] : output[0];
                __syncthreads();
#pragma unroll
                for (int p = 0; p < PAIR; ++p) {
                    output[p] = 0.0f;
                    for (int u = 0; u < TEAM; ++u) output[p] += product[(team * TEAM + u) * PAIR + p];
                }
            }
#pragma unroll
            for (int p = 0; p < PAIR; ++p) {
                output[p] += bias;
                const int within = (at * TEAMS + team) * PAIR + p;
                const float factor = within < size ? share * slope(output[p], label[p], fold.logistic) : 0.0f;
                slopes += factor;
#pragma unroll
                for (int i = 0; i < QUADS; ++i) add_multiple(gradient[i], factor, features[p][i]);
                if (fold.keep && within < size && warp % TEAM == 0 && lane == 0)
                    fold.fitted[fold.position(epoch, begin + within)] = output[p];
            }
            number += PAIR;
            if (number % 32 == 0) {
                window = ahead;
                ahead = look_up(fold, number + 32 + lane, per_step, TEAMS, team);
            }
            load();
        }

#pragma unroll
        for (int i = 0; i < QUADS; ++i)
            *reinterpret_cast<float4*>(shares + team * PITCH + first + 128 * i) = gradient[i];
        if (warp % TEAM == 0 && lane == 0) shares[team * PITCH + WIDTH] = slopes;
        const float rate = __ldg(fold.rate + step), root = __ldg(fold.root + step);
        __syncthreads();
        const auto update = [&](int j) {
            float g = 0.0f;
#pragma unroll
            for (int other = 0; other < TEAMS; ++other) g += shares[other * PITCH + j];
            adamw(w[j], m[j], v[j], g, rate, root, fold.shrink);
        };
#pragma unroll
        for (int left = 0; left < WIDTH; left += THREADS)
            if (WIDTH % THREADS == 0 || thread < WIDTH) update(left + thread);
        if (thread == THREADS - 1) update(WIDTH);
        __syncthreads();
        begin += size;
        if (begin < fold.samples) continue;
        float* const result = fold.after(epoch++);
        for (int j = thread; j < fold.d; j += THREADS) result[j] = w[j];
        if (thread == 0) result[fold.d] = w[WIDTH];
        begin = 0;
    }
}

// The same for any number of features, with the state of a fold in device memory and every row read twice: first each
// warp computes outputs, then each thread the gradient of its columns.
__device__ __forceinline__ void replay_wide(const Replay& fold, float* state) {
    constexpr int TILE = 32;  // rows
    __shared__ Int offsets[TILE];
    __shared__ float factors[TILE];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, d = fold.d;
    float *const w = state, *const m = w + d + 1, *const v = m + d + 1, *const g = v + d + 1;
    const int steps = fold.epochs * fold.batches();

    for (int j = thread; j <= d; j += THREADS) {
        w[j] = fold.weights[j];
        m[j] = v[j] = 0.0f;
    }
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        const int epoch = step / fold.batches(), begin = step % fold.batches() * fold.batch, size = fold.size(begin);
        const float share = 1.0f / static_cast<float>(size), rate = __ldg(fold.rate + step);
        const float root = __ldg(fold.root + step);
        for (int tile = 0; tile < size; tile += TILE) {
            const int count = min(TILE, size - tile);
            for (int p = warp; p < count; p += WARPS) {
                const Int at = fold.position(epoch, begin + tile + p);
                const int sample = __ldg(fold.order + at);
                const Int offset = __ldg(fold.rows + sample) * d;
                float output = 0.0f;
                for (int j = lane; j < d; j += 32) output += __ldg(fold.x + offset + j) * w[j];
                output = warp_sum(output) + w[d];
                if (lane == 0) {
                    offsets[p] = offset;
                    factors[p] = share * slope(output, __ldg(fold.y + sample), fold.logistic);
                    if (fold.keep) fold.fitted[at] = output;
                }
            }
            __syncthreads();
            for (int j = thread; j <= d; j += THREADS) {
                float sum = tile ? g[j] : 0.0f;
                for (int p = 0; p < count; ++p) sum += factors[p] * (j < d ? __ldg(fold.x + offsets[p] + j) : 1.0f);
                if (tile + count < size) {
                    g[j] = sum;
                    continue;
                }
                adamw(w[j], m[j], v[j], sum, rate, root, fold.shrink);
                if (begin + size == fold.samples) fold.after(epoch)[j] = w[j];
            }
            __syncthreads();
        }
    }
}

extern "C" __global__ void adamw_scalars(double learning_rate, int steps, float* rate, float* root) {
    const int step = blockIdx.x * blockDim.x + threadIdx.x;
    if (step >= steps) return;
    rate[step] = adamw_rate(learning_rate, step + 1);
    root[step] = adamw_root(step + 1);
}

#define REPLAY_PARAMETERS                                                                                            \
    const float *x, const Int *rows, const float *y, const int *order, const float *rate, const float *root,         \
        float *weights, float *fitted, int d, int epochs, int samples, int batch, float shrink, bool logistic, bool keep
#define REPLAY_FOLD                                                                                                  \
    {                                                                                                                \
        x, rows, y, order + static_cast<Int>(blockIdx.x) * epochs * samples, rate, root,                             \
            weights + static_cast<Int>(blockIdx.x) * (epochs + 1) * (d + 1),                                         \
            keep ? fitted + static_cast<Int>(blockIdx.x) * epochs * samples : fitted, d, epochs, samples, batch,     \
            shrink, logistic, keep                                                                                   \
    }

// Up to 128 * QUADS * TEAM features, and at least BLOCKS blocks on a multiprocessor.
#define REPLAY(QUADS, TEAM, BLOCKS)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) adamw_replay_##QUADS##x##TEAM(REPLAY_PARAMETERS) {     \
        replay<QUADS, TEAM>(REPLAY_FOLD);                                                                            \
    }

REPLAY(1, 1, 2)
REPLAY(2, 1, 2)
REPLAY(4, 1, 2)
REPLAY(8, 1, 2)
REPLAY(8, 2, 1)
REPLAY(8, 4, 1)

extern "C" __global__ void __launch_bounds__(256) adamw_replay_wide(REPLAY_PARAMETERS, float *state) {
    replay_wide(REPLAY_FOLD, state + static_cast<Int>(blockIdx.x) * 4 * (d + 1));
}
