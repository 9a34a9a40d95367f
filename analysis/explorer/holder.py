"""Live models behind one lock, and the order in which questions were asked."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tension_lens.model.reward_model import HookedRewardModel

MODELS_HELD = 6
SESSIONS_HELD = 1000


class StaleError(Exception):
    """A newer question was asked; the answer to this one is no longer wanted."""


class Models:
    """Reward models, loaded when first asked for and kept while they are among the last `MODELS_HELD` used.

    Hooks are put on the one network that all requests share, so a model is used by one thread at a time.
    """

    def __init__(self, device: str = "auto", dtype: str = "float32") -> None:
        self.device, self.dtype = device, dtype
        self._lock = threading.RLock()
        self._held: OrderedDict[Path, tuple[str, HookedRewardModel]] = OrderedDict()

    @contextmanager
    def using(self) -> Iterator["Models"]:
        """While the context lasts no other thread runs a model."""
        with self._lock:
            yield self

    def get(self, folder: Path) -> "HookedRewardModel":
        """The model of a checkpoint folder; only within `using`.

        Loaded anew where its weights are no longer those that were loaded.

        Raises:
            RequestError: if it cannot be loaded.
        """
        from tension_lens.model.reward_model import HookedRewardModel

        state = "".join(f"{path.name}{path.stat().st_mtime_ns}" for path in sorted(folder.glob("*.safetensors")))
        if folder not in self._held or self._held[folder][0] != state:
            self._held[folder] = (state, HookedRewardModel.from_pretrained(folder, self.device, self.dtype))
        self._held.move_to_end(folder)
        while len(self._held) > MODELS_HELD:
            self._held.popitem(last=False)
        return self._held[folder][1]


class Questions:
    """Which question each page asked last in each of its views; each question has a token that only grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: OrderedDict[tuple[str, str], float] = OrderedDict()

    def ask(self, session: str, view: str, token: float) -> None:
        """Note a question.

        Raises:
            StaleError: if a newer one of the same page and view came before it.
        """
        with self._lock:
            latest = self._latest.get((session, view), token)
            self._latest[session, view] = max(latest, token)
            self._latest.move_to_end((session, view))
            while len(self._latest) > SESSIONS_HELD:
                self._latest.popitem(last=False)
        if latest > token:
            raise StaleError

    def require_current(self, session: str, view: str, token: float) -> None:
        """Check that no newer question has been asked.

        Raises:
            StaleError: if one has.
        """
        with self._lock:
            if self._latest.get((session, view), token) > token:
                raise StaleError
