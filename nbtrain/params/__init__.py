"""The one place where a parameter is described: magic, CLI, panel, check, sweep, export and docs all read it here."""

from nbtrain.params.base import Params
from nbtrain.params.options import Option, option

__all__ = ["Option", "Params", "option"]
