// Arithmetic of the logistic probes.
#pragma once

#include "common.cuh"

struct LogisticTerms {
    double residual, curvature, loss;
};

// Derivatives of the loss of one sample by its linear predictor: p - y, p (1 - p), and the loss itself,
// log(1 + exp(eta)) - y eta, from the exponential that does not overflow, and without a difference of nearly equal
// numbers where a label of 0 or 1 is predicted with near certainty.
HD LogisticTerms logistic_terms(double eta, double y) {
    const double e = exp(-fabs(eta)), share = 1.0 / (1.0 + e);
    const double p = eta < 0 ? e * share : share, q = eta < 0 ? share : e * share;
    return {p * (1.0 - y) - q * y, e * share * share, log1p(e) + ((eta > 0 ? eta : 0.0) - y * eta)};
}

struct SoftmaxSum {
    double top, others;
};

// The greatest linear predictor of a sample, and the sum of exp(eta - top) over all classes but the (first) one that has
// it: log(sum(exp(eta))) is top + log1p(others), to all digits also where one class takes nearly all.
HD SoftmaxSum softmax_sum(const double* eta, int classes, int stride) {
    int first = 0;
    for (int k = 1; k < classes; ++k)
        if (eta[k * stride] > eta[first * stride]) first = k;
    const double top = eta[first * stride];
    double others = 0.0;
    for (int k = 0; k < classes; ++k)
        if (k != first) others += exp(eta[k * stride] - top);
    return {top, others};
}
