"""Probes: given the features of a sample group, labels and folds, the held-out residuals of every fold."""
