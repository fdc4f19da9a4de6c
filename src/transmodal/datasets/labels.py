"""Which label maps go along with a case, and what their values mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from transmodal.errors import UserError
from transmodal.images import Image

MOST_CLASSES = 255  # prepared label maps hold bytes


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class LabelSettings(BaseModel):
    """A label map that goes along with a case, for losses, sampling and segmentors; never shown to a translator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        min_length=1, description="of the label maps in the manifest; of several names the first that a case has"
    )
    classes: tuple[int, ...] | None = Field(
        None,
        max_length=MOST_CLASSES,
        description="values of the map that become the classes 1, 2, …; null: one class, all that is not 0",
    )
    required: bool = Field(False, description="leave cases without a label map out; else theirs is empty")
    segmentor_share: float = Field(
        0.0, ge=0, lt=1, description="share of the training subjects that only the segmentor in the loop is trained on"
    )

    def find(self, files: Mapping[str, Path]) -> Path | None:
        """Return a case's label map: modality → file of the case."""
        return next((files[name] for name in self.modality if name in files), None)

    @property
    def count(self) -> int:
        """Classes, background included."""
        return 2 if self.classes is None else len(self.classes) + 1


def require_label_map(image: Image) -> None:
    """Raise a UserError unless an image holds whole numbers and no channels."""
    if image.channels or (image.pixels.dtype.kind == "f" and (image.pixels % 1 != 0).any()):
        raise UserError(f"{image.name} is no label map: its values are not whole numbers; check the modality")
