"""The commands: their options and help texts. The work is done in `rtune.cli.actions`, imported at a call."""
