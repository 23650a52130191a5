"""Calibration images are as different as possible, and never those that are measured."""

from __future__ import annotations

from pathlib import Path
import shutil

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.bundles.manifest import InputInfo
from perception_ros.core.errors import BagError, ImageError, QuantizationError
from perception_ros.evaluation import open_dataset
from perception_ros.quantization import choose_images
from perception_ros.quantization.images import CALIBRATION, farthest_first
from perception_ros.recording import record, RecordOptions
from test.bundles.shared import shared
from test.quantization.networks import HEIGHT, WIDTH, write_labelled, write_pictures

SIZE = InputInfo(width=WIDTH, height=HEIGHT)

points = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=12)


@given(points)
def test_each_point_is_the_farthest_from_those_before(drawn: list[tuple[int, int]]) -> None:
    array = np.array(drawn, np.float32)
    order = farthest_first(array)
    assert sorted(order) == list(range(len(array)))
    for i in range(1, len(order)):
        apart = ((array[:, None] - array[order[:i]]) ** 2).sum(axis=2).min(axis=1)
        assert apart[order[i]] == apart.max()


def test_images_are_letterboxed_and_none_is_both_calibration_and_held_out(tmp_path: Path) -> None:
    chosen = choose_images([write_pictures(tmp_path / 'pictures', 8)], SIZE)
    assert chosen.calibration.shape == (6, HEIGHT, WIDTH, 3)
    assert chosen.held_out.shape == (2, HEIGHT, WIDTH, 3)
    everything = [image.tobytes() for image in (*chosen.calibration, *chosen.held_out)]
    assert len(set(everything)) == 8
    assert '6 images to calibrate' in chosen.description


def test_drives_that_are_measured_are_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'pictures', 4)
    data = write_labelled(tmp_path / 'data')
    for path in (data / 'images').iterdir():
        shutil.copy(path, folder)
    chosen = choose_images([folder], SIZE, [open_dataset(f'camvid:{data}')])
    assert len(chosen.calibration) + len(chosen.held_out) == 4
    assert '3 of 7 left out, because their drives are measured' in chosen.description


def test_the_same_picture_under_another_name_is_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'pictures', 4)
    data = write_labelled(tmp_path / 'data')
    copied = next((data / 'images').iterdir())
    shutil.copy(copied, folder / 'holiday.png')
    chosen = choose_images([folder], SIZE, [open_dataset(f'camvid:{data}')])
    assert '1 of 5 left out' in chosen.description


def test_only_what_is_measured_is_refused(tmp_path: Path) -> None:
    data = write_labelled(tmp_path / 'data')
    with pytest.raises(QuantizationError, match='3 of 3 show drives that are measured'):
        choose_images([data], SIZE, [open_dataset(f'camvid:{data}')])


def test_a_video_is_read_all_over(tmp_path: Path) -> None:
    chosen = choose_images([next(shared('clips').glob('*.mp4'))], SIZE)
    assert len(chosen.calibration) == CALIBRATION


def test_a_bag_is_read_all_over_but_for_the_one_that_is_measured(tmp_path: Path) -> None:
    root = write_labelled(tmp_path / 'data')
    for name in ('drive.mcap', 'measured.mcap'):
        record(f'camvid:{root}' if name == 'measured.mcap' else f'images:{root / "images"}',
               tmp_path / name, RecordOptions())
    measured = open_dataset(f'bag:{tmp_path / "measured.mcap"}')
    chosen = choose_images([tmp_path / 'drive.mcap'], SIZE, [measured])
    count = len(list((root / 'images').iterdir()))
    assert len(chosen.calibration) + len(chosen.held_out) == count
    with pytest.raises(QuantizationError, match='two or more images'):
        choose_images([tmp_path / 'measured.mcap'], SIZE, [measured])


@pytest.mark.parametrize(('name', 'error', 'said'), [
    ('none', QuantizationError, 'there is no'),
    ('empty', ImageError, 'no pictures'),
    ('drive.mcap', BagError, 'got an empty file'),
    ('notes.txt', ImageError, 'nothing to play'),
    ('broken', ImageError, 'broken.jpg'),
])
def test_what_cannot_be_used_is_explained(
    tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    (tmp_path / 'empty' / 'images').mkdir(parents=True)
    (tmp_path / 'drive.mcap').write_bytes(b'')
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'broken.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(error, match=said):
        choose_images([tmp_path / name], SIZE)
