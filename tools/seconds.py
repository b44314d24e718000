"""After a whole `make report`: how long its executions took, for the estimates of the next ones.

`.venv/bin/python tools/seconds.py` reads the notebooks in `runs` that the profile quick has executed, and
writes report/seconds.json. Do it on an idle machine, after a change of quick.yaml.
"""

from pathlib import Path

from genlab.plug import LABS
from genlab.sweep import keep_seconds, plan, plan_labs

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "report" / "profiles" / "quick.yaml"


def main() -> None:
    results = {job.result for job in plan(PROFILE)} | {LABS[notebook]() for notebook in plan_labs(PROFILE)}
    keep_seconds(sorted(results), ROOT / "report" / "seconds.json")


if __name__ == "__main__":
    main()
