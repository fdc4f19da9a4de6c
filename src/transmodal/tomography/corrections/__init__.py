"""Classical remedies: what a trained network has to beat.

`beam_hardening` makes water read right, `metal` interpolates the trace of metal, `scatter` subtracts an estimate. Rings
are suppressed by `transmodal.tomography.raw.suppress_rings`.
"""
