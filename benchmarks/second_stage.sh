#!/usr/bin/env bash
# What each ingredient of the second stage gains on the phantom: rows 3 to 5 each add one to the row before, rows 6 and 7
# each add another to row 5, row 8 a second round to row 7. Prints two tables: val, where ingredients are chosen, and test.
# usage: benchmarks/second_stage.sh OUT [SEED...]     (seeds 0 1 2 if none is named)
#   OUT   folder for the study and all runs; what is there already is not made again, what was killed goes on
set -euo pipefail
out=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- 0 1 2
[ -e "$out/study/manifest.parquet" ] ||
    histoproto data phantom "$out/study" --train 640 --val 64 --test 64 --size-px 112 --slide-px 0

# evaluated RUN OPTIONS: evaluate on val and on test unless that is done; figures of val go to OUT/val
evaluated() {
    local run=$1 val=$out/val/$(basename "$1")
    if [ ! -e "$val/run.json" ]; then
        histoproto evaluate "$run" --split val "${@:2}"
        mkdir -p "$val/eval"
        cp "$run/eval/metrics.json" "$val/eval/"
        cp "$run/run.json" "$val/"
        histoproto evaluate "$run" --split test "${@:2}"
    elif ! grep -q '"split": "test"' "$run/eval/metrics.json"; then
        histoproto evaluate "$run" --split test "${@:2}"
    fi
}

# copied FROM TO: the same training under another name, to be evaluated in another way
copied() { [ -e "$2/config.yaml" ] || { cp -r "$1" "$2.part" && mv "$2.part" "$2"; }; }

# segmented NAME SEED OPTIONS: train unless trained, then evaluate
segmented() {
    local run=$out/$1-$2
    if [ ! -e "$run/config.yaml" ]; then
        histoproto segment "$out/1-lpd-$2" --run "$run" --seed "$2" --epochs 10 "${@:3}"
    elif [ ! -e "$out/val/$1-$2/run.json" ]; then
        histoproto segment --resume "$run" || true
    fi
    evaluated "$run"
}

for seed in "$@"; do
    [ -e "$out/1-lpd-$seed/config.yaml" ] ||
        histoproto train lpd "$out/study" --run "$out/1-lpd-$seed" --seed "$seed" --epochs 18
    evaluated "$out/1-lpd-$seed"
    copied "$out/1-lpd-$seed" "$out/2-refined-$seed"
    evaluated "$out/2-refined-$seed" --refine affinity
    segmented 3-segmenter "$seed" --settings "$here/settings/no_average.yaml"
    segmented 5-average "$seed" --mosaics 0.5
    copied "$out/5-average-$seed" "$out/4-mosaics-$seed"
    evaluated "$out/4-mosaics-$seed" --checkpoint last # the same training without its average
    segmented 6-refined-masks "$seed" --mosaics 0.5 --refine affinity
    segmented 7-relabelled "$seed" --mosaics 0.5 --relabel 0.9
    # the first of two rounds is the row above
    [ -e "$out/8-rounds-$seed/previous" ] ||
        { mkdir -p "$out/8-rounds-$seed" && cp -r "$out/7-relabelled-$seed" "$out/8-rounds-$seed/previous"; }
    segmented 8-rounds "$seed" --mosaics 0.5 --relabel 0.9 --rounds 2
done
echo "val"
python "$here/table.py" "$out"/val/[1-8]-*-[0-9]
echo "test"
python "$here/table.py" "$out"/[1-8]-*-[0-9]
