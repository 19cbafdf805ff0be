#!/usr/bin/env bash
# All that docs/results says of a machine, in one go and one folder:
#   tools/measure.sh OUT MODELS [SUITE]
# MODELS: a folder of .onnx files; those that `weights strip` made are drawn anew first. SUITE: the ONNX backend suite as folders.
# SARDONYX, WEIGHTS: the two programs (target/release/sardonyx, target/release/examples/weights). DEVICE: gpu. LIMIT: seconds for a step.
# A step that fails or takes too long is named in OUT/failed.txt, and the others go on: time on a borrowed machine doesn't come back.
set -uo pipefail
cd "$(dirname "$0")/.."

out=$1 models=$2 suite=${3:-}
sardonyx=${SARDONYX:-target/release/sardonyx} weights=${WEIGHTS:-target/release/examples/weights}
device=${DEVICE:-gpu} limit=${LIMIT:-90}
mkdir -p "$out"
: >"$out/failed.txt"

# NAME COMMAND…: the command's output in OUT/NAME.
step() {
  local name=$1 status=0 start=$SECONDS
  shift
  timeout "$limit" "$@" >"$out/$name" 2>"$out/$name.err" || status=$?
  echo "$name: $((SECONDS - start)) s, exit code $status"
  if [ $status -eq 0 ]; then rm "$out/$name.err"; else echo "$name: exit code $status: $(tail -1 "$out/$name.err")" >>"$out/failed.txt"; fi
}

step devices.txt "$sardonyx" devices
step devices.json "$sardonyx" devices --json -

drawn=$(mktemp -d)
trap 'rm -rf "$drawn"' EXIT
for model in "$models"/*.onnx; do
  "$weights" draw "$model" "$drawn/$(basename "$model")" || echo "$model can't be drawn" >>"$out/failed.txt"
done
sizes=(--set batch=1 --set sequence=128)

# What is wrong should be known before what is slow.
for precision in f32 f16; do
  for model in "$drawn"/*.onnx; do
    name=$(basename "$model" .onnx)
    step "bench-$name-$precision.json" "$sardonyx" bench "$model" "${sizes[@]}" --device "$device" --precision $precision --duration 2 --json -
  done
  step "kernels-$precision.md" "$sardonyx" bench --kernel all --device "$device" --precision $precision --markdown
done
if [ -n "$suite" ]; then
  step verify.json "$sardonyx" verify "$suite" --device "$device" --json -
  step verify-strict.json "$sardonyx" verify "$suite" --device "$device" --strict --json -
fi
for precision in f32 f16; do
  for model in "$drawn"/*.onnx; do
    step "compare-$(basename "$model" .onnx)-$precision.txt" \
      "$sardonyx" compare "$model" "${sizes[@]}" --device "$device" --precision $precision --per-node
  done
done
for model in "$drawn"/*.onnx; do
  step "profile-$(basename "$model" .onnx).txt" "$sardonyx" bench "$model" "${sizes[@]}" --device "$device" --precision f16 --runs 5 --profile
done
cat "$out/failed.txt"
