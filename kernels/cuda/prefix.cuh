// What is kept of the predictions of every prefix: a tally per column, of one number type that fills 8 bytes.
#pragma once

#include "common.cuh"

// Sum of squared errors. The running value is the error.
struct Squares {
    double sum;

    HD static double start(double mean, double label) { return mean - label; }
    HD void add(double error, double) { sum += error * error; }
    HD void merge(const Squares& other) { sum += other.sum; }
};

// True and false positives, above the threshold 0. The running value is the prediction.
struct Positives {
    int right, wrong;

    HD static double start(double mean, double) { return mean; }
    HD void add(double prediction, double label) {
        right += prediction > 0 && label > 0;
        wrong += prediction > 0 && !(label > 0);
    }
    HD void merge(const Positives& other) {
        right += other.right;
        wrong += other.wrong;
    }
};
