"""Pictures and labelled data as bags: what is known of them is in the bag, and nothing else."""

from __future__ import annotations

from hashlib import sha256
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.bags import messages
from perception_ros.bags.bag import Bag, open_bag, TF_STATIC
from perception_ros.bags.frames import camera_topics, frames
from perception_ros.bags.labelled import BOXES, LabelledBag
from perception_ros.bags.messages import Box3D
from perception_ros.core.errors import BagError, DatasetError, ImageError
from perception_ros.core.poses import Matrix
from perception_ros.recording import record, RecordOptions
from test.builders import picture
from test.bundles.shared import shared
from test.evaluation.data import write_masks

QUICK = RecordOptions(frames=3)


def made(reference: str, folder: Path, options: RecordOptions = QUICK) -> Path:
    target = folder / 'made.mcap'
    record(reference, target, options)
    with open_bag(target) as bag:
        list(bag.messages())
        assert bag.problems == []
    return target


def decoded(bag: Bag, topic: str) -> list[Any]:
    return [bag.decode(message) for message in bag.messages([topic])]


def topics(path: Path) -> dict[str, str]:
    with open_bag(path) as bag:
        return {name: topic.types[0].replace('/msg/', '/') for name, topic in bag.topics.items()}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number, suffix in ((1, 'png'), (2, 'jpg'), (10, 'bmp')):
        rgb = picture(60 + number, 40, red=(0, 0, 8, 8))
        assert cv2.imwrite(str(folder / f'frame{number}.{suffix}'), rgb[..., ::-1])
    return folder


class TestPictures:

    def test_files_are_in_the_bag_as_they_are(self, tmp_path: Path, pictures: Path) -> None:
        path = made(f'images:{pictures}', tmp_path)
        with open_bag(path) as bag:
            found = decoded(bag, '/camera/image_raw/compressed')
            infos = decoded(bag, '/camera/camera_info')
        assert found[0].data.tobytes() == (pictures / 'frame1.png').read_bytes()
        assert found[1].data.tobytes() == (pictures / 'frame2.jpg').read_bytes()
        assert [item.format.split()[1] for item in found] == ['png', 'jpeg', 'jpeg']
        assert [(info.width, info.height) for info in infos] == [(61, 40), (62, 40), (70, 40)]
        stamps = [messages.stamp_ns(item.header) for item in found]
        assert stamps == [1_000_000_000, 1_100_000_000, 1_200_000_000]
        assert {item.header.frame_id for item in found} == {'camera_optical_frame'}

    def test_a_camera_without_calibration_is_said_to_have_none(
        self, tmp_path: Path, pictures: Path
    ) -> None:
        with open_bag(made(f'images:{pictures}', tmp_path)) as bag:
            assert not any(info.k.any() for info in decoded(bag, '/camera/camera_info'))

    def test_a_field_of_view_may_be_given(self, tmp_path: Path, pictures: Path) -> None:
        options = RecordOptions(horizontal_fov_deg=90)
        with open_bag(made(f'images:{pictures}', tmp_path, options)) as bag:
            info = decoded(bag, '/camera/camera_info')[0]
        assert np.allclose(info.k, [30.5, 0, 30, 0, 30.5, 19.5, 0, 0, 1])

    def test_raw_images_are_the_decoded_ones(self, tmp_path: Path, pictures: Path) -> None:
        options = RecordOptions(
            transport='raw', camera='front', rate_hz=4, start_ns=7_000_000_000, frames=2
        )
        with open_bag(made(f'images:{pictures}', tmp_path, options)) as bag:
            assert camera_topics(bag) == {'front': '/front/image_raw'}
            found = list(frames(bag, camera_topics(bag)))
        assert [frame.stamp_ns for frame in found] == [7_000_000_000, 7_250_000_000]
        assert np.array_equal(found[0].image.rgb(), picture(61, 40, red=(0, 0, 8, 8)))

    def test_a_video_has_its_own_rate(self, tmp_path: Path) -> None:
        path = tmp_path / 'drive.mp4'
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 20.0, (64, 48))
        for value in (10, 90, 200):
            writer.write(np.full((48, 64, 3), value, np.uint8))
        writer.release()
        with open_bag(made(f'video:{path}', tmp_path)) as bag:
            found = list(frames(bag, camera_topics(bag)))
        assert [frame.stamp_ns for frame in found] == [
            1_000_000_000, 1_050_000_000, 1_100_000_000]
        means = [float(frame.image.rgb().mean()) for frame in found]
        assert np.allclose(means, [10, 90, 200], atol=4)


