"""The benchmark: catalogues by seed, the engine by size, whole decisions, HTTP beside an empty endpoint.

A program, never a timed test. Figures are ratios taken side by side in one run; what a figure was taken
with (machine, versions, settings, load) is printed beside it.
"""
