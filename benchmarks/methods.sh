#!/usr/bin/env bash
# The four methods side by side: same backbone from random weights, same epochs, three seeds each.
# usage: benchmarks/methods.sh OUT [DATA WEIGHTS]
#   OUT      folder for studies, banks and runs; what is there already is not made again
#   DATA     lung-mini: folder with train/*.png and val/{img,mask}; without it only the phantom is done
#   WEIGHTS  torchvision's mobilenet_v2 state dict: the frozen encoder, and the teacher, on lung-mini
set -euo pipefail
out=$1 data=${2:-} weights=${3:-}
here=$(cd "$(dirname "$0")" && pwd)

# one METHOD STUDY-NAME SEED SPLIT EVALUATE-OPTIONS -- TRAIN-OPTIONS: train unless trained, evaluate unless evaluated
one() {
    local method=$1 study=$2 seed=$3 split=$4 run=$out/$2-$1-$3
    shift 4
    local evaluate=()
    while [ "$1" != -- ]; do evaluate+=("$1"); shift; done
    shift
    if [ ! -e "$run/config.yaml" ]; then
        histoproto train "$method" "$out/$study" --run "$run" --seed "$seed" "$@"
    elif [ ! -e "$run/eval/metrics.json" ]; then
        histoproto train --resume "$run" || true
    fi
    [ -e "$run/eval/metrics.json" ] || histoproto evaluate "$run" --split "$split" "${evaluate[@]}"
}

# Phantom: nothing pretrained anywhere. PBIP's bank is made by the backbone of the CAM run of the same seed.
[ -e "$out/phantom/manifest.parquet" ] ||
    histoproto data phantom "$out/phantom" --train 640 --val 64 --test 64 --size-px 112 --slide-px 0
for seed in 0 1 2; do
    one cam phantom $seed test -- --epochs 18
    bank=$out/phantom-bank-$seed
    [ -e "$bank/bank.json" ] ||
        histoproto bank "$out/phantom" --out "$bank" --encoder "run:$out/phantom-cam-$seed" --seed $seed
    one pbip phantom $seed test -- --epochs 18 --bank "$bank"
    one lpd phantom $seed test -- --epochs 18
    one construct phantom $seed test -- --epochs 18
done
python "$here/table.py" "$out"/phantom-{cam,pbip,lpd,construct}-?

# lung-mini: ImageNet's MobileNetV2 as frozen encoder of the similarity loss, of the bank and as teacher.
[ -n "$data" ] || exit 0
[ -e "$out/lung/manifest.parquet" ] || histoproto data import wsss4luad "$data" --out "$out/lung"
shown=(--mean-over tumour,stroma)
frozen=(--encoder mobilenet-v2 --encoder-weights "$weights")
for seed in 0 1 2; do
    one cam lung $seed val "${shown[@]}" -- --epochs 12
    bank=$out/lung-bank-$seed
    [ -e "$bank/bank.json" ] || histoproto bank "$out/lung" --out "$bank" "${frozen[@]}" --seed $seed
    one pbip lung $seed val "${shown[@]}" -- --epochs 12 --bank "$bank"
    one lpd lung $seed val "${shown[@]}" -- --epochs 12 "${frozen[@]}"
    one construct lung $seed val "${shown[@]}" -- --epochs 12 "${frozen[@]}" --teacher mobilenet-v2 --teacher-weights "$weights"
done
python "$here/table.py" "$out"/lung-{cam,pbip,lpd,construct}-?
