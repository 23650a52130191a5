"""From the engine's outputs to results in the camera's own pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
import struct
import threading
from typing import Any

import cv2
import numpy as np
import pytest

from perception_ros.backends.fake import FakeEngine
from perception_ros.core.errors import ConfigError, ImageError
from perception_ros.core.ignore import IgnoreMask
from perception_ros.core.image import Image
from perception_ros.core.model import Model
from perception_ros.core.types import Frame
from test.builders import fake_bundle, frame, picture


def model(**options: Any) -> Model:
    bundle = fake_bundle()
    return Model('fake', bundle.manifest, FakeEngine(bundle, max_batch=4), **options)


@pytest.mark.parametrize('size', [(96, 64), (640, 480), (1280, 720), (300, 900), (50, 40)])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'jpeg', 'png', 'yuv422_yuy2'])
def test_boxes_and_masks_lie_on_what_they_mean(size: tuple[int, int], encoding: str) -> None:
    """Resolution x letterbox x encoding: the box of a drawn rectangle comes back onto it."""
    width, height = size
    box = (width // 5 * 2, height // 4, width // 5 * 4, height // 4 * 3)
    [result] = model().infer([frame_of(picture(width, height, green=box), encoding)])
    assert result.detections is not None
    [found] = result.detections.boxes
    # An input pixel either way: the rectangle's edge may lie anywhere within one.
    tolerance = max(width / 96, height / 64, 1) * 1.01
    np.testing.assert_allclose(found, box, atol=tolerance)
    assert result.detections.class_names[result.detections.labels[0]] == 'green'
    mask = result.semantic['ground'].class_ids
    assert mask.shape == (height, width)
    seen = mask == 1
    truth = np.zeros_like(seen)
    truth[box[1] : box[3], box[0] : box[2]] = True
    wrong = np.count_nonzero(seen != truth)
    outline = 2 * ((box[2] - box[0]) + (box[3] - box[1]))
    assert wrong <= outline * tolerance


EXIF_ORIENTATION = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'


def jpeg_of(pixels: np.ndarray, kind: str) -> Image:
    """Return a picture as a camera's file: 'baseline', 'progressive', 'grey' or 'turned'."""
    bgr = pixels[..., ::-1] if kind != 'grey' else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(kind == 'progressive')])[1]
    file = data.tobytes()
    if kind == 'turned':  # it asks to be shown on its side
        length = struct.pack('>H', len(EXIF_ORIENTATION) + 2)
        file = file[:2] + b'\xff\xe1' + length + EXIF_ORIENTATION + file[2:]
    return Image.compressed(file)


def centre_of(image: Image) -> np.ndarray:
    """Return where the one thing on a plain ground lies: x and y, in pixels."""
    rgb = image.rgb().astype(float)
    off = np.abs(rgb - rgb[0, 0]).sum(axis=2)
    off[off < 20] = 0
    y, x = np.mgrid[: image.height, : image.width] + 0.5
    return np.array([(x * off).sum(), (y * off).sum()]) / off.sum()


