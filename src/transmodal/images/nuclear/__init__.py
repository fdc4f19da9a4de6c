"""Planar nuclear images: frames of raw counts with what is known of their times, isotope and injection."""

from transmodal.images.nuclear.isotopes import Isotope
from transmodal.images.nuclear.series import Injection, NuclearSeries

__all__ = ["Injection", "Isotope", "NuclearSeries"]
