// Arithmetic of the replay: one probe's loss and torch's AdamW, in float32.
#pragma once

#include "common.cuh"

// Betas 0.9 and 0.999, eps 1e-8, rounded to float32 where torch rounds them.
constexpr double BETA1 = 0.9, BETA2 = 0.999;
constexpr float NEW1 = static_cast<float>(1.0 - BETA1);
constexpr float OLD2 = static_cast<float>(BETA2), NEW2 = static_cast<float>(1.0 - BETA2);
constexpr float EPS = 1e-8f, LARGEST = 3.402823466e38f;

// Step-dependent scalars, in float64 before they are rounded.
HD float adamw_rate(double learning_rate, int step) {
    return static_cast<float>(learning_rate / (1.0 - pow(BETA1, static_cast<double>(step))));
}
HD float adamw_root(int step) { return static_cast<float>(sqrt(1.0 - pow(BETA2, static_cast<double>(step)))); }

// Square roots and quotients within 2 units in the last place, in a few instructions without branches; the correctly
// rounded ones would take most of the time of an update. 0, infinity and NaN keep their meaning.
__device__ __forceinline__ float quick_root(float v) { return v > 0.0f && v <= LARGEST ? v * rsqrtf(v) : v; }

// Moves one parameter w with its moments m and v along its gradient g.
__device__ __forceinline__ void adamw(float& w, float& m, float& v, float g, float rate, float root, float shrink) {
    m += NEW1 * (g - m);
    v = v * OLD2 + NEW2 * g * g;
    w = w * shrink - __fdividef(rate * m, __fdividef(quick_root(v), root) + EPS);
}

// Derivative of the loss of one sample by its output.
__device__ __forceinline__ float slope(float output, float label, bool logistic) {
    return logistic ? __fdividef(1.0f, 1.0f + expf(-output)) - label : 2.0f * (output - label);
}
