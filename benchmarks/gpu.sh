#!/usr/bin/env bash
# All that should be measured on a machine with a GPU: bash benchmarks/gpu.sh [SCALE]
# The folder OUT (gpu) gets what each step printed, the race's records, and of every run its numbers and samples.
# Steps are independent: one that fails is reported at the end, and the others go on. SCALE=0.01 tries it in little.
set -uo pipefail
scale=${1:-1} out=${OUT:-gpu}
minutes=$(awk "BEGIN { print 10 * $scale }")
mkdir -p "$out" && make setup || exit 1
bin=.venv/bin failed=()
export GENLAB_RUNS=${GENLAB_RUNS:-$PWD/runs}

step() { # name command...: run it, keep what it prints
    local name=$1 start=$SECONDS
    shift
    "$@" 2>&1 | tee "$out/$name.log" || failed+=("$name")
    echo "$name: $((SECONDS - start)) s" | tee -a "$out/seconds.txt"
}

nvidia-smi > "$out/gpu.txt" 2>&1
for task in mnist fashion_mnist; do
    step "race-$task" $bin/genlab_race $task muon --seeds 0 1 2 --minutes "$minutes"
done
cp -r report/race "$out"
step unet $bin/python benchmarks/unet.py
step course make report PROFILE=course SCALE="$scale"
(cd "$GENLAB_RUNS" && find . \( -name metrics.json -o -name config.json -o -name history.csv -o -name samples.png \) -print0 |
    tar -c --null -T -) | tar -x -C "$out"
step test make test
test ${#failed[@]} = 0 || { echo "failed: ${failed[*]}"; exit 1; }
