"""The commands: what their options are called and what they may be. Heavy imports wait for `cli.actions`."""
