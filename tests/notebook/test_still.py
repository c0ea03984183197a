"""The picture for pages that show no HTML."""

from nbtrain.notebook import draw


def test_the_picture_is_small_and_leaves_the_users_matplotlib_alone(stored):
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn = draw.picture(stored("finished"))
    assert drawn.startswith(b"\x89PNG") and len(drawn) <= 17_000
    assert dict(matplotlib.rcParams) == before
