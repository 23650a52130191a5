"""Which classes a network learns, and under which names."""

from typing import Annotated

from pydantic import AfterValidator, Field

from perception_training.config.base import Settings


def _differ(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'expected names that differ, got {twice} more than once')
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_differ)]
HeadName = Annotated[str, Field(pattern=r'^[a-z][a-z0-9_]*$')]


class LabelsConfig(Settings):
    """Class names; a class's id is its place in the list. Class maps lead from data sets here."""

    boxes: Names = Field((), description='classes of boxes; none: no boxes are learnt')
    semantic: dict[HeadName, Names] = Field(
        default_factory=dict, description='head -> classes of its label map')