@pytest.mark.parametrize(('reference', 'error', 'said'), [
    ('pictures', BagError, 'expected KIND:PATH'),
    ('tape:pictures', BagError, 'a kind of images, video, camvid, kitti, nuscenes'),
    ('images:gone', BagError, 'there is no'),
    ('images:.', ImageError, 'no pictures in'),
    ('images:notes.txt', ImageError, 'notes.txt: expected a folder of pictures'),
    ('video:notes.txt', ImageError, 'no video'),
    ('camvid:.', DatasetError, 'expected a folder'),
    ('kitti:.', DatasetError, 'expected a folder image_2'),
    ('nuscenes:.', DatasetError, 'expected a readable JSON file'),
    ('nuscenes:notes.json', DatasetError, "samples of nuScenes .* KeyError: 'metainfo'"),
])
def test_what_cannot_be_recorded_is_said_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes.txt').write_text('no video')
    (tmp_path / 'notes.json').write_text('{}')
    with pytest.raises(error, match=said):
        record(reference, tmp_path / 'made.mcap', QUICK)
    assert not (tmp_path / 'made.mcap').exists()


@pytest.mark.parametrize(('options', 'said'), [
    ({'camera': 'front left'}, "camera 'front left'"), ({'head': ''}, 'head'),
    ({'transport': 'pigeon'}, 'raw or compressed'), ({'horizontal_fov_deg': 200}, 'less than 180'),
])
def test_options_are_checked_first(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BagError, match=said):
        RecordOptions(**options)


class TestCamVid:

    def test_ids_and_names_are_those_of_evaluation(self, tmp_path: Path) -> None:
        ids = np.zeros((48, 64), np.uint8)
        ids[:9], ids[9:20] = 2, 1  # void comes first here
        root = write_masks(
            tmp_path / 'data', {'a': picture()}, {'a': ids}, ['road', 'void', 'car']
        )
        path = made(f'camvid:{root}', tmp_path)
        assert topics(path) == {
            '/camera/image_raw/compressed': 'sensor_msgs/CompressedImage',
            '/camera/camera_info': 'sensor_msgs/CameraInfo',
            '/camera/ground_truth/semantic/scene': 'sensor_msgs/Image',
            '/camera/ground_truth/semantic/scene/label_info': 'vision_msgs/LabelInfo',
        }
        with LabelledBag(path) as bag:
            assert (bag.kinds, bag.classes('semantic/scene')) == (
                ('semantic/scene',), ('road', 'car'))
            found = bag.label_map(bag.frames[0], 'semantic/scene')
        assert (found[0, 0], found[10, 0], found[30, 0]) == (1, 255, 0)

    def test_the_real_ones(self, tmp_path: Path) -> None:
        root = shared('camvid')
        path = made(f'camvid:{root}@val', tmp_path)
        with LabelledBag(path) as bag:
            assert len(bag.frames) == 3 and bag.classes('semantic/scene')[3] == 'road'
            assert bag.frames[1].stamp_ns - bag.frames[0].stamp_ns == 66_666_667
            ids = bag.label_map(bag.frames[2], 'semantic/scene')
        label = sorted((root / 'val' / 'labels').glob('*.png'))[2]
        stored = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(ids, np.where(stored == 11, 255, stored))


