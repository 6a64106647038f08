"""The command `rtune`. Each command imports heavy packages itself, so that `--help` is fast."""

import sys
from typing import Any

import click

from rtune import __version__, console
from rtune.cli.commands import launches, networks, reports, runs, spaces


class _OneSentence(click.Group):
    """A group that prints any error in one line on standard error, also one of standard output."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        console.open_standard_streams()
        try:
            code = self._run(args, kwargs)
            console.flush_output()
        except console.OutputError as failure:
            console.continue_without_output()
            code = 1
            if not isinstance(failure.error, BrokenPipeError):  # as in `rtune results RUN | head`
                console.complain(f"standard output cannot be written: {failure}")
        sys.exit(code)

    def _run(self, args: Any, kwargs: Any) -> int:
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except SystemExit as ending:
            code = ending.code
        except click.UsageError as error:
            console.complain(" ".join(error.format_message().split()))
            code = 2
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            console.complain("interrupted")
            code = 130
        return code if isinstance(code, int) else 0


@click.group(cls=_OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rtune")
def main() -> None:
    """Distributed hyperparameter search for robust pruning.

    A search writes a run. RUN is the name of a run in the folder --runs, or the path or URI of a run.
    """


for _command in (
    launches.search,
    launches.resume,
    launches.replicate,
    runs.results,
    runs.status,
    runs.prune_checkpoints,
    reports.report,
    reports.best,
    networks.export,
    networks.evaluate,
    spaces.spaces,
    spaces.schema,
):
    main.add_command(_command)
