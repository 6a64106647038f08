"""The command `rtune`. Each command imports heavy packages itself, so that `--help` is fast."""

import sys
from typing import Any

import click

from rtune import __version__
from rtune.cli.commands import launches, networks, reports, runs, spaces


class _OneSentence(click.Group):
    """A group that prints usage errors of click in one line, as all other errors of rtune."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.UsageError as error:
            sentence = " ".join(error.format_message().split())
            click.echo(f"rtune: {sentence}", err=True)
            code = 2
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("rtune: interrupted", err=True)
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


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
