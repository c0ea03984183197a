"""The same with what Colab ships: the panel and the view in a page of ipywidgets 7.7.1 and IPython 7.34.

Run by the environment of those versions: `make test`, its third part.
"""

import IPython
import ipywidgets
import pytest

from tests.browser.test_panel import (  # noqa: F401
    test_a_panel_of_a_run_is_opened_again_after_the_kernel_was_restarted,
    test_a_run_is_filled_in_mended_trained_changed_and_stopped_by_keyboard_and_its_script_runs,
)

pytestmark = pytest.mark.browser


def test_these_are_the_versions_of_colab():
    assert (ipywidgets.__version__, IPython.__version__) == ("7.7.1", "7.34.0")
