"""The pictures that belong to no suite: numbers, trainings, what was measured along them, readings of a study."""

from __future__ import annotations

from vaebench.contracts.pictures import GREY, Axis, Line, Panel, Panels, Picture, curves
from vaebench.papers.readings import DISTANCE
from vaebench.papers.study import STEPS, of_runs
from vaebench.report import words
from vaebench.report.pictures import numbers
from vaebench.report.stored import Log, Shown
from vaebench.report.summary import Section


def _curves(shown: Shown) -> Panels | None:
    """A panel per logged term, a line per seed, a colour per row."""
    if not (shown.section.table.reported or _of_training_alone(shown.section)):
        return None
    rows: dict[str, list[Log]] = {}
    for row, logs in shown.logs().items():
        rows.setdefault(shown.rows[row].label, []).extend(logs)
    # Lines of one log need not hold the same terms: a validation has a line of its own.
    terms = dict.fromkeys(k for logs in rows.values() for log in logs for line in log for k in line if "/" in k)
    found = [_curve(term, rows) for term in terms]
    return Panels(panels=found, across=2, height=2.4, legend=4)


def _curve(term: str, rows: dict[str, list[Log]]) -> Panel:
    drawn = [
        line
        for number, (label, logs) in enumerate(rows.items())
        for line in curves(logs, "epoch", term, label=label, colour=number)
    ]
    values = [value for line in drawn for value in line.y]
    wide = min(values) > 0 and max(values) > 100 * min(values)
    return Panel(marks=drawn, title=term, x=Axis(label="epoch"), y=Axis(scale="log" if wide else "linear"))


def _of_training_alone(section: Section) -> bool:
    """Whether the table shows what trainings over all seeds came to, with nothing to be better at."""
    pooled = any(cell.pooled for cell in section.cells.values())
    return pooled and all(column.better == "none" for column in section.table.columns.values())


def _steps(shown: Shown) -> Panels | None:
    """A panel per quantity that was measured along a training, at two places at least; each a share of its steps.

    The columns are the snapshots 1, 2, ... and, last, the trained model itself.
    """
    columns = {name: column for name, column in shown.section.table.columns.items() if column.stage}
    last = max((column.snapshot or 0 for column in columns.values()), default=0)
    if not last:
        return None
    parts = last + any(column.snapshot is None for column in columns.values())
    quantities: dict[str, dict[float, str]] = {}
    for name, column in columns.items():
        if any(cell.ours for cell in shown.cells(name).values()):
            quantities.setdefault(column.measurement, {})[(column.snapshot or parts) / parts] = name
    found = []
    for places in quantities.values():
        name = list(places.values())[-1]
        title = shown.section.headings[name].replace(f", {columns[name].label.partition(', ')[2]}", "")
        if len(places) > 1:
            x = Axis(label="share of the training's steps")
            found.append(Panel(marks=shown.lines(places), title=title, x=x))
    title = "; ".join(
        filter(None, (shown.leader(places[max(places)]) for places in quantities.values() if len(places) > 1))
    )
    return Panels(panels=found, title=title, across=len(found), height=2.8)


def _race(shown: Shown) -> Panels | None:
    """A line for each reading of a race along its lengths; those that went on have a colour."""
    ranking, study, rungs = shown.section.ranking, shown.section.table.study, shown.section.rungs
    if ranking is None or study is None or not rungs or ranking.ranked.empty:
        return None
    frame = ranking.ranked
    frame = frame.assign(**{STEPS: frame[STEPS].astype(int)})
    marks = []
    for _, those in frame.groupby(of_runs(study, study.axes), sort=False):
        by_length = those.groupby(STEPS)[DISTANCE].min()
        stayed = len(by_length) - 1
        style = {"colour": stayed - 1, "label": f"to {by_length.index[-1]:,} steps"} if stayed else {"colour": GREY}
        line = Line(x=list(by_length.index), y=list(by_length), marker="o", size=3, width=1.1, **style)
        marks.append((stayed, line))
    steps = {float(rung.steps): f"{rung.steps:,}" for rung in rungs}
    x, y = Axis(label="steps of training", scale="log", ticks=steps), Axis(label="distance to the paper's numbers")
    drawn = [line for _, line in sorted(marks, key=lambda one: one[0])]
    title = words.overview(shown.section).capitalize()
    return Panels(panels=[Panel(marks=drawn, title=shown.section.place, x=x, y=y)], title=title, height=3.4)


PICTURES = (
    *numbers.PICTURES,
    Picture(
        kind="steps",
        caption="Along the training of the diffusion model; bars: 95 % intervals",
        draw=_steps,
        of_numbers=True,
        place=70,
    ),
    Picture(
        kind="curves",
        caption="Training, means over the steps of each log entry; one line per seed",
        draw=_curves,
        place=80,
    ),
    Picture(
        kind="race",
        caption="Readings by their distance to the paper's numbers along the race; grey: those of the first rung only",
        draw=_race,
        of_numbers=True,
        place=90,
    ),
)
