"""Pictures stand beside their captions."""

import numpy as np
import pytest

from qponder_lib.cases import picture_grid

PICTURE = np.zeros((8, 8, 3), dtype=np.uint8)


def test_each_picture_has_its_caption_and_empty_places_stay_empty():
    figure = picture_grid([PICTURE] * 3, ["a", "b", "c"], columns=2)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a", "b", "c", ""]
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 0]


@pytest.mark.parametrize(("pictures", "captions"), [([PICTURE], []), ([], [])])
def test_pictures_without_captions_are_an_error(pictures, captions):
    with pytest.raises(ValueError, match="expected captions"):
        picture_grid(pictures, captions)
