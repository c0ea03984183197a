"""Every colour of the view can be seen, in light and in dark."""

import re

import pytest

from nbtrain.notebook.theme import _DARK, _LIGHT


@pytest.mark.parametrize(("colours", "page"), [(_LIGHT, "#ffffff"), (_DARK, "#111111")], ids=["light", "dark"])
def test_every_colour_stands_out_from_the_page(colours, page):
    found = re.findall("#[0-9a-f]{6}", colours)
    assert len(found) == 4
    assert all(contrast(colour, page) >= 4.5 for colour in found)


def contrast(one, other):
    """As WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
