"""Image banks: typical single-label patches of each class, and the prototypes made of them (PBIP, CVPR 2025, 3.2)."""
