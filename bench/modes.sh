#!/bin/sh
# The precision modes and presets side by side on one short schedule without warm-up: final accuracy
# on Fashion-MNIST's test part, peak memory and training time of every run.
#   bench/modes.sh [PROGRAM [DATA [FOLDER]]]    42 runs, two at a time with one thread each
# Runs that have finished in FOLDER are kept, so an interrupted series goes on where it stopped.
# Then: bench/modes.py FOLDER prints the table.
set -eu
program=${1:-build/release/cli/bitprop}
data=${2:-/usr/share/datasets/fashion-mnist}
folder=${3:-runs/modes}
schedule='--width 0.25 --limit-train 8000 --limit-val 2000 --epochs 2 --lr 0.01 --batch 128 --threads 1'
mkdir -p "$folder"

for seed in 1 2 3; do
    for model in vgg16 resnet18; do
        for mode in qat psq fqt:paper fqt:paper-code fqt:one-bit fqt:balanced fqt:accurate; do
            echo "$model $mode $seed"
        done
    done
done | xargs -P 2 -L 1 sh -c '
    program=$1 data=$2 folder=$3 schedule=$4 model=$5 mode=$6 seed=$7
    run=$folder/$model-$(echo "$mode" | tr : -)-$seed
    grep -qs '"'"'"status": "done"'"'"' "$run/result.json" && exit 0
    rm -rf "$run"
    preset=
    case $mode in fqt:*) preset="--preset ${mode#fqt:}" ;; esac
    # shellcheck disable=SC2086 # lists of options
    "$program" train "$data" --run "$run" --model "$model" --precision "${mode%%:*}" $preset \
        --seed "$seed" $schedule >"$run.log" 2>&1 || echo "$run: failed, see $run.log" >&2
' sh "$program" "$data" "$folder" "$schedule"
