// Arithmetic of the logistic probe.
#pragma once

#include "common.cuh"

struct LogisticTerms {
    double residual, curvature, loss;
};

// Derivatives of the loss of one sample by its linear predictor: p - y, p (1 - p), and the loss itself,
// log(1 + exp(eta)) - y eta, from the exponential that does not overflow.
HD LogisticTerms logistic_terms(double eta, double y) {
    const double e = exp(-fabs(eta)), share = 1.0 / (1.0 + e);
    return {(eta < 0 ? e * share : share) - y, e * share * share, log1p(e) + (eta > 0 ? eta : 0.0) - y * eta};
}
