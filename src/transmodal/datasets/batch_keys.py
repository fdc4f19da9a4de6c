"""Names in a batch that are no modality. A modality cannot start with '#'."""

REGION = "#region"
"""Float32, 1 inside the region of interest (brain, body), 0 outside."""
LABELS = "#labels"
"""Classes of a label map from 0, the background."""
GIVEN = "#given"
"""Which inputs are to be seen, one number an input."""
WANTED = "#wanted"
"""Which targets are known and not among the given inputs, one number a target."""
EXTRAS = (REGION, LABELS, GIVEN, WANTED)
