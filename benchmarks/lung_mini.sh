#!/usr/bin/env bash
# LPD on lung-mini (WSSS4LUAD patches of 96 px): three seeds from random weights and three on ImageNet's MobileNetV2.
# usage: benchmarks/lung_mini.sh DATA WEIGHTS OUT
#   DATA     folder with train/*.png and val/{img,mask}
#   WEIGHTS  torchvision's mobilenet_v2 state dict
#   OUT      folder for study and runs
set -euo pipefail
data=$1 weights=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
[ -e "$out/study/manifest.parquet" ] || histoproto data import wsss4luad "$data" --out "$out/study"
for seed in 0 1 2; do
    histoproto train lpd "$out/study" --run "$out/random-$seed" --seed "$seed" --settings "$here/settings/lung_random.yaml"
    histoproto evaluate "$out/random-$seed" --split val --mean-over tumour,stroma
    histoproto train lpd "$out/study" --run "$out/mobilenet-$seed" --seed "$seed" --weights "$weights" \
        --settings "$here/settings/lung_mobilenet.yaml"
    histoproto evaluate "$out/mobilenet-$seed" --split val --mean-over tumour,stroma
done
python "$here/table.py" "$out"/random-? "$out"/mobilenet-?
