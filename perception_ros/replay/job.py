"""One bag and what is to be done with it, the same offline and in real time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from perception_ros import __version__
from perception_ros.bags.bag import Bag, Message
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ReplayError
from perception_ros.faults.inject import Injector, Record
from perception_ros.replay.inputs import choose_cameras
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.parts import Part, RunFolder, undone
from perception_ros.replay.results import join_bags, RESULTS, ResultTopics
from perception_ros.replay.tables import join, SCHEMAS

Tell = Callable[[float], None]
"""Is told which share of the bag, 0..1, is done."""


class Job:
    """What the options come to for an open bag: cameras, models, messages, and the folder."""

    def __init__(self, options: ReplayOptions, bag: Bag) -> None:
        """
        Look whether the bag, the configuration and the faults fit each other.

        :raises PerceptionError: they do not, or a bundle cannot be read.
        """
        self.options = options
        self.bag = bag
        self.config, self.topics = choose_cameras(
            bag, _engines_first(options.config), options.cameras
        )
        """The configuration with the cameras that are replayed, and camera -> topic of the bag."""
        self._injector(bag)  # says now what is wrong with the faults
        self._bundles = {
            name: Bundle.load(model.bundle or name) for name, model in self.config.models.items()
        }
        self.manifests = {name: bundle.manifest for name, bundle in self._bundles.items()}
        self.folder = RunFolder(options.output)
        self.start_ns, self.end_ns = (
            None if second is None else bag.start_ns + round(second * 1e9)
            for second in (options.start_s, options.end_s)
        )
        """By time of recording; None: all from the first message on, or to the last."""

    def begin(self, realtime: Mapping[str, Any] | None = None) -> None:
        """Make the folder ready.

        :param realtime: how it is played in real time, if it is.
        :raises ReplayError: something else lies there.
        """
        self.folder.begin(
            self._about(realtime), resume=self.options.resume, overwrite=self.options.overwrite
        )

    def outputs(self, model: str) -> frozenset[str]:
        """Return what a model is to say: all, or what the tables take if no results are written.

        A model without detections says all the same: one of which nothing is wanted is not run.
        """
        outputs = self.manifests[model].outputs
        return outputs if self.options.has_results else outputs & {'detections'} or outputs

    def messages(
        self, topics: Iterable[str], touched: Record, bag: Bag | None = None
    ) -> Iterator[Message]:
        """Return the messages of the span that is replayed, with their faults.

        :param touched: is told of each message that a fault has touched.
        :param bag: the same one, where it is read in another thread.
        """
        bag = bag or self.bag
        if (faults := self._injector(bag)) is None:
            return bag.messages({*topics}, self.start_ns, self.end_ns)
        return faults.messages({*topics} | faults.topics, self.start_ns, self.end_ns, touched)

    def share(self, time_ns: int) -> float:
        """Return which share of the span, 0..1, was recorded up to a time."""
        start_ns = self.bag.start_ns if self.start_ns is None else self.start_ns
        end_ns = self.bag.end_ns if self.end_ns is None else self.end_ns
        return min(max((time_ns - start_ns) / max(end_ns - start_ns, 1), 0.0), 1.0)

    def join(self) -> None:
        """Make one of the parts: the tables, and the bag of results. Idempotent.

        :raises ReplayError: some have not been done.
        """
        if self.folder.is_finished:
            return
        parts = self.folder.parts()
        if left := undone(parts):
            raise ReplayError(
                f'{self.folder.path}: the parts {left[0].first}.. have not been done; go on with '
                '--resume'
            )
        self._join_files(parts)
        about = self.folder.read_about()
        if engines := self.folder.agreed():
            about['engines'] = engines
        problems = dict.fromkeys(problem for part in parts.values() for problem in part.problems)
        self.folder.write_about({**about, 'problems': list(problems)})
        self.folder.end()

    def _join_files(self, parts: Mapping[int, Part]) -> None:
        new = self.folder.new_part()
        for table in SCHEMAS:
            name = f'{table}.parquet'
            join((part.folder / name for part in parts.values()), table, new / name)
            with self.folder.writing():
                (new / name).replace(self.folder.path / name)
        if self.options.has_results:
            topics = ResultTopics(self.config, self.manifests)
            join_bags((part.folder / RESULTS for part in parts.values()), topics, new / RESULTS)
            with self.folder.writing():
                (new / RESULTS).replace(self.folder.path / RESULTS)

    def _injector(self, bag: Bag) -> Injector | None:
        """Return what lets the faults loose on a bag; None where there are none."""
        if self.options.faults is None:
            return None
        cameras = {topic: name for name, topic in self.topics.items()}
        return Injector(self.options.faults, bag, cameras, self.config.cameras)

    def _about(self, realtime: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what decides about the results, ready for JSON."""
        options, bag = self.options, self.bag
        return {
            'bag': {
                'name': bag.path.name,
                'files': {path.name: path.stat().st_size for path in bag.files},
                'start_ns': bag.start_ns,
                'end_ns': bag.end_ns,
                'messages': sum(topic.count for topic in bag.topics.values()),
            },
            'start_s': options.start_s,
            'end_s': options.end_s,
            'cameras': dict(self.topics),
            'bundles': {
                name: {'name': bundle.manifest.name, 'sha256': bundle.manifest.graph.sha256}
                for name, bundle in self._bundles.items()
            },
            'has_results': options.has_results,
            'faults': options.faults and options.faults.model_dump(mode='json')['faults'],
            'part_messages': options.part_messages,
            'config': self.config.model_dump(mode='json'),
            'realtime': realtime,
            'perception_ros': __version__,
        }


def _engines_first(config: PerceptionConfig) -> PerceptionConfig:
    """Return the configuration with engines that are built before the first frame comes."""
    models = {
        name: model.model_copy(update={'build': 'wait'}) for name, model in config.models.items()
    }
    return config.model_copy(update={'models': models})
