import pytest

from tfeff.analysis.comparison.cost import Cost
from tfeff.analysis.comparison.files import cost_columns


@pytest.mark.parametrize(
    ("macs", "shown"), [(None, None), (78_512_345, "78.51"), (999_900_000, "999.9"), (134_213_000_000, "134,213")]
)
def test_multiply_adds_of_any_network_are_readable(macs, shown):
    assert cost_columns(Cost(10, macs, 100, {}, None), [])["multiply-adds (M)"] == shown
