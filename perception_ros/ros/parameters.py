"""A configuration as parameters of a node, and changes of them while it runs.

Nothing here names a parameter: names, types, ranges and descriptions come from the layout. Lists
such as `camera_names` say what there is; each name in them brings the parameters of one item, such
as `cameras.front.topic`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from string import digits
from typing import Any, Generic

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception_ros.core.errors import ConfigError
from perception_ros.core.parameters import ConfigT, is_live, Layout
from perception_ros.ros.declare import Declarations, misspelt


class NodeParameters(Generic[ConfigT]):
    """Declares all parameters of a node and turns their values into its configuration.

    The node is made as `Declarations` wants it. A value that cannot be used does not stop the
    node: it is told by `load`, until it is set right.
    """

    def __init__(self, node: Node, layout: Layout[ConfigT]) -> None:
        self._node = node
        self._layout = layout
        self._declared = Declarations(node)
        for name, description in layout.lists.items():
            field = FieldInfo(annotation=tuple[str, ...], default=(), description=description)
            self._declared.declare(name, field, read_only=False)
        self._declare_missing()

    def load(self) -> ConfigT:
        """Return the configuration that the parameters describe now.

        :raises ConfigError: naming every parameter that is unknown or cannot be used.
        """
        self._declare_missing()
        problems = dict(self._declared.problems)
        others = set()
        for name in self._declared.undeclared():
            if self._is_of_another(name):
                section, other, _ = name.split('.', 2)
                others.add((section, other))
            else:
                problems[name] = misspelt(name, self._declared.fields)
        for section, other in sorted(others):
            self._tell_of_another(section, other)
        if problems:
            lines = (f'{name}: {problem}' for name, problem in problems.items())
            raise ConfigError('; '.join(lines))
        return self._config({})

    def judge(
        self, parameters: Iterable[Parameter[Any]], running: bool
    ) -> tuple[SetParametersResult, ConfigT | None]:
        """Judge a change that is about to be made: the node's on-set callback calls this.

        :param running: whether the node is configured, so that only live parameters may change.
        :return: the verdict, and the configuration with the change, if it is good and `running`.
        """
        fields = self._declared.fields
        changes = {p.name: p.value for p in parameters if p.name in fields}
        config = None
        if running:
            for name in changes:
                if not is_live(fields[name]):
                    return _refusal(
                        f'{name} cannot change while the node is configured: deactivate it and '
                        'clean it up, set the parameter, then configure and activate it again'
                    ), None
            try:
                config = self._config(changes)
            except ConfigError as error:
                return _refusal(str(error)), None
        for name in changes:
            self._declared.problems.pop(name, None)
        return SetParametersResult(successful=True), config

    def _config(self, changes: dict[str, Any]) -> ConfigT:
        names = self._names()
        values = {
            name: self._declared.plain(name, changes[name])
            if name in changes
            else self._declared.value(name)
            for name in self._layout.fields(names)
        }
        return self._layout.build(values, names)

    def _names(self) -> dict[str, tuple[str, ...]]:
        """Return the names in each list."""
        return {parameter: self._declared.value(parameter) for parameter in self._layout.lists}

    def _declare_missing(self) -> None:
        for name, field in self._layout.fields(self._names()).items():
            if name not in self._declared.fields:
                self._declared.declare(name, field, read_only=False)

    def _is_of_another(self, name: str) -> bool:
        """Say whether a parameter would be known if its item were in its list of names."""
        section, _, rest = name.partition('.')
        other, _, _ = rest.partition('.')
        is_item = section in self._layout.sections.values()
        return is_item and name in self._layout.fields_of(other)

    def _tell_of_another(self, section: str, other: str) -> None:
        """Say that there are parameters of a camera or model that is not in use.

        One file may serve many vehicles, so that is as intended, unless the name looks misspelt.
        """
        parameter = f'{section[:-1]}_names'
        names = self._names()[parameter]
        what = f'{section}.{other}.* has no effect: {other!r} is not in {parameter}'
        if close := _misspelt_name(other, names):
            self._node.get_logger().warning(f'{what}; did you mean {close!r}?')
        else:
            self._node.get_logger().info(what)


def _misspelt_name(name: str, names: Iterable[str]) -> str:
    """Return which of `names` was meant by one that is nearly the same, '' for none.

    Names that differ in a number alone, camera_1 and camera_2, are of different cameras.
    """
    letters = name.strip(digits)
    others = [known for known in names if known.strip(digits) != letters]
    close = get_close_matches(name, others, n=1, cutoff=0.8)
    return close[0] if close else ''


def _refusal(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)
