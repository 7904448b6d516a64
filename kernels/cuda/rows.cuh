// Rows of float32 features, read by warps.
#pragma once

#include "common.cuh"

HD void add_product(float& sum, float4 a, float4 b) {
    sum += a.x * b.x;
    sum += a.y * b.y;
    sum += a.z * b.z;
    sum += a.w * b.w;
}

HD void add_multiple(float4& total, float factor, float4 a) {
    total.x += factor * a.x;
    total.y += factor * a.y;
    total.z += factor * a.z;
    total.w += factor * a.w;
}

// Whether all rows of a matrix begin at multiples of 16 bytes.
HD bool in_quads(const float* x, int d) { return (reinterpret_cast<unsigned long long>(x) | 4ull * d) % 16 == 0; }

// Columns first + 128 i, ..., first + 128 i + 3 of a row, zeros from `end` on.
template <int QUADS>
__device__ __forceinline__ void load_row(float4 (&out)[QUADS], const float* row, int first, int end, bool quads) {
    if (quads) {
#pragma unroll
        for (int i = 0; i < QUADS; ++i) {
            const int j = first + 128 * i;
            out[i] = j < end ? __ldg(reinterpret_cast<const float4*>(row + j)) : make_float4(0, 0, 0, 0);
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < QUADS; ++i) {
        const int j = first + 128 * i;
        out[i].x = j < end ? __ldg(row + j) : 0.0f;
        out[i].y = j + 1 < end ? __ldg(row + j + 1) : 0.0f;
        out[i].z = j + 2 < end ? __ldg(row + j + 2) : 0.0f;
        out[i].w = j + 3 < end ? __ldg(row + j + 3) : 0.0f;
    }
}

// The sum over the lanes of a warp, in all of them.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL, value, distance);
    return value;
}
