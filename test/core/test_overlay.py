"""What is drawn must lie where the result says, in the bundle's colours."""

from __future__ import annotations

import numpy as np
import pytest

from perception_ros.core.overlay import draw_detections, draw_result, draw_results, Palette
from perception_ros.core.types import Detections, InstanceMasks, Result, SemanticMask, UNLABELLED
from test.builders import frame, manifest, picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
PALETTE = Palette((RED, GREEN, BLUE), {'ground': ((0, 0, 0), GREEN, BLUE)})
NAMES = ('red', 'green', 'blue')
GREY = 114


def detections(*boxes: tuple[float, float, float, float]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.3, count, dtype=np.float32),
        np.arange(count, dtype=np.int32) % 3,
        NAMES,
    )


def result(
    found: Detections | None = None,
    ids: np.ndarray | None = None,
    instances: np.ndarray | None = None,
) -> Result:
    semantic = {} if ids is None else {'ground': SemanticMask(ids, ('nothing', 'green', 'blue'))}
    masks = None if instances is None else InstanceMasks(instances)
    return Result(frame(), 'model', found, semantic, masks)


def test_palette_is_the_bundle_s() -> None:
    palette = Palette.of(manifest())
    assert palette.boxes == (RED, GREEN, BLUE)
    assert palette.semantic['ground'] == (RED, GREEN, BLUE, (9, 9, 9))


def test_the_image_itself_is_not_touched() -> None:
    rgb = picture(200, 100)
    rgb.flags.writeable = False
    drawn = draw_result(rgb, result(detections((10, 10, 50, 50))), PALETTE)
    assert (rgb == GREY).all() and not (drawn == GREY).all()


def test_box_lies_on_its_pixels() -> None:
    drawn = draw_result(picture(400, 300), result(detections((100, 80, 300, 240))), PALETTE)
    for y, x in ((160, 100), (160, 299), (239, 200)):
        assert tuple(drawn[y, x]) == RED, 'the line'
    assert tuple(drawn[160, 200]) == (GREY,) * 3, 'the inside is left as it is'
    assert tuple(drawn[160, 50]) == (GREY,) * 3


@pytest.mark.parametrize(
    'box',
    [
        pytest.param((0, 0, 320, 240), id='whole image'),
        pytest.param((300, 0, 320, 10), id='top right corner, no room for a label'),
        pytest.param((0, 230, 3, 240), id='bottom left corner'),
        pytest.param((100, 100, 100.2, 100.2), id='smaller than a pixel'),
    ],
)
def test_boxes_anywhere(box: tuple[float, float, float, float]) -> None:
    drawn = draw_result(picture(320, 240), result(detections(box)), PALETTE)
    assert drawn.shape == (240, 320, 3)
    assert (drawn == RED).all(axis=2).sum() > 20, 'box or label can be seen'


def test_a_box_may_have_no_score() -> None:
    """The truth has none: its label is narrower."""
    plates = []
    for scores in (True, False):
        drawn = picture(400, 300)
        draw_detections(drawn, detections((100, 80, 300, 240)), PALETTE.boxes, scores=scores)
        plates.append(int((drawn[:78] == RED).all(axis=2).any(axis=0).sum()))
    assert 0 < plates[1] < plates[0]


def test_no_boxes() -> None:
    rgb = picture()
    np.testing.assert_array_equal(draw_result(rgb, result(detections()), PALETTE), rgb)


def test_mask_tints_its_classes_and_no_other_pixel() -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[:, 30:] = 1
    ids[:10] = UNLABELLED
    drawn = draw_result(picture(60, 40), result(ids=ids), PALETTE, mask_opacity=0.5)
    assert (drawn[:10] == GREY).all(), 'unlabelled'
    assert (drawn[:, :30] == GREY).all(), 'black is for classes that are nothing'
    np.testing.assert_allclose(drawn[20, 45], (57, 184.5, 57), atol=1)
    assert tuple(drawn[20, 30]) == GREEN, 'the border'


def test_a_coarser_mask_covers_the_picture() -> None:
    ids = np.ones((4, 6), np.uint8)
    drawn = draw_result(picture(60, 40), result(ids=ids), PALETTE, mask_opacity=1.0)
    assert (drawn == GREEN).all()


def test_instances_take_the_colour_of_their_class() -> None:
    instances = np.zeros((100, 200), np.uint16)
    instances[60:80, 20:60], instances[60:80, 120:160] = 1, 2
    found = detections((10, 50, 70, 90), (110, 50, 170, 90))
    drawn = draw_result(
        picture(200, 100), result(found, instances=instances), PALETTE, mask_opacity=1.0
    )
    assert tuple(drawn[70, 40]) == RED
    assert drawn[70, 140, 1] > 150 and drawn[70, 140, 0] == 0, 'green, a little darker'
    assert tuple(drawn[55, 40]) == (GREY,) * 3


def test_wide_images_are_drawn_smaller() -> None:
    found = detections((400, 320, 1200, 960))
    ids = np.zeros((1200, 1600), np.uint8)
    drawn = draw_result(picture(1600, 1200), result(found, ids), PALETTE, max_width_px=400)
    assert drawn.shape == (300, 400, 3)
    assert tuple(drawn[160, 100]) == RED and tuple(drawn[160, 200]) == (GREY,) * 3
    assert draw_result(picture(300, 200), result(), PALETTE, max_width_px=400).shape[1] == 300


def test_legend_names_what_is_in_view() -> None:
    ids = np.zeros((240, 320), np.uint8)
    assert (draw_result(picture(320, 240), result(ids=ids), PALETTE, legend=True) == GREY).all()
    ids[:, 160:] = 2
    drawn = draw_result(picture(320, 240), result(ids=ids), PALETTE, mask_opacity=0, legend=True)
    corner = drawn[120:, :100].reshape(-1, 3)
    assert (corner == BLUE).all(axis=1).any() and not (corner == GREEN).all(axis=1).any()


def test_several_models_in_one_picture() -> None:
    ids = np.ones((100, 200), np.uint8)
    masks, boxes = result(ids=ids), result(detections((50, 20, 150, 80)))
    drawn = draw_results(picture(200, 100), [(boxes, PALETTE), (masks, PALETTE)], mask_opacity=1.0)
    assert tuple(drawn[50, 50]) == RED, 'boxes lie above masks, whatever the order'
    assert tuple(drawn[50, 100]) == GREEN
