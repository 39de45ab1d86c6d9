#!/usr/bin/env bash
# The second stage on lung-mini: a segmenter from the ImageNet weights that the first stage started from, then a second
# round on the segmenter's own masks; three seeds.
# usage: benchmarks/lung_second_stage.sh STAGE1 OUT
#   STAGE1  folder of benchmarks/lung_mini.sh, with its runs mobilenet-0 to mobilenet-2
#   OUT     folder for all runs; what is there already is not made again, what was killed goes on
set -euo pipefail
stage1=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)

# segmented SOURCE RUN SEED OPTIONS: train unless trained, then evaluate
segmented() {
    if [ ! -e "$2/config.yaml" ]; then
        histoproto segment "$1" --run "$2" --seed "$3" --settings "$here/settings/lung_segment.yaml" "${@:4}"
    elif [ ! -e "$2/eval/metrics.json" ]; then
        histoproto segment --resume "$2" || true
    fi
    [ -e "$2/eval/metrics.json" ] || histoproto evaluate "$2" --split val --mean-over tumour,stroma
}

mkdir -p "$out"
for seed in 0 1 2; do
    segmented "$stage1/mobilenet-$seed" "$out/no-mosaics-$seed" "$seed"
    segmented "$stage1/mobilenet-$seed" "$out/mosaics-$seed" "$seed" --mosaics 0.5
    # the same training without its average
    [ -e "$out/no-average-$seed/eval/metrics.json" ] || {
        rm -rf "$out/no-average-$seed"
        cp -r "$out/mosaics-$seed" "$out/no-average-$seed"
        rm -r "$out/no-average-$seed/eval"
        histoproto evaluate "$out/no-average-$seed" --split val --mean-over tumour,stroma --checkpoint last
    }
    segmented "$out/mosaics-$seed" "$out/round-$seed" "$seed" --mosaics 0.5
done
python "$here/table.py" "$out"/no-mosaics-? "$out"/no-average-? "$out"/mosaics-? "$out"/round-?
