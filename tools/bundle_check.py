#!/usr/bin/env python3
"""Plants faults, has `compare --bundle` write each as a folder, and runs those folders by themselves.

    tools/bundle_check.py target/debug/sardonyx [--device gpu] [--seeds 20] [--packages wgpu,wgpudawn]
        [--model models/tiny/mlp/model.onnx ...]

For each seed and model: the comparison names the node that the fault was planted in; replay.py shows the
difference (exit code 1), through each package; and the same node's bundle without the fault replays clean
(exit code 0). A row each, and exit code 1 where any of it fails. Where a package isn't installed, or has no
text of a kernel that it takes, the row says so and nothing is claimed of it.

Needs Python's package numpy, and wgpu or wgpudawn.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

MODELS = [f"models/tiny/{name}/model.onnx" for name in ("mlp", "conv_odd", "branches", "decoder", "joined")]


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.strip().splitlines()


def replay(folder, packages):
    """Exit codes by package; None where it can't run, with the reason."""
    found = {}
    for package in packages:
        code, _, talk = run([sys.executable, folder / "replay.py", "--package", package])
        found[package] = code if code != 2 else (talk[-1] if talk else "it said nothing")
    return found


def check(arguments, model, seed, folder):
    base = [arguments.sardonyx, "compare", model, "--device", arguments.device, "--json", "-"]
    faulty = folder / "faulty"
    code, out, talk = run(base + ["--plant-fault", seed, "--bundle", faulty])
    if code == 2 and any("no fault would show" in line for line in talk):
        return "no fault shows here", []
    if code != 1:
        return "", [f"compare gave exit code {code}: {talk[-1:]}"]
    report = json.loads(out)
    planted, first = report["planted"], report["first_different"]
    problems = []
    if planted["node"] != (first or {}).get("node"):
        problems.append(f"planted in {planted['node']}, found {first}")
    said = []
    replayed = replay(faulty, arguments.packages)
    for package, result in replayed.items():
        said.append(f"{package} {result}")
        if result == 0:
            problems.append(f"the difference doesn't show through {package}")
    if 1 not in replayed.values():
        problems.append("no package has shown the difference")
    measure = json.loads((faulty / "dispatch.json").read_text(encoding="utf-8"))["measure"]
    clean = folder / "clean"
    code, _, talk = run(base + ["--bundle", clean, "--bundle-node", planted["node"]])
    if code != 0:
        problems.append(f"without the fault compare gave exit code {code}: {talk[-1:]}")
    else:
        for package, result in replay(clean, arguments.packages).items():
            said.append(f"clean {package} {result}")
            if result != 0 and replayed[package] == 1:
                problems.append(f"without the fault {package} doesn't run clean")
    return f"{planted['kind']} in {planted['node']} ({measure}): {', '.join(said)}", problems


def main():
    raw = argparse.RawDescriptionHelpFormatter
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    arguments.add_argument("sardonyx")
    arguments.add_argument("--device", default="gpu")
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--packages", default="wgpu,wgpudawn")
    arguments.add_argument("--model", action="append")
    arguments = arguments.parse_args()
    wanted = arguments.packages.split(",")
    arguments.packages = [name for name in wanted if importlib.util.find_spec(name)]
    for name in set(wanted) - set(arguments.packages):
        print(f"left out: the package {name} is not installed")
    if not arguments.packages:
        print("nothing was checked")
        return 2
    models, failed, shown = arguments.model or MODELS, 0, 0
    for seed in range(arguments.seeds):
        model = models[seed % len(models)]
        with tempfile.TemporaryDirectory() as folder:
            row, problems = check(arguments, model, seed, pathlib.Path(folder))
        print(f"seed {seed}, {model}: {row}", flush=True)
        for problem in problems:
            print(f"  WRONG: {problem}", flush=True)
        failed += bool(problems)
        shown += "no fault" not in row
    print(f"{shown} faults, {failed} seeds wrong")
    return 1 if failed or not shown else 0


if __name__ == "__main__":
    sys.exit(main())
