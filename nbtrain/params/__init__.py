"""The one place where a parameter is described: magic, CLI, panel, check, sweep, export and docs all read it here."""

from nbtrain.params.base import Option, Params, option

__all__ = ["Option", "Params", "option"]
