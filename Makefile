# What CI runs, for people: in a virtual environment, after `pip install -e '.[test]'`.
.PHONY: check lint types test requirements report golden

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

test:
	pytest

# The versions with hashes that requirements-tested.txt records; needs `pip install uv`.
requirements:
	uv pip compile pyproject.toml --extra test --generate-hashes --no-header -q -o requirements-tested.txt
	sed -i '1i # The versions that kdbench was last tested with, with hashes: pip install -r requirements-tested.txt \&\& pip install --no-deps -e .\n# Made by `make requirements`.' requirements-tested.txt

# The quickstart's report and the part of it that the README shows.
report:
	kdbench run suites/quickstart > /dev/null
	kdbench report suites/quickstart -o results/quickstart.md
	kdbench report suites/quickstart --into README.md

# The golden reports in tests/golden/report, with the made-up results they tell of. Read what changed.
golden:
	python -m tests.golden_report
