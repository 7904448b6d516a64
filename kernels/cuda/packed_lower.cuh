// Lower triangles, packed row after row: entry (i, j), j <= i, is number i (i + 1) / 2 + j.
//
// Packing makes room for 1.4 times the size of a square array, and needs no padding: sixteen neighbouring rows start in
// sixteen different banks of 8 bytes (triangular numbers are a permutation modulo a power of two), so that a warp reads
// columns nearly as freely as rows.
#pragma once

#include "common.cuh"

HD int packed_row(int i) { return i * (i + 1) / 2; }

HD int packed(int i, int j) { return packed_row(i) + j; }

// Row of the entry with that number, for numbers below 2^22: the inverse of packed().
HD int row_of_packed(int number) {
    int row = int((sqrtf(8.0f * float(number) + 1.0f) - 1.0f) * 0.5f);
    if (packed_row(row) > number) --row;
    if (packed_row(row + 1) <= number) ++row;
    return row;
}
