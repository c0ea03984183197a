"""What users of other systems type and no room here has yet: known by name, and refused with the reason."""

from __future__ import annotations

from pydantic import BaseModel

from nbtrain.params.options import option


class Refused(BaseModel):
    """Each is at its default, whatever was asked."""

    stream: bool = option(
        False,
        "read rows as they are needed",
        group="Data",
        refused="not in this version. Rows are mapped from the disk, so data may be larger than the memory; what is "
        "larger than the disk is trained in parts, each from the last one's model: --model RUN.",
    )
