"""Checkpoints: whole or not at all, and never code."""

import io
import json
import os
from pathlib import Path
import pickle
from typing import Any
import zipfile

import torch

from perception_training.config import Config
from perception_training.config.load import validated
from perception_training.errors import CheckpointError

FORMAT = 'perception_training 1'
State = dict[str, Any]


def write(path: Path, state: State, config: Config) -> None:
    """
    Write a checkpoint in one step; what stood there stays until then.

    :param state: tensors and plain values.
    :raises CheckpointError: it cannot be written; the older one is whole.
    """
    buffer = io.BytesIO()
    torch.save({**state, 'format': FORMAT, 'config': config.model_dump_json()}, buffer)
    part = path.with_suffix('.part')
    try:
        with part.open('wb') as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        older = 'the older one there is whole' if path.exists() else 'there is none yet'
        raise CheckpointError(
            f'cannot write a checkpoint of {buffer.getbuffer().nbytes / 1e6:.0f} MB to {path}: '
            f'{error.strerror}; {older}; make room') from error


def read(path: Path) -> tuple[State, Config]:
    """
    Read a checkpoint and the settings that it was made with.

    Only tensors and plain values are read; a pickle that holds anything else is refused, and
    nothing in it runs.

    :raises CheckpointError: it is missing, damaged, or something else.
    """
    if not path.is_file():
        raise CheckpointError(
            f'{path}: expected a checkpoint, there is none; `perception_train fit` writes it')
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{path}: expected a checkpoint of perception_training, got another file or a part of '
            'one; nothing in it was executed; use an older one')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path}: expected a checkpoint of perception_training, which holds tensors and plain '
            'values, got one with code; nothing in it was executed') from error
    except (EOFError, OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f'{path}: the checkpoint is damaged ({first}); use an older one') from error
    if not isinstance(state, dict) or state.get('format') != FORMAT:
        came = state.get('format') if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f'{path}: expected a checkpoint of format {FORMAT!r}, got {came!r}')
    config = validated(json.loads(state['config']), f'{path}: config')
    return state, config


def require_same_network(path: Path, theirs: Config, ours: Config) -> None:
    """
    Refuse a checkpoint of another network or of other classes.

    :raises CheckpointError: naming what differs, and how to take over what fits.
    """
    advice = ('; start another run_dir with fit.start.checkpoint to take over the layers that fit')
    if theirs.model.name != ours.model.name:
        raise CheckpointError(f'{path}: expected a checkpoint of model {ours.model.name!r}, got '
                              f'one of {theirs.model.name!r}{advice}')
    for key, came, wanted in _pairs(theirs, ours):
        if came != wanted:
            raise CheckpointError(
                f'{path}: {key}: expected {_short(wanted)}, got {_short(came)}{advice}')


def _pairs(theirs: Config, ours: Config) -> list[tuple[str, Any, Any]]:
    # What it starts from, what of it learns, and how it chooses make no other network.
    loose = {'start', 'weights', 'init', 'dropout', 'trainable_layers', 'candidates', 'proposals',
             'proposal_iou', 'samples', 'nms_iou', 'detections'}
    pairs = [(f'model.{name}', getattr(theirs.model, name), getattr(ours.model, name))
             for name in type(ours.model).model_fields if name not in loose]
    pairs.append(('labels.boxes', theirs.labels.boxes, ours.labels.boxes))
    heads = sorted({*theirs.labels.semantic, *ours.labels.semantic})
    return pairs + [(f'labels.semantic.{head}', theirs.labels.semantic.get(head),
                     ours.labels.semantic.get(head)) for head in heads]


def _short(value: Any) -> str:
    return ', '.join(value) if isinstance(value, tuple) else repr(value)
