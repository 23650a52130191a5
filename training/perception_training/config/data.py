"""Which images a run sees, and how they are changed before it sees them."""

from pathlib import Path

from pydantic import Field

from perception_training.config.base import Settings
from perception_training.config.labels import HeadName
from perception_training.config.sources import SourceConfig


class TeachersConfig(Settings):
    """Foreign models that label what data sets do not, below data.root."""

    boxes: Path = Field(Path('models/yolox_nano.onnx'), description='YOLOX of 80 COCO classes')
    road: Path = Field(Path('models/twinlitenet.onnx'), description='TwinLiteNet')
    head: HeadName = Field('scene', description='semantic head that learns road and cars')
    weight: float = Field(0.5, ge=0, description='what a pixel counts that a teacher labelled')


class DataConfig(Settings):
    """Training and validation sets."""

    root: Path = Field(description='the folder with the data sets')
    train: tuple[SourceConfig, ...] = Field(min_length=1)
    val: tuple[SourceConfig, ...] = ()
    cache: Path | None = Field(
        None, description='folder for decoded images of sets with cache: true, which several runs '
        'may share; null: run_dir/cache')
    teachers: TeachersConfig = TeachersConfig()
    workers: int = Field(1, ge=0, description='processes of each rank that make batches')
    prefetch: int = Field(4, ge=1, description='batches that each worker makes ahead')


class EffectConfig(Settings):
    """How often and how much pixels change as by weather, light or movement."""

    probability: float = Field(0.0, ge=0, le=1, description='of an image')
    strength: float = Field(
        0.6, gt=0, le=1, description='greatest one; each image draws its own, from a third of it')


class AugmentConfig(Settings):
    """Random views of an image; scales are relative to the letterboxed test size."""

    width: int = Field(448, multiple_of=32, description='px of the view')
    height: int = Field(256, multiple_of=32, description='px of the view')
    scale_min: float = Field(0.45, gt=0, description='1 = as large as at test time')
    scale_max: float = Field(1.8, gt=0, description='1 = as large as at test time')
    flip: float = Field(0.5, ge=0, le=1, description='probability of a mirrored view')
    colour: float = Field(1.0, ge=0, description='strength of colour changes, 0 = none')
    noise: float = Field(0.0, ge=0, description='greatest standard deviation, in grey values')
    blur: float = Field(0.15, ge=0, le=1, description='probability of a slight blur')
    low_sun: EffectConfig = Field(EffectConfig(), description='glare and warm light')
    night: EffectConfig = Field(EffectConfig(), description='darkness, headlights, a noisy sensor')
    fog: EffectConfig = Field(EffectConfig(), description='air that hides what is far')
    rain: EffectConfig = Field(EffectConfig(), description='streaks and dull light')
    snow: EffectConfig = Field(EffectConfig(), description='flakes and pale air')
    motion_blur: EffectConfig = Field(EffectConfig(), description='of a camera that moves')
    mosaic: float = Field(0.0, ge=0, le=1, description='probability of four views in one')
