"""Figures of results (the extra ``report``)."""
