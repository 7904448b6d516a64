// The part of CUDA C++ that the kernels use, for a C++ compiler.
#pragma once

#include <math.h>

#include "fibers.h"

#define FASTPROBE_HOST 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static __attribute__((section("cuda_shared")))
#define __grid_constant__

// Vector types, with the alignment of the device: a misaligned access is reported.
#define CUDA_HOST_VECTORS(type, name, size)                                                             \
    struct alignas(2 * size) name##2 { type x, y; };                                                    \
    struct alignas(4 * size > 16 ? 16 : 4 * size) name##4 { type x, y, z, w; };                         \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                             \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_HOST_VECTORS(signed char, char, 1)
CUDA_HOST_VECTORS(unsigned char, uchar, 1)
CUDA_HOST_VECTORS(short, short, 2)
CUDA_HOST_VECTORS(unsigned short, ushort, 2)
CUDA_HOST_VECTORS(int, int, 4)
CUDA_HOST_VECTORS(unsigned, uint, 4)
CUDA_HOST_VECTORS(float, float, 4)
CUDA_HOST_VECTORS(double, double, 8)
CUDA_HOST_VECTORS(long long, longlong, 8)

// Barriers. The line is kept: threads that wait at different ones are an error.
#define __syncthreads() cuda_host::barrier(false, __LINE__)
#define __syncthreads_or(predicate) int(cuda_host::barrier_count((predicate) != 0, __LINE__) > 0)
#define __syncthreads_and(predicate) int(cuda_host::barrier_count((predicate) != 0, __LINE__) == cuda_host::voters)
#define __syncthreads_count(predicate) cuda_host::barrier_count((predicate) != 0, __LINE__)
#define __syncwarp(...) ((void)cuda_host::exchange(cuda_host::mask_or_full(__VA_ARGS__), 0, __LINE__))
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)

// Exchanges within a warp.
#define __shfl_sync(mask, ...) cuda_host::shuffle(cuda_host::INDEX, mask, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) cuda_host::shuffle(cuda_host::DOWN, mask, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) cuda_host::shuffle(cuda_host::UP, mask, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) cuda_host::shuffle(cuda_host::XOR, mask, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, predicate) cuda_host::ballot(mask, (predicate) != 0, __LINE__)
#define __any_sync(mask, predicate) int(__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) int(__ballot_sync(mask, !(predicate)) == 0)

namespace cuda_host {

static inline unsigned mask_or_full(unsigned mask = 0xffffffffu) { return mask; }

enum Shuffle { INDEX, DOWN, UP, XOR };

template <typename T>
static T shuffle(Shuffle how, unsigned mask, int line, T value, int by, int width = 32) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles values of 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    const uint64_t* values = exchange(mask, bits, line);
    int mine = lane(), start = mine / width * width, source = mine;
    if (how == INDEX) source = start + by % width;
    if (how == DOWN && mine + by < start + width) source = mine + by;
    if (how == UP && mine - by >= start) source = mine - by;
    if (how == XOR && (mine ^ by) < start + width) source = mine ^ by;
    T found;  // of a lane that does not run: the poison in its slot
    memcpy(&found, &values[source], sizeof found);
    return found;
}

static inline unsigned ballot(unsigned mask, bool predicate, int line) {
    const uint64_t* values = exchange(mask, predicate, line);
    unsigned found = 0;
    for (int i = 0; i < 32; ++i) found |= unsigned(values[i] == 1) << i;
    return found;
}

}  // namespace cuda_host

// Atomics: fibers do not interrupt each other.
template <typename T>
static inline T atomicAdd(T* at, T value) { T old = *at; *at = T(old + value); return old; }
template <typename T>
static inline T atomicMax(T* at, T value) { T old = *at; *at = old < value ? value : old; return old; }
template <typename T>
static inline T atomicMin(T* at, T value) { T old = *at; *at = value < old ? value : old; return old; }
template <typename T>
static inline T atomicExch(T* at, T value) { T old = *at; *at = value; return old; }
template <typename T>
static inline T atomicOr(T* at, T value) { T old = *at; *at = old | value; return old; }
template <typename T>
static inline T atomicCAS(T* at, T compare, T value) { T old = *at; if (old == compare) *at = value; return old; }

// Loads and stores with cache hints.
template <typename T>
static inline T __ldg(const T* at) { return *at; }
template <typename T>
static inline T __ldcs(const T* at) { return *at; }
template <typename T>
static inline T __ldcg(const T* at) { return *at; }
template <typename T>
static inline void __stcs(T* at, T value) { *at = value; }
template <typename T>
static inline void __stcg(T* at, T value) { *at = value; }

// Arithmetic that <math.h> lacks.
#define CUDA_HOST_MIN_MAX(type)                                           \
    static inline type min(type a, type b) { return b < a ? b : a; }      \
    static inline type max(type a, type b) { return a < b ? b : a; }
CUDA_HOST_MIN_MAX(int)
CUDA_HOST_MIN_MAX(unsigned)
CUDA_HOST_MIN_MAX(long)
CUDA_HOST_MIN_MAX(unsigned long)
CUDA_HOST_MIN_MAX(long long)
CUDA_HOST_MIN_MAX(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline double rsqrt(double a) { return 1.0 / sqrt(a); }
static inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
#define __expf expf  // glibc has functions of these names
#define __logf logf
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline int __popc(unsigned a) { return __builtin_popcount(a); }
static inline int __ffs(int a) { return __builtin_ffs(a); }
static inline int __clz(int a) { return a ? __builtin_clz(unsigned(a)) : 32; }
static inline int __float_as_int(float a) { int b; memcpy(&b, &a, 4); return b; }
static inline float __int_as_float(int a) { float b; memcpy(&b, &a, 4); return b; }
static inline long long __double_as_longlong(double a) { long long b; memcpy(&b, &a, 8); return b; }
static inline double __longlong_as_double(long long a) { double b; memcpy(&b, &a, 8); return b; }