@pytest.mark.parametrize('kind', ['baseline', 'progressive', 'grey', 'turned'])
@pytest.mark.parametrize(
    ('size', 'factor'),
    [
        ((160, 108), 1), ((192, 128), 2), ((640, 480), 4), ((1280, 720), 8), ((1920, 1080), 8),
        ((1280, 724), 4), ((1278, 722), 2), ((1279, 719), 1),
    ],
    ids=str,
)
def test_a_file_that_is_decoded_small_lies_where_the_whole_one_does(
    size: tuple[int, int], factor: int, kind: str
) -> None:
    """A box would be off for every camera, and by little enough that nobody sees it."""
    width, height = size
    box = (width // 2 + 3, height // 2 + 5, width - width // 16, height - height // 16)
    image = jpeg_of(picture(width, height, green=box), kind)
    chosen = model()
    small, _ = chosen.decode(Frame('front', 1, 1, image))
    assert (small.width, small.height) == (width // factor, height // factor)
    drawn = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    np.testing.assert_allclose(centre_of(small) * factor, drawn, atol=0.5)
    if kind != 'grey':  # the fake engine looks for colours
        [result] = chosen.infer([Frame('front', 1, 1, image)])
        assert result.detections is not None
        input_pixel = max(width / 96, height / 64) * 1.01
        np.testing.assert_allclose(result.detections.boxes, [box], atol=input_pixel)


def test_models_that_look_at_a_camera_share_what_was_decoded() -> None:
    """To decode costs more than all else that the node does for an image."""
    image = jpeg_of(picture(1280, 720), 'baseline')
    shared = Frame('front', 1, 1, image)
    models = [model() for _ in range(4)]
    with ThreadPoolExecutor(len(models)) as threads:
        first, *others = threads.map(lambda each: each.decode(shared)[0], models)
    assert all(other is first for other in others)
    other_image = replace(shared, image=jpeg_of(picture(640, 480), 'baseline'))
    assert other_image.decoded((1, 1)).width == 80, 'what was kept is not of this image'


def test_what_a_model_sees_does_not_depend_on_who_came_first() -> None:
    """Else a recording would give other answers each time that two networks differ in size."""
    image = jpeg_of(picture(1280, 720, red=(300, 200, 900, 600)), 'baseline')
    sizes = [(640, 360), (320, 180), (160, 90)]
    upwards, downwards = Frame('front', 1, 1, image), Frame('front', 1, 1, image)
    seen = [upwards.decoded(size).rgb() for size in sizes[::-1]][::-1]
    for size, expected in zip(sizes, seen, strict=True):
        decoded = downwards.decoded(size)
        assert (decoded.width, decoded.height) == size
        np.testing.assert_array_equal(decoded.rgb(), expected)


def test_a_damaged_file_is_refused_to_every_model_that_asks() -> None:
    data = cv2.imencode('.jpg', picture())[1].tobytes()[:-40]
    damaged = Frame('front', 1, 1, Image.compressed(data))
    for _ in range(2):
        with pytest.raises(ImageError, match='no end-of-image marker'):
            damaged.decoded((96, 64))


def frame_of(pixels: np.ndarray, encoding: str) -> Frame:
    height, width = pixels.shape[:2]
    if encoding in ('jpeg', 'png'):
        data = cv2.imencode(f'.{encoding}', pixels[..., ::-1])[1].tobytes()
        image = Image.compressed(data, encoding)
    elif encoding == 'yuv422_yuy2':
        data = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_YUY2).tobytes()
        image = Image(data, encoding, width, height, 2 * width)
    else:
        codes = {'rgb8': None, 'bgr8': cv2.COLOR_RGB2BGR, 'rgba8': cv2.COLOR_RGB2RGBA}
        code = codes[encoding]
        data = pixels if code is None else cv2.cvtColor(pixels, code)
        image = Image(data.tobytes(), encoding, width, height, data.shape[2] * width)
    return Frame('front', 1, 1, image)


def test_masks_are_drawn_where_they_are_sent_from() -> None:
    """Else each is copied once more, behind its message's header."""
    [result] = model().infer([frame()])
    mask = result.semantic['ground']
    assert mask.canvas is not None
    assert np.shares_memory(mask.canvas.pixels, mask.class_ids)


def test_thresholds_are_per_camera_and_may_change() -> None:
    thresholds = {'front': 0.95, 'left': 0.2}
    chosen = model(score_threshold=lambda camera: thresholds[camera])
    pixels = picture(96, 64, red=(10, 10, 40, 40))
    frames = [frame('front', pixels=pixels), frame('left', pixels=pixels)]
    assert [len(r.detections or ()) for r in chosen.infer(frames)] == [0, 1]
    thresholds['front'] = 0.5
    assert [len(r.detections or ()) for r in chosen.infer(frames)] == [1, 1]


def test_padding_never_comes_out_even_at_threshold_zero() -> None:
    [result] = model(score_threshold=lambda camera: 0.0).infer([frame(pixels=picture())])
    assert result.detections is not None
    assert len(result.detections) == 0


def test_more_frames_than_a_batch_are_split_and_keep_their_order() -> None:
    boxes = [(4 + 3 * n, 8, 30 + 3 * n, 30) for n in range(10)]
    results = model().infer([frame(pixels=picture(96, 64, red=box)) for box in boxes])
    for result, box in zip(results, boxes, strict=True):
        assert result.detections is not None
        np.testing.assert_allclose(result.detections.boxes[0], box, atol=1.01)


def test_a_tool_is_told_of_an_image_that_cannot_be_decoded_and_may_go_on() -> None:
    chosen = model()
    data = cv2.imencode('.jpg', picture())[1].tobytes()[:-40]
    with pytest.raises(ImageError):
        chosen.infer([Frame('front', 1, 1, Image.compressed(data, 'jpeg'))])
    for _ in range(3):  # no slot was lost
        assert len(chosen.infer([frame()])) == 1


@pytest.fixture
def bonnet(tmp_path: Path) -> Path:
    """The lower half of the image is the vehicle itself, drawn at another size."""
    mask = np.zeros((32, 48), np.uint8)
    mask[16:] = 255
    path = tmp_path / 'bonnet.png'
    cv2.imwrite(str(path), mask)
    return path


@pytest.mark.parametrize(
    ('box', 'kept'),
    [((10, 50, 30, 62), 0), ((10, 2, 30, 14), 1), ((10, 10, 30, 44), 1), ((10, 26, 30, 62), 0)],
    ids=['on the bonnet', 'above it', 'mostly above', 'mostly on it'],
)
def test_what_lies_mostly_on_the_vehicle_is_not_published(
    bonnet: Path, box: tuple[int, int, int, int], kept: int
) -> None:
    chosen = model(ignore={'front': IgnoreMask(bonnet)})
    pixels = picture(96, 64, red=box)
    front, left = chosen.infer([frame('front', pixels=pixels), frame('left', pixels=pixels)])
    assert front.detections is not None
    assert left.detections is not None
    assert (len(front.detections), len(left.detections)) == (kept, 1)
    assert (front.semantic['ground'].class_ids[32:] == 255).all()
    assert (front.semantic['ground'].class_ids[:32] != 255).all()
    assert (left.semantic['ground'].class_ids != 255).all()


def test_an_ignore_mask_that_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'mask.png'
    path.write_text('no picture')
    with pytest.raises(ConfigError, match='expected an image file'):
        IgnoreMask(path)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('labels', -1),
        ('labels', 99),
        ('scores', np.inf),
        ('scores', np.nan),
        ('boxes', np.nan),
        ('boxes', np.inf),
    ],
)
def test_what_a_damaged_engine_says_costs_only_that_box(
    bonnet: Path, name: str, value: float
) -> None:
    """A label that does not exist must not become the last class, nor an error for all frames."""
    chosen = model(ignore={'front': IgnoreMask(bonnet)})
    pixels = picture(96, 64, red=(4, 4, 20, 20), blue=(60, 4, 80, 20))
    original = chosen.engine._run  # type: ignore[attr-defined]

    def damaged(images: Any) -> Any:
        outputs = original(images)
        outputs[name][0, 0] = value
        outputs['semantic_ground'][0, 0, 0] = 200
        return outputs

    chosen.engine._run = damaged  # type: ignore[attr-defined]
    [result] = chosen.infer([frame('front', pixels=pixels)])
    assert result.detections is not None
    assert [result.detections.class_names[i] for i in result.detections.labels] == ['blue']
    assert set(np.unique(result.semantic['ground'].class_ids)) <= {0, 1, 2, 3, 255}


