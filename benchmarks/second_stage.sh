#!/usr/bin/env bash
# What each ingredient of the second stage gains on the phantom: rows 3 to 5 each add one to the row before, rows 6 and 7
# each add another to row 5, row 8 a second round to row 7.
# usage: benchmarks/second_stage.sh OUT [SEED...]     (seeds 0 1 2 if none is named)
#   OUT   folder for the study and all runs; what is there already is not made again, what was killed goes on
set -euo pipefail
out=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- 0 1 2
[ -e "$out/study/manifest.parquet" ] ||
    histoproto data phantom "$out/study" --train 640 --val 64 --test 64 --size-px 112 --slide-px 0

# evaluated RUN OPTIONS: evaluate unless evaluated
evaluated() { [ -e "$1/eval/metrics.json" ] || histoproto evaluate "$1" --split test "${@:2}"; }

# segmented NAME SEED OPTIONS: train unless trained, then evaluate
segmented() {
    local run=$out/$1-$2
    if [ ! -e "$run/config.yaml" ]; then
        histoproto segment "$out/1-lpd-$2" --run "$run" --seed "$2" --epochs 10 "${@:3}"
    elif [ ! -e "$run/eval/metrics.json" ]; then
        histoproto segment --resume "$run" || true
    fi
    evaluated "$run"
}

for seed in "$@"; do
    [ -e "$out/1-lpd-$seed/config.yaml" ] ||
        histoproto train lpd "$out/study" --run "$out/1-lpd-$seed" --seed "$seed" --epochs 18
    evaluated "$out/1-lpd-$seed"
    # the same run, refined at prediction
    [ -e "$out/2-refined-$seed/config.yaml" ] || cp -r "$out/1-lpd-$seed" "$out/2-refined-$seed"
    [ -e "$out/2-refined-$seed/refined" ] || histoproto evaluate "$out/2-refined-$seed" --split test --refine affinity
    touch "$out/2-refined-$seed/refined"
    segmented 3-segmenter "$seed" --settings "$here/settings/no_average.yaml"
    segmented 4-mosaics "$seed" --settings "$here/settings/no_average.yaml" --mosaics 0.5
    segmented 5-average "$seed" --mosaics 0.5
    segmented 6-refined-masks "$seed" --mosaics 0.5 --refine affinity
    segmented 7-relabelled "$seed" --mosaics 0.5 --relabel 0.9
    # the first of two rounds is the row above
    [ -e "$out/8-rounds-$seed/previous" ] ||
        { mkdir -p "$out/8-rounds-$seed" && cp -r "$out/7-relabelled-$seed" "$out/8-rounds-$seed/previous"; }
    segmented 8-rounds "$seed" --mosaics 0.5 --relabel 0.9 --rounds 2
done
python "$here/table.py" "$out"/[1-8]-*-[0-9]
