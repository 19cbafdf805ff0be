#!/usr/bin/env python3
"""How often `report diff` cries wolf, and how often it misses: pairs of measurements of one model, first of the same
program, then with every run of the second slowed by a known factor.

    aa_runs.py MODEL [--ours PROGRAM] [--device cpu] [--pairs 20] [--runs 40] [--rounds 10] [--slowed 1.2]

Prints what each pair came to, and the two counts. A pair of equals should come to "no difference", a pair of unequals
to "slower".
"""
import argparse
import collections
import json
import pathlib
import subprocess
import tempfile


def measure(options, out: pathlib.Path, *more: str) -> None:
    command = [options.ours, "bench", options.model, "--device", options.device, "--runs", str(options.runs)]
    command += ["--rounds", str(options.rounds), "--no-accuracy", "--json", str(out), *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def judged(options, before: pathlib.Path, after: pathlib.Path) -> tuple[str, float]:
    command = [options.ours, "report", "diff", str(before), str(after), "--json", "-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 2:
        raise SystemExit(done.stderr)
    cell = json.loads(done.stdout)["cells"][0]
    return cell["judgement"], cell["ratio"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ours", default="target/release/sardonyx")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--slowed", type=float, default=1.2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, other = pathlib.Path(folder) / "a.json", pathlib.Path(folder) / "b.json"
        for name, more in [("A/A", ()), (f"A/B, slowed to {options.slowed}", ("--slowed", str(options.slowed)))]:
            counts = collections.Counter()
            ratios = []
            for _ in range(options.pairs):
                measure(options, one)
                measure(options, other, *more)
                judgement, ratio = judged(options, one, other)
                counts[judgement] += 1
                ratios.append(f"{ratio:.3f}")
            print(f"{name}: {dict(counts)}; ratios {' '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
