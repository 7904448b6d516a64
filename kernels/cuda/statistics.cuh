// Sums over some held-out samples of one task.
#pragma once

#include "common.cuh"

struct Sums {
    double y, sse, least, largest;
    int tp, fp, fn, tn;

    HD static Sums none() { return {0, 0, 1.7976931348623157e308, -1.7976931348623157e308, 0, 0, 0, 0}; }

    // A label, and the label less its prediction. The threshold of both classes is 0.
    HD void add(double label, double residual) {
        const bool truth = label > 0, guess = label - residual > 0;
        y += label;
        sse += residual * residual;
        least = label < least ? label : least;
        largest = label > largest ? label : largest;
        tp += truth && guess;
        fp += !truth && guess;
        fn += truth && !guess;
        tn += !truth && !guess;
    }

    HD void add(const Sums& other) {
        y += other.y;
        sse += other.sse;
        least = other.least < least ? other.least : least;
        largest = other.largest > largest ? other.largest : largest;
        tp += other.tp;
        fp += other.fp;
        fn += other.fn;
        tn += other.tn;
    }

    HD bool is_constant() const { return least >= largest; }
};
