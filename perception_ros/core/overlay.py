"""Draws what a model says into the picture, for people: boxes with labels, and coloured masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.manifest import Manifest
from perception_ros.core.types import Detections, InstanceMasks, Result, SemanticMask

Pixels = NDArray[np.uint8]
Ids = NDArray[np.uint8] | NDArray[np.uint16]
Color = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_DUPLEX
_INK_DARK, _INK_LIGHT = (18, 18, 18), (255, 255, 255)
_HALO = (24, 24, 24)
_LEGEND_SHARE = 0.002
"""Classes that cover less of the picture do not appear in the legend."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a model's classes, red, green, blue.

    A class whose colour is black says "nothing here" (background, void) and is not painted.
    """

    boxes: tuple[Color, ...]
    semantic: Mapping[str, tuple[Color, ...]]

    @classmethod
    def of(cls, manifest: Manifest) -> Palette:
        """Return the colours that a bundle declares."""
        detection = manifest.detection
        return cls(
            tuple(item.color for item in detection.classes) if detection else (),
            {
                head: tuple(item.color for item in info.classes)
                for head, info in manifest.semantic.items()
            },
        )


def draw_results(
    rgb: Pixels,
    results: Sequence[tuple[Result, Palette]],
    *,
    mask_opacity: float = 0.45,
    max_width_px: int = 0,
    legend: bool = False,
) -> Pixels:
    """Return a new picture with all that the results of one frame hold drawn in.

    :param rgb: the source image, uint8 [H, W, 3]; not changed.
    :param results: of one model or of several; all masks lie below all boxes.
    :param mask_opacity: 0 leaves masks out but for their borders, 1 hides the image.
    :param max_width_px: a wider image is scaled down to this before it is drawn on; 0: never.
    :param legend: whether the semantic classes in view are named in a corner.
    """
    picture = _scaled(rgb, max_width_px)
    scale = picture.shape[1] / rgb.shape[1]
    for result, palette in results:
        for head, mask in result.semantic.items():
            draw_semantic(picture, mask, palette.semantic[head], mask_opacity)
    for result, palette in results:
        if result.detections is not None and result.instances is not None:
            draw_instances(
                picture, result.instances, result.detections, palette.boxes, mask_opacity
            )
    for result, palette in results:
        if result.detections is not None:
            draw_detections(picture, result.detections, palette.boxes, scale)
    if legend:
        semantic = {head: mask for result, _ in results for head, mask in result.semantic.items()}
        colors = {head: rgbs for _, palette in results for head, rgbs in palette.semantic.items()}
        draw_legend(picture, semantic, colors)
    return picture


def draw_result(
    rgb: Pixels,
    result: Result,
    palette: Palette,
    *,
    mask_opacity: float = 0.45,
    max_width_px: int = 0,
    legend: bool = False,
) -> Pixels:
    """Draw what one model says; otherwise as `draw_results`."""
    return draw_results(
        rgb,
        [(result, palette)],
        mask_opacity=mask_opacity,
        max_width_px=max_width_px,
        legend=legend,
    )


def draw_semantic(
    picture: Pixels, mask: SemanticMask, colors: tuple[Color, ...], opacity: float
) -> None:
    """Tint `picture` [H, W, 3] in place with the classes of a mask of any size."""
    ids = _nearest(mask.class_ids, picture)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    _tint(picture, ids, table, opacity)


def draw_instances(
    picture: Pixels,
    instances: InstanceMasks,
    detections: Detections,
    colors: tuple[Color, ...],
    opacity: float,
) -> None:
    """Tint `picture` [H, W, 3] in place with instances, each in the colour of its class."""
    table = np.zeros((len(detections) + 1, 3), np.uint8)
    for index, label in enumerate(detections.labels):
        # Neighbours of one class alternate in brightness, so that they can be told apart.
        table[index + 1] = np.asarray(colors[label]) * (1.0, 0.72, 0.86)[index % 3]
    _tint(picture, _nearest(instances.indices, picture), table, opacity)


def draw_detections(
    picture: Pixels,
    detections: Detections,
    colors: tuple[Color, ...],
    scale: float = 1.0,
    *,
    scores: bool = True,
) -> None:
    """Draw boxes with class and score into `picture` [H, W, 3] in place.

    :param scale: pixels of the picture per pixel of the detections.
    :param scores: whether they are written; the truth has none.
    """
    height, width = picture.shape[:2]
    thickness = max(2, round(width / 640))
    # OpenCV counts from pixel centres, we from their corners.
    corners = np.rint(detections.boxes * scale - 0.5).astype(int)
    corners = corners.clip(0, [width - 1, height - 1] * 2)
    for index in reversed(range(len(detections))):  # the best one comes out on top
        x1, y1, x2, y2 = (int(side) for side in corners[index])
        color = colors[detections.labels[index]]
        cv2.rectangle(picture, (x1, y1), (x2, y2), _HALO, thickness + 2)
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, thickness)
    for index in reversed(range(len(detections))):  # no line crosses a label
        x1, y1, _, y2 = (int(side) for side in corners[index])
        label = int(detections.labels[index])
        text = detections.class_names[label]
        if scores:
            text += f' {detections.scores[index]:.2f}'
        _chip(picture, text, x1 - thickness // 2, y1, y2, colors[label])


def draw_legend(
    picture: Pixels,
    semantic: Mapping[str, SemanticMask],
    colors: Mapping[str, tuple[Color, ...]],
) -> None:
    """Name the semantic classes in view, in the lower left corner of `picture`, in place."""
    entries: dict[str, Color] = {}
    for head, mask in semantic.items():
        shares = np.bincount(mask.class_ids.reshape(-1), minlength=256) / mask.class_ids.size
        for name, color, share in zip(mask.class_names, colors[head], shares, strict=False):
            if any(color) and share >= _LEGEND_SHARE:
                entries[name] = color
    if not entries:
        return
    size, line = _font(picture)
    step, swatch = line + line // 2, line
    widest = max(cv2.getTextSize(name, _FONT, size, 1)[0][0] for name in entries)
    margin = line
    bottom = picture.shape[0] - margin
    top = max(bottom - step * len(entries) - line, 0)
    right = min(margin + swatch + widest + 3 * (line // 2) + line // 2, picture.shape[1])
    window = picture[top:bottom, margin:right]
    window[...] = window // 4 + 12
    for row, (name, color) in enumerate(entries.items()):
        y = top + line // 2 + row * step
        x = margin + line // 2
        cv2.rectangle(picture, (x, y + line // 4), (x + swatch, y + line // 4 + swatch), color, -1)
        at = (x + swatch + line // 2, y + line // 4 + swatch - 1)
        cv2.putText(picture, name, at, _FONT, size, _INK_LIGHT, 1, cv2.LINE_AA)


def _scaled(rgb: Pixels, max_width_px: int) -> Pixels:
    height, width = rgb.shape[:2]
    if not 0 < max_width_px < width:
        return rgb.copy()
    size = (max_width_px, max(round(height * max_width_px / width), 1))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _nearest(ids: Ids, picture: Pixels) -> Ids:
    """Return a mask at the picture's size; ids cannot be averaged."""
    size = (picture.shape[1], picture.shape[0])
    if ids.shape[1::-1] == size:
        return ids
    resized: Ids = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)  # type: ignore[assignment]
    return resized


