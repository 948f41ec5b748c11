"""Every command with warnings as errors, as under `python -W error -m backstory`."""

import os
import subprocess
import sys

from mixed import mixed_table

COMMANDS = """
fit digits -o run --epochs 1 --hidden 8 --latent 2
info digits
info run
sample run -n 2 -o drawn.png
encode run digits -o z.npy --limit 5
evaluate run digits --limit 5
score run digits -o scores.csv --limit 5 --reference digits
reconstruct run digits -o again.png --limit 5
restore run digits -o restored.png --noise 0.1 --limit 2
fit table.csv -o mixed --epochs 1 --hidden 8 --embedding 8 --latent 2
info table.csv
sample mixed -n 3 -o drawn.csv
encode mixed table.csv -o z.csv
evaluate mixed table.csv --limit 5 --missing 0.3
score mixed table.csv -o strange.csv --limit 10
reconstruct mixed table.csv -o again.csv --limit 10
impute mixed table.csv -o full.csv --draws 2
impute mixed table.csv -o full.parquet
restore mixed table.csv -o restored.csv --limit 5
"""
ALIKE = ["age", "plan", "income", "temperature", "current"]  # columns of kinds that other columns have
SCRIPT = """
import runpy, sys
for line in sys.stdin.read().split("\\n"):
    sys.argv = ["backstory", *line.split()]
    if len(sys.argv) > 1:
        try:
            runpy.run_module("backstory", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code, (line, end.code)
"""


def test_no_command_warns(tmp_path):
    table = mixed_table(40, 0).drop(columns=ALIKE)
    table.loc[3, "version"] = None
    table.to_csv(tmp_path / "table.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        input=COMMANDS,
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"full.csv", "restored.png", "strange.csv"}