def corners(box: Box3D) -> NDArray[np.float64]:
    """Return the corners of a box, [4, 8] homogeneous, in the frame that it is given in."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]).T
    own = np.vstack([signs * np.array(box.size_m)[:, None] / 2, np.ones(8)])
    return box.pose @ own


def extent(points: NDArray[np.float64], matrix: Matrix, size: tuple[int, int]) -> list[float]:
    """Return the box [4] around points [4, n] in an image, within the image."""
    seen = matrix @ points[:3]
    x, y = np.clip(seen[:2] / seen[2], 0, np.array(size)[:, None])
    return [x.min(), y.min(), x.max(), y.max()]


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inner / (both - inner)


@pytest.fixture(scope='module')
def kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(f'kitti:{shared("kitti_sample")}', tmp_path_factory.mktemp('kitti'))


@pytest.fixture(scope='module')
def nuscenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(f'nuscenes:{shared("nuscenes_sample")}', tmp_path_factory.mktemp('nuscenes'))


class TestKitti:

    def test_what_is_in_the_bag(self, kitti: Path) -> None:
        assert topics(kitti) == {
            '/camera/image_raw/compressed': 'sensor_msgs/CompressedImage',
            '/camera/camera_info': 'sensor_msgs/CameraInfo',
            '/camera/ground_truth/detections': 'vision_msgs/Detection2DArray',
            '/camera/ground_truth/detections/label_info': 'vision_msgs/LabelInfo',
            '/ground_truth/detections_3d': 'vision_msgs/Detection3DArray',
            '/tf': 'tf2_msgs/TFMessage',
            '/velodyne/points': 'sensor_msgs/PointCloud2',
        }
        with LabelledBag(kitti) as bag:
            boxes, names, distances_m = bag.boxes(bag.frames[1])
            assert bag.classes(BOXES)[0] == 'Car' and len(bag.classes(BOXES)) == 8
        assert names == ['Truck', 'Car', 'Cyclist', None, None, None, None]
        assert np.allclose(boxes[0], [599.41, 156.40, 629.75, 189.25])
        # The file says 69.44 m ahead, 0.49 m to the right, in the frame of another camera.
        assert distances_m[0] == pytest.approx(69.4, abs=0.1)
        assert np.isnan(distances_m[3:]).all(), 'nobody knows where regions are'
        with open_bag(kitti) as bag:
            points = messages.points_of(decoded(bag, '/velodyne/points')[0])
        stored = np.fromfile(shared('kitti_sample') / 'velodyne' / '000000.bin', '<f4')
        assert np.array_equal(points['z'], stored[2::4]) and len(points) == 115_384

    def test_boxes_in_space_project_onto_those_in_the_image(self, kitti: Path) -> None:
        with open_bag(kitti) as bag:
            infos = decoded(bag, '/camera/camera_info')
            flat = decoded(bag, '/camera/ground_truth/detections')
            solid = decoded(bag, '/ground_truth/detections_3d')
        overlaps = []
        for info, message, boxes in zip(infos, flat, solid, strict=True):
            assert boxes.header.frame_id == 'camera_optical_frame'
            for box, flat_box in zip(
                messages.boxes_3d_of(boxes), messages.boxes_of(message)[0], strict=False
            ):
                seen = extent(corners(box), info.k.reshape(3, 3), (info.width, info.height))
                overlaps.append(iou(seen, flat_box.tolist()))
                assert np.isclose(np.linalg.det(box.pose[:3, :3]), 1)
        assert len(overlaps) == 6 and min(overlaps) > 0.85, overlaps

    def test_points_of_an_object_lie_in_its_box(self, kitti: Path) -> None:
        """By way of the frames in /tf alone, and never by KITTI's own calibration."""
        with open_bag(kitti) as bag:
            points = messages.points_of(decoded(bag, '/velodyne/points')[0])
            box = messages.boxes_3d_of(decoded(bag, '/ground_truth/detections_3d')[0])[0]
            mounted = {
                tf.child_frame_id: messages.matrix_of(tf.transform)
                for tf in decoded(bag, '/tf')[0].transforms
            }
        assert set(mounted) == {'velodyne', 'camera_optical_frame'}
        assert np.allclose(mounted['velodyne'][:3, 3], [0.81, -0.31, 0.80], atol=0.01)
        cloud = np.stack([points['x'], points['y'], points['z'], np.ones(len(points))])
        to_box = np.linalg.inv(box.pose) @ np.linalg.inv(mounted['camera_optical_frame'])
        inside = (np.abs((to_box @ cloud)[:3]) <= np.array(box.size_m)[:, None] / 2).all(axis=0)
        assert inside.sum() > 300, 'a pedestrian at 8 m'

    @pytest.mark.parametrize(('name', 'text', 'said'), [
        ('calib', 'P2: 1 2 3', 'expected the calibration of a KITTI image'),
        ('calib', '', "KeyError: 'P2'"),
        ('calib', f'P2: {"0 " * 12}', 'Singular matrix'),
        ('velodyne', 'xyz', 'no multiple'),
    ])
    def test_damaged_files_are_named(
        self, tmp_path: Path, name: str, text: str, said: str
    ) -> None:
        root = tmp_path / 'kitti'
        for part in ('image_2', 'label_2', 'calib', 'velodyne'):
            (root / part).mkdir(parents=True)
        good = (shared('kitti_sample') / 'calib' / '000000.txt').read_text()
        assert cv2.imwrite(str(root / 'image_2' / 'a.png'), picture())
        (root / 'label_2' / 'a.txt').write_text('')
        (root / 'calib' / 'a.txt').write_text(text if name == 'calib' else good)
        (root / 'velodyne' / 'a.bin').write_text(text)
        with pytest.raises(DatasetError, match=said):
            record(f'kitti:{root}', tmp_path / 'made.mcap', QUICK)


