"""What all tests share: property tests do not race the clock, and CI tries the same examples each time."""

import os

from hypothesis import settings

settings.register_profile("kdbench", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("kdbench")
