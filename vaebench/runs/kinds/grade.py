"""What each answer comes to and whether it is right, by every scorer: it does not depend on who picks among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import NUMBER, Setup, answers, asked
from vaebench.runs.store import Run

if TYPE_CHECKING:
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.data.answers import Grades

VERB = "grade"
ROLE = "grades"
STOPS = False
REQUEST = {"scorers": dict, "seconds": NUMBER, "problems": {"name": str}, "parents": {"answers": str}}
RESULT = {**answers.ON_PROBLEMS, "answers": int, "right": dict, "no_final_answer": dict, "timeouts": dict}
_SECONDS_PER_ANSWER = 1.0  # that a scorer may spend on one before it counts as wrong


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """The grades of ``parents['answers']`` by the scorers of the dataset's problems."""
    scorers = cfg.dataset["problems"].get("scorers")
    if not scorers:
        raise UserError("dataset.problems.scorers: names no scorer (name: version); docs/scoring.md has them")
    given, problems = {"answers": parents["answers"]}, answers.problems_leaf(cfg)
    return asked(VERB, given, problems=problems, scorers=scorers, seconds=_SECONDS_PER_ANSWER)


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Raise `UserError` for scorers that do not exist, or not in that version."""
    del models, remote_code
    from vaebench.metrics.answers import check as check_scorers

    check_scorers(request["scorers"])


def title(request: Request) -> str:
    """``answers to PROBLEMS by SCORERS``."""
    return f"answers to {request['problems']['name']} by {', '.join(request['scorers'])}"


def seconds(request: Request) -> float:
    """A rough guess."""
    return answers.seconds(request)


def work(run: Run, setup: Setup) -> None:
    """Mark the answers, scorer by scorer."""
    from vaebench.data.answers import Grades, grades_to_parquet
    from vaebench.metrics.answers import check as check_scorers
    from vaebench.metrics.answers import grade

    request = run.request()
    problems = build.problems(request)
    scorers = request["scorers"]
    check_scorers(scorers)
    found = answers.opened(run.parents()["answers"])
    golds = [problems.test[problem].gold for problem in found.problem]
    final: dict[str, Any] = {}
    right: dict[str, Any] = {}
    timeouts: dict[str, Any] = {}
    total = len(scorers) * len(found)
    for before, name in zip(range(0, total, len(found)), scorers, strict=True):
        final[name], right[name], timeouts[name] = grade(
            found.text,
            golds,
            name,
            seconds=request["seconds"],
            track=setup.within(before, total).track,
        )
    grades = Grades(tuple(scorers), tuple(scorers.values()), final, right, timeouts)
    run.write("grades.parquet", grades_to_parquet(grades))
    answers.finish(
        run,
        setup,
        problems,
        answers=len(found),
        right={name: round(float(marks.mean()), 6) for name, marks in right.items()},
        no_final_answer={name: sum(not text for text in texts) for name, texts in final.items()},
        timeouts=timeouts,
    )


def opened(run: Run, count: int) -> Grades:
    """The grades of a finished run, one for each of ``count`` answers. Raises `UserError` if they are damaged."""
    from vaebench.data.answers import read_grades

    found = read_grades(run.intact("grades.parquet"), run.folder)
    for right in found.right.values():
        if len(right) != count:
            raise UserError(f"{run.path('grades.parquet')}: has {len(right)} of {count} grades; {run.again()}")
    return found
