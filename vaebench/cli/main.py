"""The command line: verb -> Hydra -> function. The only reader of argv; the only place that catches a `UserError`."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.cli import letters
from vaebench.errors import UserError, printable, shown, unknown

HELP = """\
vaebench: reproduces the tables of papers on variational autoencoders and says, cell by cell, what holds.

  vaebench train model=batchtopk model.k=4 dataset=fashion_mnist seed=1     train one model
  vaebench eval suite=noise                       evaluate the run `train` makes with the same overrides
  vaebench eval run=KEY suite=noise               evaluate a run that is there, named by the beginning of its key
  vaebench answers dataset=tiny                   what language models answered, asked now or recorded
  vaebench prompt dataset=gsm8k                   the exact prompt and sampling parameters; asks nobody
  vaebench reproduce paper=batchtopk scale=small  a paper's tables, beside the reported numbers
  vaebench compare paper=batchtopk table=table1 row=batchtopk with='model=mine'   rows of your own beside a table's
  vaebench plan                                   what `reproduce` would do here, and how long it takes
  vaebench report                                 write tables and pictures again from what is stored
  vaebench list [models|chains|networks|autoencoders|datasets|embedders|answers|suites|papers|scales|experiments|runs]
                                                  what can be chosen, what has been run; runs: where='model=vae'
  vaebench runs show|remove|pack|unpack KEY       a run, named by the beginning of its key (unpack: a file)
  vaebench runs push|pull s3://bucket/runs        finished runs into a store elsewhere, and from there
  vaebench export KEY --to DIR                    a trained model for other libraries: diffusers, safetensors
                       [--push ORG/NAME [--private]]   and on the Hugging Face hub
  vaebench data status|fetch|verify [dataset ...]              where the datasets are
  vaebench new model|dataset|suite|paper NAME     a package of your own that works, to be changed
  vaebench completion bash|zsh|fish               completion of commands, choices and options in your shell

  vaebench eval model=fsp dataset=cifar10 dataset@test_on=mnist_32     test on another set than the model's own
  vaebench train model=fsp autoencoder@model.autoencoder=conv          a choice inside another choice

Options of train, eval, answers, prompt, reproduce, compare, plan and report are Hydra overrides (key=value); besides
  -q            quiet                 -m            sweep: vaebench train -m model.k=4,8 seed=0,1,2
  --cfg job     show the configuration and stop     --help        this text, or a verb's
  --json        with -m: what came out, as data
  --full        reproduce: print all tables, not a summary
  --open        report: show the pages in a browser
  --conf DIR    a folder of choices of your own (DIR/model/mine.yaml), or a package; those installed are found
Environment: VAEBENCH_DATA (datasets; several folders as in PATH), VAEBENCH_WEIGHTS (weights of Inception and VGG-16),
VAEBENCH_HOME (runs, default ./runs), VAEBENCH_CACHE (downloads and decoded folders, default ~/.cache/vaebench),
VAEBENCH_CONF (as --conf).
"""

# Hydra's sweepers and launchers run a function of Hydra's own; ours come after the configuration.
_NO_HYDRA = (
    "sweepers, launchers and folders of Hydra are not used; list values (-m model.k=4,8), in parallel with "
    "executor.workers=N; docs/how-to/runs.md#a-search has a search with Optuna"
)
VERBS = (
    *("train", "eval", "answers", "prompt", "reproduce", "compare", "plan", "report"),
    *("list", "runs", "export", "data", "new", "completion"),
)
_WITHOUT_DATA = ("report", "runs", "export", "new", "completion", "complete")
_UNWRITABLE = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "read-only",
    errno.EACCES: "no permission",
    errno.EDQUOT: "quota",
    errno.EFBIG: "the file is too large for it",
    errno.EIO: "the disk does not answer",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EEXIST: "it is a file, no folder",
    errno.EISDIR: "it is a folder, no file",
    errno.ENAMETOOLONG: "a name in it is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.EPERM: "not permitted",
}
_FLAGS = "-q, -m, --json, --full, --open, --cfg job, --help"
_LONGEST_LINE = 4_000  # of what is printed of a mistake; a list of all experiments is half of that


class Given(NamedTuple):
    """What a command is given. ``show``: only its configuration; ``as_json``: what came out, as data."""

    overrides: list[str]
    sweep: bool
    show: bool
    as_json: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 some job failed, 2 bad input, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _never_fail_to_print()
    try:
        return _together(_without_folders(arguments))
    except (UserError, OSError) as error:
        for line in _lines(error):
            _say(f"error: {line}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return 130


def _together(arguments: list[str]) -> int:
    """Run the command, or under torchrun or srun as one of its processes: the first runs it, the others train along."""
    if not {"RANK", "SLURM_STEP_ID"} & os.environ.keys():
        return _dispatch(arguments)
    from vaebench.runs import along

    rank, size = along.started(os.environ)
    if size == 1:
        return _dispatch(arguments)
    return along.follow(rank, size) if rank else along.lead(size, lambda: _dispatch(arguments))


def _never_fail_to_print() -> None:
    """A terminal that has no sigma shows its name: no command fails for that."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=letters.ERRORS)


def _lines(error: UserError | OSError) -> tuple[str, ...]:
    """What to say of a mistake or of a disk that takes nothing; any other error of the system is raised again."""
    if isinstance(error, UserError):
        return error.lines
    if error.errno not in _UNWRITABLE:
        raise error
    return (
        f"{shown(error.filename or 'the store')}: cannot be written, {_UNWRITABLE[error.errno]}; nothing finished is "
        "lost: make room or choose store=FOLDER, and the same command goes on",
    )


