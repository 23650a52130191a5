"""What is left of a damaged file of a bag, found without its index.

Readers of bags trust the index at the end of a file, which one that was cut off does not have.
Here a file is gone through once from its start; whatever can be read is indexed anew.
"""

from __future__ import annotations

from pathlib import Path

from perception_ros.bags.salvage.base import Salvaged, Tell
from perception_ros.bags.salvage.db3 import scan_db3
from perception_ros.bags.salvage.mcap import scan_mcap
from perception_ros.bags.salvage.ros1 import scan_ros1
from perception_ros.core.errors import BagError

__all__ = ['Salvaged', 'Tell', 'salvage']

_SCANS = {'.mcap': scan_mcap, '.db3': scan_db3, '.bag': scan_ros1}


def salvage(path: Path, tell: Tell) -> Salvaged:
    """Return what can be read of a `.mcap`, `.db3` or `.bag`.

    :param tell: is told of each damage, in words that name the place.
    :raises BagError: nothing can be read.
    """
    try:
        return _SCANS[path.suffix](path, tell)
    except OSError as error:
        raise BagError(f'{path}: cannot be read; {error.strerror}') from error
