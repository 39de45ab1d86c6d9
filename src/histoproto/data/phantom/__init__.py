"""Procedural H&E-like tissue with exact masks: fields, patches in the BCSS-WSSS layout, and a pyramidal slide."""

from histoproto.data.phantom.patches import PhantomSummary, write_patches
from histoproto.data.phantom.sheet import contact_sheet
from histoproto.data.phantom.slide import write_slide
from histoproto.data.phantom.tissue import Tissue, render_tissue

__all__ = ["PhantomSummary", "Tissue", "contact_sheet", "render_tissue", "write_patches", "write_slide"]
