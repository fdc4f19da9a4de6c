"""Words that name an imaging modality or a label: they tell modality folders and files from subjects."""

_WORDS = """
    t1 t1w t1c t1ce t1gd t1post t1n t2 t2w t2f t2star flair fla pd pdw dwi adc swi bold mra ct cbct
    cect ncct pet spect mr mri xray rx cr dx us oct photo optical nuclear seg mask label gt
    gold lesion
"""
MODALITY_WORDS = frozenset(_WORDS.split())
