"""Fixtures: no network, checkpoints of both families, real data where there is any."""

import socket
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from parts import FAMILIES, PAIRS, SHARED_DATA, make_reward_model, save_checkpoint, write_pairs

from tension_lens.constants import SITES
from tension_lens.model.reward_model import HookedRewardModel

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=25)
hypothesis.settings.load_profile("untimed")
# Many small tensors: threads cost more than they bring, most of all where tests run side by side.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out of a selection by markers that does not name `slow`; it is meant to give a quick answer."""
    if config.option.markexpr and "slow" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection beyond this machine fails at once, so that no test leans on the hub."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"network is blocked in tests: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("TENSION_LENS_DATA", raising=False)


@pytest.fixture
def shared_data() -> Path:
    """Real benchmark files beside the checkout, where there are any."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"NO REAL DATA: {SHARED_DATA} is not there; set TENSION_LENS_TEST_DATA to run this test")
    return SHARED_DATA


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> str:
    """Each site in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, HookedRewardModel]]:
    """Of each family Hugging Face's model and the hooked one, pad = eos. No test changes them for good."""
    folder = tmp_path_factory.mktemp("models")
    references = {family: make_reward_model(family) for family in FAMILIES}
    return {
        family: (one, HookedRewardModel.from_pretrained(save_checkpoint(one, folder / family)))
        for family, one in references.items()
    }


@pytest.fixture
def checkpoint(family: str, tmp_path: Path) -> Path:
    """A random reward model of each family in turn."""
    return save_checkpoint(make_reward_model(family), tmp_path / family)


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """PAIRS as a local file."""
    return write_pairs(tmp_path / "pairs.jsonl", PAIRS)


@pytest.fixture(scope="module")
def explorer_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a runs directory and a data file, for the explorer."""
    from parts_explorer import make_runs

    return make_runs(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="module")
def explorer(explorer_root: Path) -> Any:
    """The explorer of that directory, not served."""
    from parts_explorer import make_explorer

    return make_explorer(explorer_root)
