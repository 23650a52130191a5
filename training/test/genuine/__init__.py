"""
Exports of models that permissively licensed libraries made, with random weights, kept tiny.

`cases` has them all. Where no such library exists, `published` has a network of our own with the
outputs that are documented. `python -m genuine`, in training/test, prints what docs/bundles.md
says about them.
"""

from faster_coco_eval import init_as_pycocotools

init_as_pycocotools()  # yolox imports that package for its own training
