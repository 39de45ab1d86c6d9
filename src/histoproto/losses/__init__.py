"""One loss per file; tensors in, scalars out."""
