"""BCSS-WSSS: breast cancer, four tissues, 31,826 patches of 224 x 224 px.

======== =====================================================================================================
classes  TUM, STR, LYM, NEC in the order of label digits and mask values; mask value 4 is white or excluded
splits   train 23,422 with labels in the names, val 3,418 and test 4,986 with palette masks
names    train ``TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101].png``, val and test without brackets
group    the patient, ``TCGA-A1-A0SK``; of other names a leading word with number (``PHANTOM-01``), else what
         stands before the first ``-`` or ``_``
size     0.25 microns per pixel (40x), as the names say
source   Han et al., Medical Image Analysis 80, 2022, cut from BCSS (Amgad et al. 2019, CC0); the package
         itself states no licence
======== =====================================================================================================

The procedural phantom comes in the same form.
"""

from pathlib import Path

from histoproto.data.filenames import leading_token, numbered_source, tcga_patient
from histoproto.data.sheets import DataSheet
from histoproto.taxonomy import BCSS_WSSS


def _group(path: Path, split: str) -> str:
    del split  # names are unique over the splits
    return tcga_patient(path.name) or numbered_source(path.name) or leading_token(path.name)


SHEET = DataSheet(taxonomy=BCSS_WSSS, group_of=_group, mpp=None)
