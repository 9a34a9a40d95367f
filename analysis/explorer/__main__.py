"""Explore reward models in a browser: pairs token by token, ablated neurons, and a map of every neuron.

python -m analysis.explorer --runs runs/demo serves http://127.0.0.1:8050 until it is interrupted. A run is a folder
with models/ and optionally scores/ and sets/; --runs is one run or a folder of runs.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from analysis.explorer.catalogue import DEFAULT_DATA, Catalogue
from analysis.explorer.runs import find_runs
from tension_lens.cli import command
from tension_lens.console import tell
from tension_lens.errors import RequestError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ExplorerConfig:
    """What to explore, and where to serve it."""

    runs: Path
    """A run, or a folder of runs. The page opens no other models, scores or sets."""
    data: list[str] = field(default_factory=lambda: list(DEFAULT_DATA))
    """Data specs whose pairs the page offers."""
    data_root: Path | None = None
    """Folder that mirrors the hub's data files. Default: TENSION_LENS_DATA, else the hub."""
    host: str = "127.0.0.1"
    """Address to serve on. An address other than loopback opens the page to the network, without a password."""
    port: int = 8050
    """Port to serve on."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the forward pass."""


def run(config: ExplorerConfig) -> str:
    """Serve the page until interrupted.

    Raises:
        RequestError: if there is no run, a data spec is unknown, Dash is missing or the address is not available.
    """
    # These import torch and Dash, for which --help should not wait.
    try:
        from werkzeug.serving import make_server

        from analysis.explorer.answering import Explorer
        from analysis.explorer.app import make_app
        from analysis.explorer.models import Models
    except ModuleNotFoundError as error:
        raise RequestError(f"the explorer needs {error.name}; pip install 'tension-lens[explorer]'") from error

    # Werkzeug logs every request at INFO.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    runs = find_runs(config.runs)
    catalogue = Catalogue(tuple(config.data), config.data_root)
    explorer = Explorer(runs, catalogue, Models(config.device, config.dtype))
    app = make_app(explorer, only_local=config.host in LOOPBACK)
    try:
        server = make_server(config.host, config.port, app.server, threaded=True)
    except (OSError, OverflowError, SystemExit) as error:
        raise RequestError(f"cannot serve on {config.host} port {config.port}; choose another --port") from error
    if config.host not in LOOPBACK:
        tell(f"warning: everyone who can reach {config.host} can use this page")
    tell(f"explorer of {', '.join(runs)} at http://{config.host}:{server.port}/ (stop with Ctrl-C)")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return "stopped"


main = command("analysis.explorer", ExplorerConfig, run, __doc__)

if __name__ == "__main__":
    main()
