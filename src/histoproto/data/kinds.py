"""The data sets whose labels stand in their file names."""

from histoproto.data import bcss_wsss, luad_histoseg, wsss4luad
from histoproto.data.sheets import DataSheet

SHEETS: dict[str, DataSheet] = {
    "bcss-wsss": bcss_wsss.SHEET,
    "luad-histoseg": luad_histoseg.SHEET,
    "wsss4luad": wsss4luad.SHEET,
}
