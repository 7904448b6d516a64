// Outputs of linear probes after every epoch, each row read once for up to 16 weight vectors of its fold.

#include "rows.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int ROWS = 4, EPOCHS = 16;  // of a warp; 64 sums per lane
constexpr int WIDTH = 512;            // columns of the weights that are in shared memory at a time

// Adds up COUNT values, a power of 2, each over the lanes of a warp, with about 1 exchange per value instead of 5: at
// every distance a lane keeps one half of the values and gives the other away. Returns the sum of value
// lane / (32 / COUNT).
template <int COUNT, int DISTANCE = 16>
__device__ __forceinline__ float spread_sums(float (&values)[COUNT], int lane) {
    if constexpr (COUNT == 1) {
        float sum = values[0];
#pragma unroll
        for (int distance = DISTANCE; distance > 0; distance /= 2) sum += __shfl_xor_sync(FULL, sum, distance);
        return sum;
    } else {
        constexpr int HALF = COUNT / 2;
        const bool upper = (lane & DISTANCE) != 0;
        float kept[HALF];
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const float low = values[i], high = values[i + HALF];
            kept[i] = (upper ? high : low) + __shfl_xor_sync(FULL, upper ? low : high, DISTANCE);
        }
        return spread_sums<HALF, DISTANCE / 2>(kept, lane);
    }
}

// Block (i, tile, k): rows 32 i ... of fold k, epochs 16 tile ...
extern "C" __global__ void __launch_bounds__(256, 2)
predict_linear(const float* x, const Int* rows, const float* weights, float* out, int d, int epochs, int samples) {
    __shared__ float4 tile[EPOCHS * WIDTH / 4];
    const int thread = threadIdx.x, lane = thread % 32, fold = blockIdx.z;
    const int begin = (blockIdx.x * WARPS + thread / 32) * ROWS;
    const int epoch = blockIdx.y * EPOCHS, count = min(EPOCHS, epochs - epoch);
    const bool quads = in_quads(x, d);
    const Int held_out = static_cast<Int>(fold) * samples;
    const float* const w = weights + (static_cast<Int>(fold) * epochs + epoch) * (d + 1);

    const float* row[ROWS];
#pragma unroll
    for (int p = 0; p < ROWS; ++p) row[p] = x + rows[held_out + min(begin + p, samples - 1)] * d;

    float sums[ROWS][EPOCHS] = {};
    for (int left = 0; left < d; left += WIDTH) {
        __syncthreads();
        for (int at = thread; at < count * WIDTH; at += THREADS) {
            const int e = at / WIDTH, j = left + at % WIDTH;
            reinterpret_cast<float*>(tile)[at] = j < d ? w[static_cast<Int>(e) * (d + 1) + j] : 0.0f;
        }
        __syncthreads();
        for (int first = 4 * lane; first < WIDTH && left + first < d; first += 128) {
            float4 features[ROWS][1];
#pragma unroll
            for (int p = 0; p < ROWS; ++p) load_row(features[p], row[p], left + first, d, quads);
#pragma unroll
            for (int e = 0; e < EPOCHS; ++e) {
                if (e >= count) continue;
                const float4 weight = tile[(e * WIDTH + first) / 4];
#pragma unroll
                for (int p = 0; p < ROWS; ++p) add_product(sums[p][e], features[p][0], weight);
            }
        }
    }
#pragma unroll
    for (int p = 0; p < ROWS; ++p) {
        const float sum = spread_sums(sums[p], lane);
        const int e = lane / (32 / EPOCHS);
        if (lane % (32 / EPOCHS) || e >= count || begin + p >= samples) continue;
        const float bias = w[static_cast<Int>(e) * (d + 1) + d];
        out[(static_cast<Int>(fold) * epochs + epoch + e) * samples + begin + p] = sum + bias;
    }
}
