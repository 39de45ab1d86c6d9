#!/usr/bin/env bash
# LPD trained and evaluated in single precision and in bfloat16: what the faster one costs.
# usage: benchmarks/precision.sh OUT [DATA WEIGHTS]
#   OUT      folder for studies and runs; what is there already is not made again
#   DATA     lung-mini: folder with train/*.png and val/{img,mask}; without it only the phantom is done
#   WEIGHTS  torchvision's mobilenet_v2 state dict
set -euo pipefail
out=$1 data=${2:-} weights=${3:-}
here=$(cd "$(dirname "$0")" && pwd)

# one RUN STUDY SPLIT EVALUATE-OPTIONS -- TRAIN-OPTIONS: train unless trained, evaluate unless evaluated
one() {
    local run=$1 study=$2 split=$3
    shift 3
    local evaluate=()
    while [ "$1" != -- ]; do evaluate+=("$1"); shift; done
    shift
    [ -e "$run/config.yaml" ] || histoproto train lpd "$study" --run "$run" "$@"
    [ -e "$run/eval/metrics.json" ] || histoproto evaluate "$run" --split "$split" "${evaluate[@]}"
}

mkdir -p "$out"
[ -e "$out/phantom/manifest.parquet" ] ||
    histoproto data phantom "$out/phantom" --train 640 --val 64 --test 64 --size-px 112 --slide-px 0
for precision in fp32 bf16; do
    echo "{training: {precision: $precision}, inference: {precision: $precision}}" > "$out/phantom-$precision.yaml"
    for seed in 0 1 2; do
        one "$out/phantom-$precision-$seed" "$out/phantom" test -- --epochs 18 --seed $seed \
            --settings "$out/phantom-$precision.yaml"
    done
done
python "$here/table.py" "$out"/phantom-{fp32,bf16}-?

[ -n "$data" ] || exit 0
[ -e "$out/lung/manifest.parquet" ] || histoproto data import wsss4luad "$data" --out "$out/lung"
for precision in fp32 bf16; do
    sed "s/^training: {/&precision: $precision, /; s/^inference: {/&precision: $precision, /" \
        "$here/settings/lung_mobilenet.yaml" > "$out/lung-$precision.yaml"
    for seed in 0 1 2; do
        one "$out/lung-$precision-$seed" "$out/lung" val --mean-over tumour,stroma -- --seed $seed \
            --weights "$weights" --settings "$out/lung-$precision.yaml"
    done
done
python "$here/table.py" "$out"/lung-{fp32,bf16}-?
