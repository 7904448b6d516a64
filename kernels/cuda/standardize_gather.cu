// Rows by index, in float64, less the column means, times a scale: one pass over what is read and written.
//
// A thread has a few neighbouring columns, as many as fill 16 bytes of output, and keeps their means and scales in
// registers while it goes through its rows. Four rows at a time keep enough reads in flight. Threads of a warp have
// neighbouring columns, so that reads and writes are whole lines.
#include "convert.cuh"

constexpr int ROWS = 4;  // that a thread reads before it writes; _GATHER_ROWS in gpu.py

template <typename In, typename Out, int size>
__device__ void gather(const In* __restrict__ x, const Int* __restrict__ rows, const bool* __restrict__ mask,
                       const double* __restrict__ mean, const double* __restrict__ scale, bool scaled, Int count, int d,
                       Out* __restrict__ out) {
    const Int step = Int(gridDim.y) * blockDim.y * ROWS;
    for (int column = (blockIdx.x * blockDim.x + threadIdx.x) * size; column < d;
         column += gridDim.x * blockDim.x * size) {
        double center[size], factor[size];
#pragma unroll
        for (int c = 0; c < size; ++c) {
            center[c] = mean[column + c];
            factor[c] = scaled ? scale[column + c] : 1.0;
        }
        for (Int first = (Int(blockIdx.y) * blockDim.y + threadIdx.y) * ROWS; first < count; first += step) {
            Pack<In, size> read[ROWS];
            bool member[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                member[r] = first + r < count && mask[first + r];
                if (member[r])
                    read[r] = *reinterpret_cast<const Pack<In, size>*>(x + rows[first + r] * d + column);
            }
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (first + r >= count) break;
                Pack<Out, size> written;
#pragma unroll
                for (int c = 0; c < size; ++c)
                    written.values[c] = member[r] ? Out((widen(read[r].values[c]) - center[c]) * factor[c]) : Out(0);
                *reinterpret_cast<Pack<Out, size>*>(out + (first + r) * d + column) = written;
            }
        }
    }
}

#define STANDARDIZE_GATHER(in, In, out_name, Out)                                                           \
    extern "C" __global__ void __launch_bounds__(256, 3) standardize_gather_##in##_##out_name(              \
        const In* __restrict__ x, const Int* __restrict__ rows, const bool* __restrict__ mask,              \
        const double* __restrict__ mean, const double* __restrict__ scale, bool scaled, Int count, int d,   \
        Out* __restrict__ out) {                                                                            \
        constexpr int size = 16 / sizeof(Out);                                                              \
        if (d % size == 0 && is_aligned<Pack<In, size>>(x) && is_aligned<Pack<Out, size>>(out))             \
            gather<In, Out, size>(x, rows, mask, mean, scale, scaled, count, d, out);                       \
        else                                                                                                \
            gather<In, Out, 1>(x, rows, mask, mean, scale, scaled, count, d, out);                          \
    }

#define STANDARDIZE_GATHER_TO(out_name, Out)                    \
    STANDARDIZE_GATHER(float16, Half, out_name, Out)            \
    STANDARDIZE_GATHER(float32, float, out_name, Out)           \
    STANDARDIZE_GATHER(float64, double, out_name, Out)          \
    STANDARDIZE_GATHER(int8, signed char, out_name, Out)        \
    STANDARDIZE_GATHER(uint8, unsigned char, out_name, Out)
STANDARDIZE_GATHER_TO(float64, double)
STANDARDIZE_GATHER_TO(float32, float)
