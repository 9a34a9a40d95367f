"""Requests of the page: the order in which they arrive, and how each becomes an answer or a message."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dash import html, no_update

from analysis.explorer.catalogue import Catalogue
from analysis.explorer.models import Models
from analysis.explorer.runs import Run
from analysis.explorer.state import Question
from analysis.explorer.views.elements import notice
from tension_lens.errors import RequestError

SESSIONS_HELD = 1000
logger = logging.getLogger(__name__)


class StaleError(Exception):
    """The page has sent a newer request; nobody waits for the answer to this one."""


class Questions:
    """The last request of each page (session) and view; the token of a request increases with time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: OrderedDict[tuple[str, str], float] = OrderedDict()

    def ask(self, session: str, view: str, token: float) -> None:
        """Record a request. Raises StaleError if the same page and view have sent a newer one."""
        with self._lock:
            latest = self._latest.get((session, view), token)
            self._latest[session, view] = max(latest, token)
            self._latest.move_to_end((session, view))
            while len(self._latest) > SESSIONS_HELD:
                self._latest.popitem(last=False)
        if latest > token:
            raise StaleError

    def require_current(self, session: str, view: str, token: float) -> None:
        """Raise StaleError if the same page and view have sent a newer request."""
        with self._lock:
            if self._latest.get((session, view), token) > token:
                raise StaleError


@dataclass(frozen=True)
class Explorer:
    """Everything that one explorer serves."""

    runs: dict[str, Run]
    catalogue: Catalogue
    models: Models
    questions: Questions = field(default_factory=Questions)

    def run(self, name: str) -> Run:
        """A run by name. Raises RequestError if there is no such run."""
        if name not in self.runs:
            raise RequestError(f"no run {name!r}; choose one of {', '.join(self.runs)}")
        return self.runs[name]


@dataclass(frozen=True)
class Asked:
    """A request: the state of the page, its session, view and token."""

    question: Question
    explorer: Explorer
    session: str
    view: str
    token: float

    @property
    def run(self) -> Run:
        """The run that the page shows."""
        return self.explorer.run(self.question.run)

    @contextmanager
    def models(self) -> Iterator[Models]:
        """Exclusive use of the models. Raises StaleError if a newer request arrived during the wait."""
        with self.explorer.models.using() as models:
            self.explorer.questions.require_current(self.session, self.view, self.token)
            yield models


def answer(explorer: Explorer, view: str, asked: Mapping[str, Any] | None, work: Callable[[Asked], Any]) -> Any:
    """The content that `work` returns, marked with the request's token.

    An invalid request gives a message; a stale request does not update the page.
    """
    if not asked:
        return no_update
    session, token = str(asked.get("session")), asked.get("token")
    if not isinstance(token, int | float):
        return notice("the page sent a request without a token; reload it")
    try:
        explorer.questions.ask(session, view, token)
        found = work(Asked(Question.of(asked), explorer, session, view, token))
        explorer.questions.require_current(session, view, token)
    except StaleError:
        return no_update
    except RequestError as error:
        found = notice(str(error))
    except Exception:
        # Whatever failed, the page gets its answer; the traceback goes to the terminal, not to the browser.
        logger.exception("request %s failed", dict(asked))
        found = notice("internal error; see the terminal in which the explorer runs")
    return html.Div(found, **{"data-token": str(token)})
