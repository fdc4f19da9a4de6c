"""SimpleITK, silenced: its C++ readers print on the standard error stream what they also raise."""

import SimpleITK

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

__all__ = ["SimpleITK"]