def _say(line: str) -> None:
    """One line of the command line's own voice, whatever its values hold."""
    print(printable(line)[:_LONGEST_LINE], file=sys.stderr)  # noqa: T201


def _without_folders(arguments: list[str]) -> list[str]:
    """The arguments without ``--conf DIR``; the folders go into the environment, for workers have need of them too."""
    words, folders, others = list(arguments), [], []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name != "--conf":
            others.append(word)
        elif equals or words:
            folders.append(value if equals else words.pop(0))
        else:
            raise UserError("--conf: name a folder of your own choices (--conf DIR)")
    if folders:
        from vaebench.config.origins import FOLDERS

        given = [str(Path(folder).expanduser().resolve()) for folder in folders]
        os.environ[FOLDERS] = os.pathsep.join([*given, *filter(None, [os.environ.get(FOLDERS)])])
    return others


def _dispatch(arguments: list[str]) -> int:
    verb, *rest = arguments or ["help"]
    if verb == "--version":
        from vaebench import __version__

        sys.stdout.write(f"vaebench {__version__}\n")
        return 0
    if verb in VERBS and {"-h", "--help"} & set(rest):
        from vaebench.cli import help as helps

        sys.stdout.write(helps.of(verb))
        return 0
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    if verb not in (*VERBS, "complete"):
        raise UserError(unknown("command", verb, VERBS))
    if verb not in _WITHOUT_DATA and (verb != "list" or not rest or "datasets" in rest):
        from vaebench.data.places import no_roots

        if line := no_roots():
            _say(f"warning: {line}")
    if verb == "new":
        from vaebench.cli.new import new

        sys.stdout.write(new(rest))
        return 0
    if verb in ("completion", "complete"):
        from vaebench.cli import completion

        found = completion.completion(rest) if verb == "completion" else completion.complete(" ".join(rest), VERBS)
        sys.stdout.write(found if isinstance(found, str) else "".join(f"{word}\n" for word in found))
        return 0
    if verb in ("runs", "export"):
        from vaebench.cli import stored

        return stored.runs(rest) if verb == "runs" else stored.export(rest)
    if verb in ("list", "data"):
        from vaebench.cli import listing

        return listing.show(rest) if verb == "list" else listing.data(rest)
    return _configured(verb, rest)


def _configured(verb: str, rest: list[str]) -> int:
    """Compose the configuration, then print it or call the verb's function on it; a sweep has several of them."""
    from vaebench.config import compose
    from vaebench.data.fetch import usual_images

    taken = {"compare": ("with=", "dataset."), "eval": ("run=",)}.get(verb, ())
    added = [word for word in rest if verb == "compare" and word.startswith(taken)]
    keys = [word.removeprefix("run=") for word in rest if verb == "eval" and word.startswith(taken)][:1]
    given = _options([word for word in rest if not word.startswith(taken)])
    name = {"train": "train", "eval": "eval", "answers": "train", "prompt": "train"}.get(verb, "reproduce")
    composed = partial(compose.configurations, name, sweep=given.sweep)
    with compose.session():
        if given.sweep and name != "reproduce":
            from vaebench.cli import sweep

            return sweep.run(verb, given, keys[0].split(",") if keys else [])
        words = given.overrides
        if keys:
            from vaebench.cli import stored

            if "," in keys[0]:
                raise UserError(f"run={shown(keys[0])}: lists several values; add -m to sweep")
            words = stored.words_for(keys[0], words)
        (cfg,) = composed(words, images=usual_images)
        if given.show:
            sys.stdout.write(compose.as_yaml(cfg))
            return 0
        from vaebench.cli import commands, idle

        if keys:
            return commands.evaluate(cfg, keys[0])
        if name == "reproduce":
            idle.of_tables(words, cfg, verb)
        else:
            again = partial(composed, images=partial(usual_images, quiet=True))
            idle.of_runs(words, [cfg], again, partial(commands.asked_for, verb), verb)
        if verb == "compare":
            return commands.compare(cfg, added)
        commands.check_links(words, [cfg])
        function: Callable[[Any], int] = getattr(commands, {"eval": "evaluate"}.get(verb, verb))
        return function(cfg)


def _options(rest: list[str]) -> Given:
    """The overrides and flags of a command.

    Raises `UserError` for every word that is neither a flag nor an override.
    """
    words, overrides, strays = list(rest), [], []
    sweep = show = as_json = False
    while words:
        word = words.pop(0)
        if word in ("-m", "--multirun"):
            sweep = True
        elif word in ("-q", "--quiet"):
            overrides.append("quiet=true")
        elif word in ("--full", "--open"):
            overrides.append(f"{word.removeprefix('--')}=true")
        elif word == "--json":
            as_json = True
        elif word in ("--cfg", "-c"):
            show = True
            if words[:1] != ["job"]:
                strays.append("--cfg: only 'job' can be shown, Hydra runs nothing here (vaebench train --cfg job)")
            words = words[1:]
        elif re.match(r"[+~]*hydra\W", word):
            strays.append(f"{shown(word)}: {_NO_HYDRA}")
        elif "=" in word or word.startswith("~"):
            overrides.append(word)
        else:
            advice = f"options are written key=value (like model=batchtopk); flags: {_FLAGS}"
            strays.append(f"{shown(word)!r}: {advice}")
    if as_json and not sweep:
        strays.append("--json: is for sweeps; add -m")
    if strays:
        raise UserError(*strays)
    return Given(overrides, sweep, show, as_json)


if __name__ == "__main__":
    sys.exit(main())
