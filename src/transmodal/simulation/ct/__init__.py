"""Pairs of a degraded and a clean CT: degradations as users write them, slice by slice, into folders."""
