"""The mathematics of agreement, in plain numpy.

`statistics` holds correlations, errors and score diversity, `bootstrap` their intervals and
differences, `logistic` the curve that some papers fit before the PLCC.
"""
