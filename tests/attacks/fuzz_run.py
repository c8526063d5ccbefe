"""tools/fuzz_reader's second half: libFuzzer, started again after each finding until the time is spent.

python -m tests.attacks.fuzz_run SECONDS          all of it
python -m tests.attacks.fuzz_run --one OPTION...  one libFuzzer process, with libFuzzer's own options
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

CACHE = Path(".cache") / "fuzz-reader"
MOST_FINDINGS = 20
# MiB of memory, seconds for one input, and its size: more would be findings themselves
LIMITS = ("-rss_limit_mb=1024", "-malloc_limit_mb=256", "-timeout=10", "-max_len=60000")


def one(options: list[str]) -> None:
    import atheris

    # only what is imported in here reports which branches an input has reached
    with atheris.instrument_imports(include=["edgecnn.artifact", "edgecnn.device.golden", "edgecnn.device.whole"]):
        from tests.attacks.fuzz import check
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


def main(seconds: int) -> int:
    from tests.attacks.fuzz import seeds

    corpus, seeded, findings = (CACHE / name for name in ("corpus", "seeds", "findings"))
    for folder in (corpus, seeded, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (seeded / f"{number:02}").write_bytes(seed)
    executions, found = 0, []
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0 and len(found) < MOST_FINDINGS:
        options = [f"-max_total_time={left}", "-print_final_stats=1", f"-artifact_prefix={findings}/", *LIMITS, str(corpus), str(seeded)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.attacks.fuzz_run", "--one", *options], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        executions += int((re.findall(r"number_of_executed_units: *(\d+)", done.stderr) or [0])[0])
        covered = (re.findall(r"cov: (\d+)", done.stderr) or ["?"])[-1]
        if done.returncode == 0:
            continue
        files = re.findall(r"Test unit written to (\S+)", done.stderr)
        if not files:
            sys.exit(f"the fuzzer didn't run:\n{done.stderr[-3000:]}")
        found.append(files[0])
        print(f"finding {len(found)}: {files[0]}\n{_what(done.stderr)}", flush=True)
    print(f"{executions} executions, {covered} branches reached, {len(list(corpus.iterdir()))} inputs in the corpus, {len(found)} findings")
    return 1 if found else 0


def _what(log: str) -> str:
    """The traceback, or libFuzzer's own words about time and memory."""
    start = log.find("=== Uncaught Python exception: ===")
    if start >= 0:
        return log[start : start + 3000].partition("==== libFuzzer")[0].partition("\n==")[0]
    return "\n".join(line for line in log.splitlines() if "ERROR: libFuzzer" in line)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        sys.exit(main(int(sys.argv[1])))