class TestNuScenes:

    def test_a_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        shutil.copytree(shared('nuscenes_sample'), tmp_path / 'sample')
        (tmp_path / 'sample' / 'LIDAR_TOP.bin').unlink()
        with pytest.raises(DatasetError, match='LIDAR_TOP.bin: expected a file of points; No'):
            record(f'nuscenes:{tmp_path / "sample"}', tmp_path / 'made.mcap', QUICK)

    def test_what_is_in_the_bag(self, nuscenes: Path) -> None:
        found = topics(nuscenes)
        cameras = [name.split('/')[1] for name in found if name.endswith('/camera_info')]
        assert len(cameras) == 6 and len(found) == 4 * 6 + 4
        with LabelledBag(nuscenes) as bag:
            counts = {frame.camera: len(bag.boxes(frame)[0]) for frame in bag.frames}
            assert 'pedestrian' in bag.classes(BOXES) and len(bag.classes(BOXES)) == 10
        assert counts['CAM_FRONT'] == 47 and sum(counts.values()) == 84
        with open_bag(nuscenes) as bag:
            boxes = messages.boxes_3d_of(decoded(bag, '/ground_truth/detections_3d')[0])
            points = messages.points_of(decoded(bag, '/LIDAR_TOP/points')[0])
            static = decoded(bag, TF_STATIC)[0].transforms
            stamps = [m.time_ns for m in bag.messages()]
        assert len(boxes) == 69 and len(points) == 34_688
        assert points['ring'].max() == 31 and points['ring'].dtype == np.uint16
        assert {tf.header.frame_id for tf in static} == {'base_link'}
        assert stamps == sorted(stamps) and stamps[0] == 1_532_402_927_604_844_000

    @pytest.mark.parametrize('camera', ['CAM_FRONT', 'CAM_BACK', 'CAM_FRONT_RIGHT'])
    def test_boxes_in_space_project_onto_those_in_the_image(
        self, nuscenes: Path, camera: str
    ) -> None:
        """From the LiDAR by way of the world, where the vehicle has moved in between."""
        with open_bag(nuscenes) as bag:
            mounted = {
                tf.child_frame_id: messages.matrix_of(tf.transform)
                for tf in decoded(bag, TF_STATIC)[0].transforms
            }
            poses = {
                messages.stamp_ns(tf.header): messages.matrix_of(tf.transform)
                for item in decoded(bag, '/tf') for tf in item.transforms
            }
            flat = decoded(bag, f'/{camera}/ground_truth/detections')[0]
            solid = decoded(bag, '/ground_truth/detections_3d')[0]
            info = decoded(bag, f'/{camera}/camera_info')[0]
        lidar = poses[messages.stamp_ns(solid.header)] @ mounted['LIDAR_TOP']
        eye = poses[messages.stamp_ns(flat.header)] @ mounted[f'{camera}_optical_frame']
        to_camera = np.linalg.inv(eye) @ lidar
        size = (info.width, info.height)
        seen = []
        for box in messages.boxes_3d_of(solid):
            points = to_camera @ corners(box)
            if points[2].min() > 0.1:
                seen.append((box.name, extent(points, info.k.reshape(3, 3), size)))
        found, names = messages.boxes_of(flat)
        for flat_box, name in zip(found.tolist(), names, strict=True):
            best = max((iou(box, flat_box) for other, box in seen if other == name), default=0)
            assert best > 0.9 or _is_cut(flat_box, size), (name, flat_box, best)


