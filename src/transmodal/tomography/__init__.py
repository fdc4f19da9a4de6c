"""Computed tomography: geometry, projection, reconstruction, and the physics that degrades a scan.

Lengths are in mm, angles in degrees, attenuation in 1/mm. Nothing here knows of learning.
"""
