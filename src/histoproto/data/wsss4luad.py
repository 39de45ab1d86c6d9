"""WSSS4LUAD: lung adenocarcinoma, three tissues, the challenge of 2021.

======== =====================================================================================================
classes  tumour, stroma, normal in the order of label digits and mask values; mask value 3 is white background
splits   1.training 10,091 patches of about 150..300 px with labels in the names; 2.validation 40 and
         3.testing 80 larger images with palette masks and no labels
names    train ``1000048-10025-23243-[1, 0, 0].png`` (slide, x, y), val and test ``00.png``
group    what stands before the first ``-``: ``1000048``, or ``t20`` of ``t20-112-56-[1, 1, 0].png``; of TCGA
         names the patient part; a bare number such as ``00`` is counted anew in each folder and says nothing of
         its source, so the group is then ``val/00``
size     10x, taken as 1.0 micron per pixel
source   Han et al., wsss4luad.grand-challenge.org, 67 slides of GDPH and 20 of TCGA; challenge terms
======== =====================================================================================================

The ``background-mask`` folders are not needed: the masks hold the background themselves.
"""

from pathlib import Path

from histoproto.data.filenames import leading_token, tcga_patient
from histoproto.data.sheets import DataSheet
from histoproto.taxonomy import WSSS4LUAD


def _group(path: Path, split: str) -> str:
    if path.stem.isdigit():
        return f"{split}/{path.stem}"
    return tcga_patient(path.name) or leading_token(path.name)


SHEET = DataSheet(taxonomy=WSSS4LUAD, group_of=_group, mpp=1.0)
