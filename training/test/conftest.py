"""What many tests need."""

from pathlib import Path

from builders import make_config
import pytest

from perception_training.config import Config

SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'data'


@pytest.fixture
def shared() -> Path:
    """Give the folder of shared data, or skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip('no ../shared: needs its data sets')
    return SHARED


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Give a small run."""
    return make_config(tmp_path)
