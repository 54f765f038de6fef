"""Batches of scores for the tests of PreResQ-R1's rewards."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

# The worked example that the released code was run on: three answers to each of three images.
ASPECTS = np.array(
    [
        [[4.2, 4.3, 3.9, 3.0, 4.0], [3.6, 3.6, 2.8, 4.2, 3.9], [4.1, 3.7, 3.5, 2.1, 3.2]],
        [[2.0, 2.1, 2.2, 2.0, 2.1], [3.0, 2.5, 1.5, 2.0, 3.5], [2.5, 2.5, 2.0, 3.0, 1.0]],
        [[4.6, 4.8, 4.9, 4.5, 4.7], [3.0, 3.2, 3.4, 3.6, 3.8], [1.0, 5.0, 3.0, 4.0, 2.0]],
    ]
)
LABELS = np.array([3.7, 2.3, 4.6])


@st.composite
def batches(draw, unparsed=True, n_aspects=None):
    shape = (
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
        n_aspects or draw(st.integers(1, 5)),
    )
    # Few different numbers, so that ties are common.
    scores = st.one_of(st.sampled_from([1.0, 2.0, 2.02, 2.04, 3.5, 5.0]), st.floats(1.0, 5.0))
    aspects = draw(arrays.arrays(np.float64, shape, elements=scores))
    labels = draw(arrays.arrays(np.float64, shape[0], elements=scores))
    if unparsed:
        kept = draw(arrays.arrays(np.bool_, shape[:2]))
        kept[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
        aspects = np.where(kept[..., None], aspects, np.nan)
    return aspects, labels
