// Losses of a block of rows, for kernels whose threads have a column each and rows in turn.
#pragma once

#include "common.cuh"

constexpr int LANES = 32, ROWS = 64, STRIDES = 8;  // columns and rows of a block; rows that its warps take at once

// Adds up what the warps of a block have found for their 32 columns, into the row of the block in (parts, columns). All
// threads of the block call it, those beyond the last column too.
__device__ __forceinline__ void store_loss(double sum, int column, int columns, double* losses) {
    __shared__ double sums[STRIDES][LANES];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp || column >= columns) return;
    for (int other = 1; other < STRIDES; ++other) sum += sums[other][lane];
    losses[static_cast<Int>(blockIdx.x) * columns + column] = sum;
}
