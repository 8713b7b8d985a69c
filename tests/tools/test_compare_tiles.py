import pytest

from tfeff.errors import UserError
from tools import compare_tiles


def test_sizes_and_overlaps():
    assert compare_tiles.size_of("3000x4000") == (3000, 4000)
    assert compare_tiles.tiles_of("480x640:0") == ((480, 640), 0)
    assert compare_tiles.tiles_of("480x640:479") == ((480, 640), 479)


@pytest.mark.parametrize("text", ["480x640", "480:100", "480x640:", "480x640:-1", "480x640:480", "0x640:0", "axb:c"])
def test_malformed_tiles_are_reported(text):
    with pytest.raises(UserError, match="HEIGHTxWIDTH"):
        compare_tiles.tiles_of(text)
