"""Commands about search files: spaces, schema."""

import json

import click

from rtune.cli.failures import failures
from rtune.config import spec
from rtune.config.spaces import built_in


@click.command()
def spaces() -> None:
    """List the built-in search spaces."""
    for name, file in built_in().items():
        with failures():
            click.echo(f"{name:20} {spec.load(file).file.description}")


@click.command()
def schema() -> None:
    """Print the JSON schema of search files.

    Editors use it to check and to complete search files.
    """
    from rtune.config.json_schema import search_file_schema

    with failures():
        click.echo(json.dumps(search_file_schema(), indent=2))
