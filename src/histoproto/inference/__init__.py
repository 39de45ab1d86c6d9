"""From a trained method and an image of any size to class maps and masks."""
