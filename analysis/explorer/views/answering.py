"""What the views share: what the explorer holds, how a question becomes an answer or a refusal, and small parts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dash import dcc, html, no_update

from analysis.explorer.catalogue import Catalogue
from analysis.explorer.holder import Models, Questions, StaleError
from analysis.explorer.runs import Run
from analysis.explorer.state import Question
from analysis.figures.style import PLOT_CONFIG
from tension_lens.errors import RequestError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explorer:
    """What one explorer serves."""

    runs: dict[str, Run]
    catalogue: Catalogue
    models: Models
    questions: Questions

    def run(self, name: str) -> Run:
        """A run by name.

        Raises:
            RequestError: if there is none of that name.
        """
        if name not in self.runs:
            raise RequestError(f"no run {name!r} here; choose one of {', '.join(self.runs)}")
        return self.runs[name]


@dataclass(frozen=True)
class Asked:
    """A question with who asked it when."""

    question: Question
    explorer: Explorer
    session: str
    view: str
    token: float

    @contextmanager
    def models(self) -> Iterator[Models]:
        """The models, once no other request uses them.

        Raises:
            StaleError: if a newer question was asked meanwhile.
        """
        with self.explorer.models.using() as models:
            self.explorer.questions.require_current(self.session, self.view, self.token)
            yield models


def answer(explorer: Explorer, view: str, asked: Mapping[str, Any] | None, work: Callable[[Asked], Any]) -> Any:
    """What `work` answers, under the question's token; a refusal in words; no update where the question is stale."""
    if not asked:
        return no_update
    session, token = str(asked.get("session")), asked.get("token")
    if not isinstance(token, int | float):
        return refusal("the page sent a question without a number; reload it")
    try:
        explorer.questions.ask(session, view, token)
        found = work(Asked(Question.of(asked), explorer, session, view, token))
        explorer.questions.require_current(session, view, token)
    except StaleError:
        return no_update
    except RequestError as error:
        found = refusal(str(error))
    except Exception:
        # The reader gets one line, whoever started the explorer the whole story.
        logger.exception("question %s failed", dict(asked))
        found = refusal("this failed inside the explorer; its terminal says why")
    return html.Div(found, **{"data-token": str(token)})


def refusal(message: str) -> html.P:
    """Why a panel is empty."""
    return html.P(message, className="empty", role="status")


def graph(figure: Any, label: str, tools: bool = True, **more: Any) -> html.Div:
    """A figure that says what it is to those who do not see it."""
    config = PLOT_CONFIG if tools else {**PLOT_CONFIG, "displayModeBar": False}
    plot = dcc.Graph(figure=figure, config=config, style={"height": f"{figure.layout.height}px"}, **more)
    return html.Div(plot, role="group", className="plot", **{"aria-label": label})


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, **more: Any) -> html.Div:
    """A table; the first cell of a row is its heading."""
    body = [html.Tr([html.Th(row[0], scope="row"), *(html.Td(cell) for cell in row[1:])]) for row in rows]
    header = html.Thead(html.Tr([html.Th(name, scope="col") for name in head]))
    return html.Div(html.Table([html.Caption(caption), header, html.Tbody(body)], **more), className="scroll")


def signed(number: float, form: str = "+.4f") -> str:
    """A number with its sign and a true minus, four decimals unless said."""
    return f"{number:{form}}".replace("-", "−")
