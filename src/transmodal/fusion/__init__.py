"""Nuclear images over anatomy: where they lie on each other, how they are shown, and what they say over time."""
