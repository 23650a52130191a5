"""What makes a network another one than its settings say, as plain values for checkpoints."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from perception_ros.bundles.manifest import problems
from perception_training.config.base import Settings
from perception_training.errors import CheckpointError
from perception_training.models.int8 import round_to_int8
from perception_training.models.narrow import narrow, Width


class Form(Settings):
    """What was changed after a network was built."""

    widths: dict[str, Width] = Field(
        default_factory=dict, description='layers that were pruned, and their channels')
    int8: tuple[tuple[str, ...], ...] = Field(
        (), description='for each tensor that is rounded to int8, the convolutions that take it')


AS_BUILT = Form()


def reform(network: Any, form: Form) -> None:
    """
    Change a network as it was built into this form; its weights are loaded afterwards.

    :param network: `models.base.Network`.
    :raises CheckpointError: the form is that of another network.
    """
    narrow(network, form.widths)
    round_to_int8(network, form.int8)
    network.form = form


def form_in(state: dict[str, Any], path: Path) -> Form:
    """
    Read the form from a checkpoint's state; a network that was not changed has none there.

    :raises CheckpointError: it is damaged.
    """
    try:
        return Form.model_validate_json(state['form']) if 'form' in state else AS_BUILT
    except ValidationError as error:
        raise CheckpointError(
            f'{path}: form: ' + '; '.join(problems(error)) + '; use an older one') from error