def _is_cut(box: list[float], size: tuple[int, int]) -> bool:
    """Return whether a box ends at the border: there corners behind the camera count too."""
    return min(box[:2]) <= 1 or box[2] >= size[0] - 1 or box[3] >= size[1] - 1


@pytest.mark.parametrize('reference', [
    'camvid:camvid@val', 'kitti:kitti_sample', 'nuscenes:nuscenes_sample', 'images:bdd_frames',
])
def test_the_same_data_give_the_same_bytes(tmp_path: Path, reference: str) -> None:
    kind, _, name = reference.partition(':')
    root = shared(name.partition('@')[0]).parent
    digests = set()
    for folder in ('a', 'b'):
        record(f'{kind}:{root / name}', tmp_path / folder / 'made.mcap', QUICK)
        digests.add(sha256((tmp_path / folder / 'made.mcap').read_bytes()).hexdigest())
    assert len(digests) == 1


def test_boxes_of_coco_and_yolo_come_into_a_bag(tmp_path: Path) -> None:
    """Crowds become regions of which nothing is known; YOLO's classes are named by the user."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    pixels = np.zeros((48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'images' / 'a.png'), pixels)
    (tmp_path / 'labels' / 'a.txt').write_text('1 0.5 0.5 0.25 0.5\n')
    (tmp_path / 'labels.json').write_text(json.dumps({
        'images': [{'id': 7, 'file_name': 'a.png', 'width': 64, 'height': 48}],
        'categories': [{'id': 3, 'name': 'bus'}],
        'annotations': [
            {'id': 1, 'image_id': 7, 'category_id': 3, 'bbox': [24, 12, 16, 24], 'iscrowd': 0},
            {'id': 2, 'image_id': 7, 'category_id': 3, 'bbox': [0, 0, 8, 8], 'iscrowd': 1},
        ],
    }))
    expected = {'coco': ['bus', None], 'yolo': ['bus']}
    options = RecordOptions(labels=('car', 'bus'))
    for kind, names in expected.items():
        source = tmp_path / 'labels.json' if kind == 'coco' else tmp_path
        record(f'{kind}:{source}', tmp_path / f'{kind}.mcap', options)
        with LabelledBag(tmp_path / f'{kind}.mcap') as bag:
            boxes, said, *_ = bag.boxes(bag.frames[0])
            assert said == names
            assert boxes[0].tolist() == [24, 12, 40, 36]
