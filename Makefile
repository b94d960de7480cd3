# What CI runs, for people: in a virtual environment, after `pip install -e '.[test]'`.
.PHONY: check lint types test requirements report golden costs ratios bench bench-accept

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
	kdbench report suites/quickstart --update README.md

# The golden reports in tests/golden/report, with the made-up results they tell of. Read what changed.
golden:
	python -m tests.support.golden_report

# The counts of kdbench's own models, kdbench/cost/counts.json: after a model was added or changed. A minute.
costs:
	python -m kdbench.training.counting

# Speed against the usual way, with its bars (docs/cost.md); some twenty minutes of one core. Needs CIFAR-100.
ratios:
	python tests/bench/ratios.py

# Step and data path against the last accepted run; bench-accept makes this run the accepted one.
BENCH = pytest tests/bench --benchmark-enable --benchmark-only --benchmark-json=results/bench/tracked.json
bench:
	$(BENCH)

bench-accept:
	$(BENCH) --accept
