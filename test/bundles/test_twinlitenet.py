"""The imported TwinLiteNet against the original graph: masks equal at every batch size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest

from test.bundles.shared import shared, twinlitenet

HEADS = {'semantic_drivable': 'da', 'semantic_lane': 'll'}


def pictures(folder: Path, count: int) -> np.ndarray:
    """Return frames of the model's own 16:9, as uint8 [count, 360, 640, 3] RGB."""
    paths = sorted(folder.glob('*.jpg'))[:count]
    return np.stack([
        cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (640, 360)), cv2.COLOR_BGR2RGB)
        for path in paths
    ])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_masks_are_the_original_s() -> None:
    images = pictures(shared('bdd_frames'), 5)
    bundle = twinlitenet()
    assert {head: [item.name for item in info.classes]
            for head, info in bundle.manifest.semantic.items()} == {
        'drivable': ['background', 'drivable'], 'lane': ['background', 'lane']}
    original = ort.InferenceSession(
        str(shared('models', 'twinlitenet.onnx')), providers=['CPUExecutionProvider'])
    imported = ort.InferenceSession(str(bundle.graph_path), providers=['CPUExecutionProvider'])
    tensors = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / 255
    expected = [original.run(list(HEADS.values()), {'images': tensor[None]}) for tensor in tensors]
    for batch in (1, 2, 5):
        got = imported.run(list(HEADS), {'images': images[:batch]})
        for i in range(batch):
            for mask, logits in zip(got, expected[i], strict=True):
                assert mask.dtype == np.uint8
                # Two logits may tie in their last bit; not more than a few do.
                assert (mask[i] != logits[0].argmax(0)).mean() < 1e-4
    assert (got[0] == 1).mean() > 0.05, 'there is road in these pictures'
