"""What a departure from the paper's code is, and those that result files cannot show."""

from dataclasses import dataclass, field

import pandas as pd

NOT_SEEN = "cannot be seen in result files: it would take other trainings or evaluations"


@dataclass(frozen=True, eq=False)
class Departure:
    """One place where the paper's code and this toolkit do different things."""

    name: str
    """What it is about, in a few words."""
    paper: str
    """What the paper's code does."""
    ours: str
    """What is done here."""
    why: str
    """What the difference is for."""
    here: str = NOT_SEEN
    """What it changes on the runs at hand, in numbers; or why that is not known."""
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The numbers behind `here`; empty where there are none."""


UNSEEN = (
    Departure(
        "start of a text",
        "Evaluates on texts that begin with `Human:`, without the line breaks that every training text starts with.",
        "Renders benchmarks as the training texts are: `\\n\\nHuman: … \\n\\nAssistant: …`.",
        "Another start is another distribution than the one the model was trained on.",
    ),
    Departure(
        "learning rate",
        "Has a flag for it that is never passed on; the library's default holds.",
        "Passes every flag on and records it.",
        "A flag without an effect makes runs look different that are alike. The published runs are not affected: the "
        "flag's default is the library's.",
    ),
    Departure(
        "seed of the trainer",
        "Leaves the trainer's seed at 42; a run's seed sets the value head and the order of the data only, and for the "
        "mixed model the head only.",
        "Sets one seed for head, data and trainer.",
        "What differs between the paper's seeds is less than what seeds can change.",
    ),
    Departure(
        "choice of the checkpoint",
        "Keeps the checkpoint with the least loss on the HH-RLHF test split, whose accuracy is then reported.",
        "Keeps the last checkpoint, and reports accuracy on pairs that chose nothing.",
        "An accuracy on data that chose the checkpoint is too high on average.",
    ),
    Departure(
        "retention under ablation",
        "Does not reset its lists between conditions: Table 19 holds running means over the conditions so far.",
        "Gives each condition its own.",
        "The published rows of helpful_only, harmless_only and shared mix in those before.",
        "The published section shows the values with the running means undone.",
    ),
    Departure(
        "number of backbones",
        "Tables 1, 4, 17, 18 and 19 average seven backbones, one of them unnamed; Tables 11 and 12 hold GPT-2 large "
        "alone.",
        "Every mean names what it is over.",
        "A mean over other models than those reported cannot be set beside them.",
        "The published section shows the six-backbone values where they can be had.",
    ),
    Departure(
        "standard deviation and intervals",
        "Divides by n over three seeds; changes under ablation have no deviation, interval or random control beside "
        "them in its tables.",
        "Divides by n − 1; every accuracy and change has a 95 % interval, every set its random controls.",
        "With three seeds dividing by n makes the deviation 18 % smaller. A change without its control says nothing "
        "of the set.",
        "The published section shows deviations with n − 1.",
    ),
)
"""Departures that result files do not show."""
