"""Fuzz what reads strangers' bytes, guided by coverage; needs `pip install atheris`.

    python tests/support/faults/fuzz.py TARGET [--seconds 300]

TARGET is a name of tests/support/faults/targets.py. A finding ends it with the traceback, and the bytes
lie in the file that libFuzzer names. Each finding becomes a test.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))


def main() -> None:
    """Run it from the command line."""
    import atheris

    with atheris.instrument_imports(include=["kdbench", "tomllib", "tarfile"]):
        from tests.support.faults.targets import TARGETS, refused

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    with TemporaryDirectory(prefix="kdbench-fuzz-") as name:
        folder, corpus = Path(name, "work"), Path(name, "corpus")
        folder.mkdir()
        corpus.mkdir()
        for number, seed in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(seed)
        options = [
            f"-max_total_time={asked.seconds}",
            "-rss_limit_mb=2048",
            "-timeout=20",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: refused(target, folder, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
