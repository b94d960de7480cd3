"""Where tests run that hold a GPU against the CPU: on both, so that they are known to work."""

import pytest

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