@pytest.mark.parametrize('kind', ['files', 'raw'])
@pytest.mark.parametrize('cores', [2, 16])
def test_an_image_of_a_batch_that_is_damaged_costs_no_other_and_order_is_kept(
    kind: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are prepared side by side; what the engine gets has no gap."""
    monkeypatch.setattr('perception_ros.core.model.usable_cores', lambda: cores)
    images = []
    for grey in (10, 60, 110, 160):
        pixels = np.full((64, 96, 3), grey, np.uint8)
        if kind == 'files':
            images.append(Image.compressed(cv2.imencode('.png', pixels)[1].tobytes()))
        else:
            images.append(Image(pixels.tobytes(), 'bgr8', 96, 64, 288))
    images[1] = replace(images[1], data=bytes(images[1].data)[:50])
    images[3] = replace(images[3], data=b'\xff\xd8\xff')
    frames = [Frame(f'c{n}', n + 1, 1, image) for n, image in enumerate(images)]
    with FakeEngine(fake_bundle(), max_batch=4) as engine:
        request = engine.request()
        flight = Model('fake', fake_bundle().manifest, engine).prepare(request, frames)
        assert [int(image.max()) for image in request.images[:2, 32, 48]] == [10, 110]
        request.release()
    assert [frame.camera for frame in flight.frames] == ['c0', 'c2']
    assert [frame.camera for frame, _ in flight.failed] == ['c1', 'c3']
    assert len(flight.letterboxes) == 2


@pytest.mark.parametrize(
    ('cores', 'on_cpu', 'threads'), [(2, True, 1), (16, True, 2), (16, False, 1)]
)
def test_raw_images_are_letterboxed_at_once_where_cores_are_many(
    cores: int, on_cpu: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never where the slot is a GPU's, which belongs to one thread."""
    monkeypatch.setattr('perception_ros.core.model.usable_cores', lambda: cores)
    monkeypatch.setattr('perception_ros.core.parallel.usable_cores', lambda: cores)
    both, seen = threading.Barrier(threads), set()
    with FakeEngine(fake_bundle(), max_batch=4) as engine:
        request = engine.request()
        monkeypatch.setattr(type(request), 'letterboxes_on_cpu', on_cpu)

        def write(*_: object) -> None:
            seen.add(threading.get_ident())
            both.wait(timeout=10)  # breaks where fewer come at once

        monkeypatch.setattr(type(request), 'write', write)
        frames = [frame(name) for name in ('front', 'left')]
        flight = Model('fake', fake_bundle().manifest, engine).prepare(request, frames)
        request.release()
    assert not flight.failed
    assert len(seen) == threads and (threads > 1 or threading.get_ident() in seen)


@pytest.mark.parametrize('cores', [2, 16])
def test_an_image_that_cannot_be_letterboxed_leaves_no_gap(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.core.model.usable_cores', lambda: cores)
    frames = [frame(f'c{n}') for n in range(3)]
    with FakeEngine(fake_bundle(), max_batch=4) as engine:
        request = engine.request()
        written: dict[int, Image] = {}

        def write(_: object, index: int, image: Image, __: object) -> None:
            if image is frames[1].image:
                raise ImageError('out of luck')
            written[index] = image

        monkeypatch.setattr(type(request), 'write', write)
        flight = Model('fake', fake_bundle().manifest, engine).prepare(request, frames)
        request.release()
    assert [f.camera for f in flight.frames] == ['c0', 'c2']
    assert [(f.camera, str(error)) for f, error in flight.failed] == [('c1', 'out of luck')]
    assert written[0] is frames[0].image and written[1] is frames[2].image
