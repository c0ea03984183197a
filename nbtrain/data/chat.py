"""Chat data from its rows to tokens: recognise the form, take the messages, render them by a template, encode.

Each step stands in a file of its own: forms, templates, encoding, tokens.
"""

from nbtrain.data.encoding import Encoded, encode
from nbtrain.data.forms import Form, messages, recognise
from nbtrain.data.templates import TEMPLATES, template_for
from nbtrain.data.tokens import tokenised

__all__ = ["TEMPLATES", "Encoded", "Form", "encode", "messages", "recognise", "template_for", "tokenised"]
