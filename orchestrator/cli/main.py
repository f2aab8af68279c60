"""Entry point: find the verb, run it, turn errors into one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from orchestrator import __version__
from orchestrator.cli.cluster import cluster
from orchestrator.cli.data import data
from orchestrator.cli.doctor import doctor
from orchestrator.cli.export import export
from orchestrator.cli.gc import gc
from orchestrator.cli.plan import plan
from orchestrator.cli.predict import predict
from orchestrator.cli.reconcile import reconcile
from orchestrator.cli.report import report
from orchestrator.cli.reproduce import reproduce
from orchestrator.cli.rescore import rescore
from orchestrator.cli.restart import may_restart, restart
from orchestrator.cli.retry import retry
from orchestrator.cli.run import run
from orchestrator.cli.status import status
from orchestrator.cli.strategy import strategy
from orchestrator.cli.ui import ui
from orchestrator.cli.verify import verify
from orchestrator.cli.weights import weights
from orchestrator.config.secrets import mask_secrets
from orchestrator.errors import ClusterLostError, ConfigError, SweepError, unknown
from strategies._base import StrategyError

INTERRUPTED = 130
WRONG_USAGE = 2


class VerbGroup(click.Group):
    """A group whose default verb is `run`, so that `hsfm-sweep --grid quick` runs a sweep."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before arguments that name no verb."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h", "--version"):
            if not args[0].startswith("-") and "=" not in args[0]:
                raise unknown("verb", args[0], self.commands, hint="See `hsfm-sweep --help`.")
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=VerbGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Exit status: 0 all that was asked for is done; 1 some cells failed or are blocked (the others are done;
optional cells do not count); 2 wrong usage or configuration, nothing was started; 130 interrupted, resumable.
\b
Examples:
  hsfm-sweep --grid quick                         run the packaged grid, or continue it: the same command resumes
  hsfm-sweep --grid my.yaml seeds=5               a grid of your own, with one setting changed
  hsfm-sweep plan --grid quick                    what would run, why, and what it costs; starts nothing
  hsfm-sweep status --grid quick                  how far it is, and what failed""",
)
@click.version_option(__version__, prog_name="hsfm-sweep", message="%(prog)s %(version)s")
def hsfm_sweep() -> None:
    """Compare transfer strategies on hyperspectral data: every strategy tuned with the same budget.

    Without a verb, `hsfm-sweep --grid GRID` runs or continues a sweep.
    """


for command in (
    run,
    plan,
    status,
    retry,
    report,
    rescore,
    reproduce,
    verify,
    predict,
    export,
    ui,
    data,
    weights,
    strategy,
    cluster,
    doctor,
    reconcile,
    gc,
):
    hsfm_sweep.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; None = the process's own.

    Returns:
        The exit status.
    """
    if arguments is not None:
        return _status_of(list(arguments), is_command=False)
    # in every phase, not only while runs train: what is written stays whole, and the status says "interrupted"
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    status = _status_of(sys.argv[1:], is_command=True)
    if status:
        # Ray's farewell at the end of a process would wait for a cluster that may be gone, and change the status
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _status_of(given: list[str], *, is_command: bool) -> int:
    """Run one command line; a command of its own may start itself anew where its Ray has died."""
    try:
        result = hsfm_sweep.main(given, prog_name="hsfm-sweep", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted; the same command continues where it stopped", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has enough (`| head`): leave without a word, and without one at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.UsageError as error:
        return _say(_usage_text(error), WRONG_USAGE)
    except OSError as error:
        # a full disk, a folder without permission: the user's to mend, and the text of the error names the file
        if "--debug" in given:
            raise
        return _say(
            f"{error}; check the place and its free space (--debug shows where it happened)", SweepError.exit_code
        )
    except (SweepError, StrategyError) as error:
        if is_command and isinstance(error, ClusterLostError) and may_restart(error):
            restart(error)
        if "--debug" in given:
            raise
        return _say(str(error), error.exit_code if isinstance(error, SweepError) else ConfigError.exit_code)


def _interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _usage_text(error: click.UsageError) -> str:
    verb = error.ctx.command_path if error.ctx else "hsfm-sweep"
    text = error.format_message().rstrip(".")
    return f"{text[:1].lower()}{text[1:]}; see `{verb} --help`"


def _say(text: str, status: int) -> int:
    # addresses of servers and stores may carry a password
    click.echo(f"hsfm-sweep: {'' if status == INTERRUPTED else 'error: '}{mask_secrets(text)}", err=True)
    return status
