"""LUAD-HistoSeg: lung adenocarcinoma, four tissues, about 17,290 patches of 224 x 224 px.

======== =====================================================================================================
classes  TE, NEC, LYM, TAS in the order of label digits and mask values (not the order of most other papers);
         mask value 4 is white
splits   train 16,678 with labels in the names, val 300 (or 306) and test 307 with palette masks
names    train ``1031280-2300-27920-[1 0 0 1].png`` (patient, x, y), val and test without brackets
group    the patient number, ``1031280``; of TCGA names the patient part
size     10x, taken as 1.0 micron per pixel
source   Han et al., Medical Image Analysis 80, 2022; no licence stated
======== =====================================================================================================
"""

from pathlib import Path

from histoproto.data.filenames import leading_token, tcga_patient
from histoproto.data.sheets import DataSheet
from histoproto.taxonomy import LUAD_HISTOSEG


def _group(path: Path, split: str) -> str:
    del split  # names are unique over the splits
    return tcga_patient(path.name) or leading_token(path.name)


SHEET = DataSheet(taxonomy=LUAD_HISTOSEG, group_of=_group, mpp=1.0)
