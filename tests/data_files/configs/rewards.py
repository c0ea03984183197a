def short(completions, **kwargs):
    """The shorter an answer, the better."""
    return [-float(len(str(each))) for each in completions]
