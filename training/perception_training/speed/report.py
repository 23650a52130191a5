"""What was measured of a run's speed: a file for machines, a table for people."""

from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.statistics import Spread

ENOUGH = 0.9
"""Share of the slower of pipeline and step that both together should reach on a GPU."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


class Variant(_Report):
    """A training step with one setting changed."""

    name: str
    images_per_s: Spread | None = Field(None, description='null: it does not run here')
    gain: Spread | None = Field(None, description='images/s over those of `plain`, by rounds')
    problem: str | None = Field(None, description='why it does not run here')


class SpeedReport(_Report):
    """`benchmark.json`; speeds are images/s of one process, a sample a round."""

    environment: Environment
    torch: str
    device: str = Field(description='where steps ran')
    model: str
    batch: int
    accumulate: int
    width: int = Field(description='of a view, px')
    height: int = Field(description='of a view, px')
    workers: int
    precision: str
    channels_last: bool
    compile: bool
    rounds: int
    seconds: float = Field(description='of a turn, at least')
    pipeline: Spread = Field(description='batches made by the workers, and nothing else')
    step: Spread = Field(description='training on one batch that lies on the device')
    both: Spread = Field(description='training on what the workers make')
    together: Spread = Field(description='both over the slower of pipeline and step, by rounds')
    images: int = Field(description='of the training sets')
    epoch_minutes: float = Field(description='as many images as the sets have, at `both`')
    variants: tuple[Variant, ...]

    @property
    def machine(self) -> str:
        """Say on what it was measured."""
        here = self.environment
        gpus = ', '.join(here.gpus) or 'no GPU'
        return (f'{here.cpu}, {here.cores} cores, {gpus}; steps on {self.device}; torch '
                f'{self.torch}, Python {here.python}; load before {here.load_average:g}')

    @property
    def verdict(self) -> str:
        """Say in a sentence what holds the run up."""
        share = f'{self.together.median:.2f} of the slower of the two'
        slower = 'data' if self.pipeline.median < self.step.median else 'steps'
        text = f'both together reach {share}; {slower} are what it waits for'
        if not self.device.startswith('cuda'):
            return f'{text}. Workers and steps share the cores here.'
        met = 'met' if self.together.median >= ENOUGH else 'MISSED'
        return f'{text}. At least {ENOUGH} is {met}.'

    def tables(self) -> tuple[Table, Table]:
        """Give what was measured: the run as it is configured, and one setting at a time."""
        whole = Table('images/s', 'median', '8 of 10 rounds', box=SIMPLE_HEAD, pad_edge=False)
        for name, spread in (
            (f'input pipeline alone, data.workers={self.workers}', self.pipeline),
            (f'training step alone, fit.batch={self.batch}', self.step),
            ('both together', self.both),
        ):
            whole.add_row(name, f'{spread.median:.1f}', f'{spread.p10:.1f} .. {spread.p90:.1f}')
        single = Table('step with', 'images/s', 'gain', '8 of 10 rounds', box=SIMPLE_HEAD,
                       pad_edge=False)
        for each in self.variants:
            if each.images_per_s is None:
                single.add_row(each.name, '-', '-', each.problem or '-')
                continue
            gain = ('-', '-') if each.gain is None else (
                f'{each.gain.median:.2f}', f'{each.gain.p10:.2f} .. {each.gain.p90:.2f}')
            single.add_row(each.name, f'{each.images_per_s.median:.1f}', *gain)
        return whole, single
