"""The page of all keys of configs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from tfeff import config
from tfeff.config import section


@pytest.fixture
def lines(import_tool) -> list[str]:
    return import_tool("site_keys").page(lambda text: text).splitlines()


def keys(value: Any, prefix: str) -> Iterator[str]:
    """Yields the dotted keys of a section and of all that can be inside it, except `experiment`.

    Tasks that other tests have defined are left out.
    """
    for name, field in section.keys(value).items():
        yield prefix + name
        variants = field.metadata.get(section.VARIANTS)
        for each in variants.values() if variants else [getattr(value, name)]:
            own = (each if isinstance(each, type) else type(each)).__module__.startswith("tfeff.")
            if own and dataclasses.is_dataclass(each) and not isinstance(each, config.Experiment):
                yield from keys(each, f"{prefix}{name}.")


@pytest.mark.parametrize("kind", [config.Experiment, config.Search, config.Sweep, config.BudgetSearch])
def test_all_keys_are_listed(lines, kind) -> None:
    value = kind() if kind is not config.Sweep else kind(axes=("model.dropout=0|0.2",))
    listed = {line.split("`")[1] for line in lines if line.startswith("- `")}
    assert set(keys(value, "")) <= listed


def test_keys_have_type_default_and_meaning(lines) -> None:
    assert "- `optimizer.name`: `Literal['sgd', 'rmsprop', 'adamw', 'muon']`, default `'sgd'`." in lines
    assert "- `task.tta`: `TTA`. See its section." in lines
    start = "- `task.augmentation.rotation`: `float`, default `0.0`. Maximum angle, degrees;"
    assert any(line.startswith(start) for line in lines)
    assert any(line.startswith("- `data.folds`: `int | None`, default `None`. Number of folds") for line in lines)