def _tint(picture: Pixels, ids: Ids, table: Pixels, opacity: float) -> None:
    """Blend each pixel with the colour of its id, and draw where one id ends in full colour."""
    painted_ids = np.asarray(table.any(axis=1), np.uint8)
    if len(table) == 256 and ids.dtype == np.uint8:  # in one pass of OpenCV, ten times as fast
        colors = np.asarray(cv2.applyColorMap(ids, table[:, None]), np.uint8)
        painted = np.asarray(cv2.LUT(ids, painted_ids), np.uint8)
    else:
        colors, painted = np.take(table, ids, axis=0), np.take(painted_ids, ids)
    blended = cv2.addWeighted(picture, 1 - opacity, colors, opacity, 0)
    cv2.copyTo(blended, painted, picture)
    border = np.asarray(cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    cv2.copyTo(colors, painted & (border > 0), picture)


def _font(picture: Pixels) -> tuple[float, int]:
    """Return the font's scale for a picture, and the height of a line in pixels."""
    size = float(np.clip(picture.shape[1] / 2600, 0.36, 1.2))
    return size, cv2.getTextSize('Ag', _FONT, size, 1)[0][1]


def _chip(picture: Pixels, text: str, x: int, y1: int, y2: int, color: Color) -> None:
    """Write text on a small coloured plate above a box, or inside where there is no room."""
    size, line = _font(picture)
    (text_width, _), _ = cv2.getTextSize(text, _FONT, size, 1)
    pad = max(line // 3, 2)
    plate_width, plate_height = text_width + 2 * pad, line + 2 * pad
    x = max(min(x, picture.shape[1] - plate_width), 0)
    top = y1 - plate_height if y1 >= plate_height else min(y1, y2)
    cv2.rectangle(picture, (x, top), (x + plate_width, top + plate_height), color, -1)
    # Rec. 601 luma decides which ink can be read on the plate.
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = _INK_DARK if luma > 120 else _INK_LIGHT
    at = (x + pad, top + pad + line - 1)
    cv2.putText(picture, text, at, _FONT, size, ink, 1, cv2.LINE_AA)
