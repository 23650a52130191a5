"""One picture a frame, with all that is known of it when it must go."""

from __future__ import annotations

import gc
import weakref

from perception_ros.core.composer import Composer, HELD
from perception_ros.core.types import Frame, Result
from test.builders import frame, picture


def result(of: Frame, model: str) -> Result:
    return Result(of, model)


def models(ready: list[list[Result]]) -> list[tuple[float, list[str]]]:
    return [(r[0].frame.stamp_ns / 1e6, [one.model for one in r]) for r in ready]


def test_a_frame_is_drawn_when_all_its_models_have_spoken() -> None:
    composer, first = Composer({'front': 2}), frame('front', 1000)
    assert composer.add(result(first, 'boxes')) == []
    assert models(composer.add(result(first, 'road'))) == [(1000, ['boxes', 'road'])]


def test_a_slow_model_may_be_some_frames_behind() -> None:
    """Drawing at the first newer frame would give boxes and masks in separate pictures."""
    composer = Composer({'front': 2})
    frames = [frame('front', 1000 + 33 * n) for n in range(HELD)]
    assert [composer.add(result(f, 'boxes')) for f in frames] == [[]] * HELD
    assert models(composer.add(result(frames[0], 'road'))) == [(1000, ['boxes', 'road'])]


def test_a_frame_that_a_model_left_out_goes_without_it_and_only_once() -> None:
    composer = Composer({'front': 2})
    frames = [frame('front', 1000 + 33 * n) for n in range(HELD + 1)]
    ready = [composer.add(result(f, 'boxes')) for f in frames]
    assert models(ready[-1]) == [(1000, ['boxes'])]
    assert composer.add(result(frames[0], 'road')) == [], 'its picture has gone already'


def test_pictures_of_a_camera_keep_their_order() -> None:
    composer = Composer({'front': 2})
    first, second = frame('front', 1000), frame('front', 1033)
    composer.add(result(first, 'boxes'))
    composer.add(result(second, 'boxes'))
    ready = composer.add(result(second, 'road'))
    assert models(ready) == [(1000, ['boxes']), (1033, ['boxes', 'road'])]


def test_no_image_is_kept_once_its_picture_has_gone() -> None:
    composer, pixels = Composer({'front': 1}), picture()
    alive = weakref.ref(pixels)
    composer.add(result(frame('front', 1000, pixels=pixels), 'boxes'))
    del pixels
    gc.collect()
    assert alive() is None


def test_cameras_do_not_wait_for_each_other() -> None:
    composer = Composer({'front': 1, 'left': 2})
    assert composer.add(result(frame('left', 1000), 'boxes')) == []
    assert models(composer.add(result(frame('front', 1000), 'boxes'))) == [(1000, ['boxes'])]


def test_what_is_left_comes_out_at_the_end() -> None:
    composer = Composer({'front': 2})
    composer.add(result(frame('front', 1000), 'boxes'))
    assert models(composer.flush()) == [(1000, ['boxes'])]
    assert composer.flush() == []
