"""Second stage: networks that learn from pseudo masks."""
