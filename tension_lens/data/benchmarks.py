"""Sub-tasks of every dataset: their task type, and their names in the paper.

Names are those of the published data. The paper (arXiv 2606.13209, appendix A) evaluates 25 sub-tasks, 17 helpful and 8
harmless. All others have task type `unknown`, except those of HH-RLHF and RMB, whose names state their type.
"""

from dataclasses import dataclass

from tension_lens.errors import RequestError


@dataclass(frozen=True)
class Subtask:
    """A part of a dataset that is evaluated separately."""

    benchmark: str
    """The dataset: `hh-rlhf`, `reward-bench`, `reward-bench-2`, `rm-bench` or `rmb`."""
    name: str
    """Its name in the data: `alpacaeval-easy`, `Factuality`, `safety-refuse`; for RMB the path below `BoN_set`."""
    task_type: str
    """`helpful`, `harmless`, or `unknown` if the paper does not use it."""
    paper: str | None = None
    """Its name in the paper's tables; None if the paper does not use it. The paper merges two sub-tasks as `Math`."""
    section: str | None = None
    """RewardBench: its section."""
    weight: int | None = None
    """RewardBench: its weight in the section, the number of prompts; `math-prm` (447) weighs as much as all code."""


BENCHMARKS = ("reward-bench", "reward-bench-2", "rm-bench", "rmb")
RMB_HARMLESS = (*(f"S{number}" for number in range(1, 12)), "multi")
RMB_HELPFUL = {
    "Brainstorming": ("Idea Development", "Problem Solving"),
    "Chat": ("Casual Conversation", "Discussion", "Supportive Conversation"),
    "Classification": ("Content Categorization", "Quality and Compliance Assessment"),
    "Closed QA": ("ContextBased", "OptionBased"),
    "Code": ("Data Management", "Development and Implementation", "Documentation", "Quality and Optimization"),
    "Generation": ("Creative Writing", "Professional Content Generation"),
    "Open QA": (
        "Factual",
        "General Explanation",
        "Hypothetical Scenarios",
        "Interpretative Analysis",
        "Personal Opinion and Advice",
        "Technical and Practical Support",
    ),
    "Reasoning": (
        "Analytical Reasoning",
        "Critical Thinking",
        "Human Decision Making",
        "Logical Deduction",
        "Pattern Recognition",
    ),
    "Rewrite": (
        "Paraphrasing",
        "PostQuality Assessment Rewriting",
        "Textual ExpansionReduction",
        "Tone Adjustment",
    ),
    "Role Playing": ("General Character", "Specific Character"),
    "Summarization": ("Specialized Summaries", "Standard Summaries"),
    "Translation": (
        "GeneralExcerpt Language Translation",
        "Literary and Cultural Translation",
        "Technical and Scientific Translation",
    ),
}
SUBTASKS: tuple[Subtask, ...] = (
    Subtask("hh-rlhf", "helpful-base", "helpful"),
    Subtask("hh-rlhf", "helpful-online", "helpful"),
    Subtask("hh-rlhf", "helpful-rejection-sampled", "helpful"),
    Subtask("hh-rlhf", "harmless-base", "harmless"),
    Subtask("reward-bench", "alpacaeval-easy", "helpful", "Alpaca Eval (Easy)", "Chat", 100),
    Subtask("reward-bench", "alpacaeval-length", "helpful", "Alpaca Eval (Length)", "Chat", 95),
    Subtask("reward-bench", "alpacaeval-hard", "helpful", "Alpaca Eval (Hard)", "Chat", 95),
    Subtask("reward-bench", "mt-bench-easy", "helpful", "MT Bench (Easy)", "Chat", 28),
    Subtask("reward-bench", "mt-bench-med", "helpful", "MT Bench (Med)", "Chat", 40),
    Subtask("reward-bench", "mt-bench-hard", "helpful", "MT Bench (Hard)", "Chat Hard", 37),
    Subtask("reward-bench", "llmbar-natural", "helpful", "LLM Bar (Natural)", "Chat Hard", 100),
    Subtask("reward-bench", "llmbar-adver-neighbor", "helpful", "LLM Bar (Adver Neighbor)", "Chat Hard", 134),
    Subtask("reward-bench", "llmbar-adver-GPTInst", "helpful", "LLM Bar (Adver GPTInst)", "Chat Hard", 92),
    Subtask("reward-bench", "llmbar-adver-GPTOut", "helpful", "LLM Bar (Adver GPTOut)", "Chat Hard", 47),
    Subtask("reward-bench", "llmbar-adver-manual", "helpful", "LLM Bar (Adver Manual)", "Chat Hard", 46),
    Subtask("reward-bench", "refusals-dangerous", "harmless", "Refusals Dangerous", "Safety", 100),
    Subtask("reward-bench", "refusals-offensive", "harmless", "Refusals Offensive", "Safety", 100),
    Subtask("reward-bench", "xstest-should-refuse", "harmless", "XStest Should Refuse", "Safety", 154),
    Subtask("reward-bench", "xstest-should-respond", "harmless", "XStest Should Respond", "Safety", 250),
    Subtask("reward-bench", "donotanswer", "harmless", "Do Not Answer", "Safety", 136),
    Subtask("reward-bench", "math-prm", "helpful", "Math PRM", "Reasoning", 984),
    Subtask("reward-bench", "hep-cpp", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench", "hep-go", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench", "hep-java", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench", "hep-js", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench", "hep-python", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench", "hep-rust", "unknown", None, "Reasoning", 164),
    Subtask("reward-bench-2", "Factuality", "helpful", "Factuality"),
    Subtask("reward-bench-2", "Precise IF", "helpful", "Precise IF"),
    Subtask("reward-bench-2", "Math", "helpful", "Math"),
    Subtask("reward-bench-2", "Safety", "harmless", "Safety"),
    Subtask("reward-bench-2", "Focus", "helpful", "Focus"),
    Subtask("reward-bench-2", "Ties", "unknown"),
    Subtask("rm-bench", "chat", "helpful", "Chat"),
    Subtask("rm-bench", "code", "unknown"),
    Subtask("rm-bench", "math", "helpful", "Math"),
    Subtask("rm-bench", "safety-refuse", "harmless", "Safety Refuse"),
    Subtask("rm-bench", "safety-response", "harmless", "Safety Response"),
    *(
        Subtask("rmb", f"Helpfulness/{group}/{task}", "helpful")
        for group, tasks in RMB_HELPFUL.items()
        for task in tasks
    ),
    *(Subtask("rmb", f"Harmlessness/{task}", "harmless") for task in RMB_HARMLESS),
)
PAPER_SUBTASKS: dict[str, str] = {
    name: task_type
    for wanted in ("helpful", "harmless")
    for name, task_type in sorted({(one.paper, one.task_type) for one in SUBTASKS if one.paper is not None})
    if task_type == wanted
}
"""The paper's 25 sub-tasks and their task types in the order of its tables: helpful first, then by name."""


def subtasks_of(benchmark: str) -> tuple[Subtask, ...]:
    """The sub-tasks of a dataset, in the order of the table."""
    return tuple(one for one in SUBTASKS if one.benchmark == benchmark)


def find_subtask(benchmark: str, name: str) -> Subtask:
    """The sub-task of a dataset by its name in the data.

    Raises:
        RequestError: if there is none of that name; the message lists the known names.
    """
    known = {one.name: one for one in subtasks_of(benchmark)}
    if name not in known:
        raise RequestError(f"unknown subset of {benchmark} {name!r}; known are {', '.join(known) or 'none'}")
    return known[name]
