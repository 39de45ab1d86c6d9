"""Reading, tiling and blending images of any size."""
