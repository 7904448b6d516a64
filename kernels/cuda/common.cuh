// What every kernel shares. NVRTC compiles these files without host headers, and the tests compile the same files with
// a C++ compiler against tests/cuda_host, which defines FASTPROBE_HOST.
#pragma once

typedef long long Int;  // int64

// Arithmetic that is the same on both sides.
#define HD __host__ __device__ __forceinline__

// Dynamic shared memory of the launch, aligned to 16 bytes: DYNAMIC_SHARED(double, tile); tile[0] = ...
#ifdef FASTPROBE_HOST
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(cuda_host::dynamic_shared())
#else
#define DYNAMIC_SHARED(type, name)                                    \
    extern __shared__ __align__(16) unsigned char fastprobe_shared[]; \
    type* const name = reinterpret_cast<type*>(fastprobe_shared)
#endif

constexpr unsigned FULL = 0xffffffffu;  // all lanes of a warp

// The same value in all lanes; the order of the sum is that of a butterfly.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(FULL, value, offset);
    return value;
}
