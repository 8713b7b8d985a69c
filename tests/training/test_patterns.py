import pytest

from tfeff.errors import UserError
from tfeff.training.patterns import matching

PATHS = ["stem_conv/kernel", "stage1_block1_conv1/kernel", "stage1_block1_conv1_bn/gamma", "stage2_block1_conv/kernel"]


@pytest.mark.parametrize(
    ("pattern", "indices"),
    [
        ("stem*", [0]),
        ("*", [0, 1, 2, 3]),
        ("stage[12]_*/kernel", [1, 3]),
        ("[!s]*", []),
        ("*_bn/*", [2]),
        ("stage?_block1_conv/kernel", [3]),
        ("stage1_block1_conv1", []),  # whole paths
        ("Stem*", []),
    ],
)
def test_patterns_match_whole_paths(pattern: str, indices: list[int]) -> None:
    expected = {PATHS[index] for index in indices}
    if expected:
        assert matching(pattern, PATHS, "key") == expected
    else:
        with pytest.raises(UserError):
            matching(pattern, PATHS, "key")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("stm*", 'did you mean "stem*"?'),
        ("stage2/block1*", 'did you mean "stage2_block1*"?'),
        ("backbone/*", "known: stage1*, stage1_block1*, stage2*, stage2_block1*, stem*, stem_conv*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_a_suggestion(pattern: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        matching(pattern, PATHS, "optimizer.frozen")
    assert str(error.value) == f"config: optimizer.frozen: {pattern!r} matches no variable that is trained; {hint}"
