// Stored values, a few at a time, and their conversion to float64. Every conversion is exact.
#pragma once

#include "common.cuh"

// A float16 as it is stored.
struct Half {
    unsigned short bits;
};

template <typename T>
HD double widen(T value) {
    return double(value);
}

// The exponent moves up by 112, from the bias of float16 to that of float32, by a product, which is right for subnormal
// numbers too; infinity and NaN have the largest exponent in both formats.
template <>
HD double widen(Half value) {
    const unsigned magnitude = value.bits & 0x7fffu, sign = unsigned(value.bits & 0x8000u) << 16;
    const bool finite = magnitude < 0x7c00u;
    const float scaled = __int_as_float(int(magnitude << 13)) * 5.192296858534828e33f;  // 2^112
    const float infinite = __int_as_float(int(magnitude << 13 | 0x7f800000u));
    return double(__int_as_float(int(unsigned(__float_as_int(finite ? scaled : infinite)) | sign)));
}

// `size` neighbours, read or written in one instruction up to 16 bytes.
template <typename T, int size>
struct alignas(sizeof(T) * size < 16 ? sizeof(T) * size : 16) Pack {
    T values[size];
};

template <typename P>
HD bool is_aligned(const void* pointer) {
    return reinterpret_cast<unsigned long long>(pointer) % alignof(P) == 0;
}
