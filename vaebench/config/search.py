"""Where Hydra looks for choices: in vaebench's own ``conf/``, then in the folders of plug-ins."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from vaebench.config.origins import origins


def extend() -> None:
    """Let Hydra find what plug-ins have, whenever it begins from now on."""
    Plugins.instance().register(_SearchPath)


class _SearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folders of all plug-ins."""
        for origin in origins()[1:]:
            search_path.append(origin.name, f"file://{origin.conf}")
