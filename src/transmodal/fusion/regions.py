"""Regions in which counts are taken: organs of a label map, hand-drawn polygons, or where the activity is high.

Each region is kept as its outline in mm of the anatomy's world. For counting, the outline is carried to the nuclear
grid and the exact share of every pixel inside it is taken; the counts themselves are never interpolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.datasets.label_classes import COLOURS
from transmodal.errors import UserError
from transmodal.fusion.areas import Edges, cover, edges_of_mask, edges_of_polygon
from transmodal.fusion.outlines import CELLS, cells_matrix, covered_by, in_world, mapped
from transmodal.fusion.region_files import LabelNames, Polygons, Role, require_names_once
from transmodal.images.image import Image
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.resampling import index_to_world
from transmodal.images.transform import Transform

_WHOLLY = 1e-3  # a share outside the field below this is not worth a line
_NOTHING = 1e-6  # nor does a share inside below this count as overlap
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RegionWeights:
    """Regions on the nuclear grid.

    Attributes:
        names, roles: a word each.
        weights: (R, H, W), the share of each pixel's area inside each region, 0…1.
        shares: (R,), how much of each region lies in the nuclear field.
        outlines: of each region, in cells of the nuclear grid (see `areas.cover`).
        spacing: (row, column) of the nuclear grid, mm.
        said: what a user should know, a line each.
        from_activity, outside: as of `Regions`.
    """

    names: tuple[str, ...]
    weights: Weights
    roles: tuple[Role, ...] = ()
    shares: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    outlines: tuple[Edges, ...] = ()
    spacing: tuple[float, float] = (1.0, 1.0)
    said: tuple[str, ...] = ()
    from_activity: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()

    @property
    def pixels(self) -> npt.NDArray[np.float64]:
        """The area of each region in pixels of the nuclear grid, (R,)."""
        return np.asarray(self.weights.sum(axis=(1, 2)))

    def number(self, name: str) -> int:
        """Return the place of a region.

        Raises:
            UserError: as `place_of`.
        """
        return place_of(name, self.names, self.outside)


@dataclass(frozen=True, eq=False)
class Regions:
    """Named regions over one anatomy.

    Attributes:
        names: all different.
        masks: (R, H, W) on the anatomy's grid; for pictures. A pixel has a region that covers half of it.
        affine: (4, 4), of that grid.
        edges: outlines in mm of the anatomy's world; made of the masks where none are given.
        roles: "target", "background" or "", one a region; "" for all where none are given.
        colours: "#rrggbb", one a region.
        sources: where each comes from, in words.
        said: what a user should know, a line each.
        from_activity: names of those that were drawn where the activity is high; that it is there shows nothing.
        outside: names of those that `within` left out.
    """

    names: tuple[str, ...]
    masks: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]
    edges: tuple[Edges, ...] = ()
    roles: tuple[Role, ...] = ()
    colours: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    from_activity: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.masks.ndim != 3 or len(self.masks) != count:
            raise ValueError(f"{count} names for masks of shape {self.masks.shape}")
        require_names_once(list(self.names), "the regions")
        if not self.edges:
            to_world = index_to_world(self.grid)
            object.__setattr__(self, "edges", tuple(in_world(edges_of_mask(mask), to_world) for mask in self.masks))
        for name, default in (("roles", ""), ("sources", "a mask")):
            if not getattr(self, name):
                object.__setattr__(self, name, (default,) * count)
        if not self.colours:
            object.__setattr__(self, "colours", tuple(COLOURS[place % len(COLOURS)] for place in range(count)))
        for name, edges in zip(self.names, self.edges, strict=True):
            if not len(edges):
                raise UserError(f"the region {name} is empty; draw it, or leave it out")

    @property
    def grid(self) -> Image:
        """The anatomy's grid, without its pixels."""
        return Image(np.broadcast_to(np.uint8(0), self.masks.shape[1:]), self.affine)

    def number(self, name: str) -> int:
        """Return the place of a region.

        Raises:
            UserError: as `place_of`.
        """
        return place_of(name, self.names, self.outside)

    def joined(self, *others: "Regions") -> "Regions":
        """Return these and other regions over the same anatomy; a colour that is taken is changed for a free one.

        Raises:
            UserError: two have one name, or another grid.
        """
        together = (self, *others)
        if not all(self.grid.same_grid(each.grid) for each in others):
            raise UserError("the regions lie on different grids; take all of them over one anatomy")
        return Regions(
            sum((each.names for each in together), ()),
            np.concatenate([each.masks for each in together]),
            self.affine,
            sum((each.edges for each in together), ()),
            sum((each.roles for each in together), ()),
            _told_apart(sum((each.colours for each in together), ())),
            sum((each.sources for each in together), ()),
            sum((each.said for each in together), ()),
            frozenset().union(*(each.from_activity for each in together)),
            sum((each.outside for each in together), ()),
        )

    def with_roles(self, target: str = "", background: str = "") -> "Regions":
        """Return the same regions with one as the target and one as the background; "" keeps what they are.

        Raises:
            UserError: there is no such region, or it lies outside the nuclear field.
        """
        roles = list(self.roles)
        asked: tuple[tuple[str, Role], ...] = ((target, "target"), (background, "background"))
        for name, role in asked:
            if not name:
                continue
            place = self.number(name)
            roles = ["" if old == role else old for old in roles]
            roles[place] = role
        return replace(self, roles=tuple(roles))

    def without(self, *names: str) -> "Regions":
        """Return the regions that are not named; names that are none are passed over."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        if not kept:
            raise UserError("no region is left; keep at least one")
        chosen = tuple(self.names[place] for place in kept)
        return replace(
            self,
            names=chosen,
            masks=self.masks[kept],
            edges=tuple(self.edges[place] for place in kept),
            roles=tuple(self.roles[place] for place in kept),
            colours=tuple(self.colours[place] for place in kept),
            sources=tuple(self.sources[place] for place in kept),
            from_activity=self.from_activity.intersection(chosen),
        )

    def within(self, series: NuclearSeries, transform: Transform | None = None) -> "Regions":
        """Return the regions of which something lies in the nuclear field; the others are named in `outside` and said.

        For what a model found, which may be wrong in a corner of the picture; what a person drew there is a mistake
        that `on` refuses.

        Args:
            series, transform: as of `on`.

        Raises:
            UserError: all of them lie outside.
        """
        to_cells = cells_matrix(series, transform)
        gone = tuple(
            name
            for name, edges in zip(self.names, self.edges, strict=True)
            if covered_by(edges, to_cells, series, transform)[1] < _NOTHING
        )
        if not gone:
            return self
        if len(gone) == len(self.names):
            raise UserError(
                f"all regions that were found lie wholly outside the field of {series.name}; check the registration"
            )
        line = f"Found wholly outside the nuclear field and left out: {', '.join(gone)}; the map of organs shows where."
        return replace(self.without(*gone), said=(*self.said, line), outside=(*self.outside, *gone))

    def weights_on(self, series: NuclearSeries, transform: Transform | None = None) -> Weights:
        """Return the share of each nuclear pixel inside each region, (R, H, W) in 0…1; see `on`."""
        return self.on(series, transform).weights

    def on(self, series: NuclearSeries, transform: Transform | None = None) -> RegionWeights:
        """Carry the regions to the nuclear grid.

        Args:
            series: whose grid.
            transform: nuclear points to anatomy points, mm; None when the two worlds are the same.

        Raises:
            UserError: a region lies wholly outside the nuclear field.
        """
        to_cells = cells_matrix(series, transform)
        weights, shares, outlines, said = [], [], [], list(self.said)
        for name, edges in zip(self.names, self.edges, strict=True):
            covered, share, outline = covered_by(edges, to_cells, series, transform)
            if share < _NOTHING or outline is None:
                raise UserError(
                    f"the region {name} lies wholly outside the field of {series.name}; check the registration and, of "
                    "a drawn one, unit and order (x, y) of its points, or leave the region out"
                )
            if share < 1 - _WHOLLY:
                said.append(share_line(name, share))
            weights.append(covered)
            shares.append(min(share, 1.0))
            outlines.append(outline)
        return RegionWeights(
            self.names, np.stack(weights), self.roles, np.array(shares), tuple(outlines), series.spacing, tuple(said),
            self.from_activity, self.outside,
        )  # fmt: skip


def share_line(name: str, share: float) -> str:
    """Return what is said of a region of which only a share lies in the nuclear field."""
    return f"{name}: only {100 * share:.1f} % of it lies in the nuclear field and is counted."


def place_of(name: str, names: Sequence[str], outside: Sequence[str]) -> int:
    """Return the place of a region among names.

    Raises:
        UserError: there is none of that name, or it was left out for lying outside the nuclear field.
    """
    if name in names:
        return list(names).index(name)
    if name in outside:
        raise UserError(
            f"the region {name} was found wholly outside the nuclear field and left out; check the registration "
            f"and the picture of the regions, or name one of {', '.join(names)}"
        )
    raise UserError(f"there is no region {name!r}; the regions are {', '.join(names)}")


def _told_apart(colours: Sequence[str]) -> tuple[str, ...]:
    """Change colours that stand before for ones that stand nowhere, as long as there are some."""
    free = [colour for colour in COLOURS if colour not in colours]
    return tuple(free.pop(0) if colour in colours[:place] and free else colour for place, colour in enumerate(colours))


def regions_from_labels(labels: Image, names: LabelNames, *, least_pixels: int = 1) -> Regions:
    """Return a region for each named value of a label map that is there.

    Args:
        labels: (H, W), whole numbers.
        names: of the values.
        least_pixels: smaller regions are left out, and said.

    Raises:
        UserError: the image is no label map, or holds none of the values.
    """
    pixels = labels.pixels
    if labels.spatial_dims != 2 or labels.channels:
        raise UserError(f"{labels.name} is no label map of a picture; give one value a pixel")
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        raise UserError(f"{labels.name} is no label map: it holds fractions; give whole numbers")
    counts = {value: int((pixels == value).sum()) for value in names.names}
    kept = [value for value in names.names if counts[value] >= max(least_pixels, 1)]
    said = tuple(
        f"{names.names[value]}: {counts[value] or 'no'} pixels in the label map; left out."
        for value in names.names
        if value not in kept
    )
    unnamed = sorted(set(np.unique(pixels).tolist()) - {0} - set(names.names))
    if unnamed:
        said += (f"The label map holds the values {', '.join(f'{value:g}' for value in unnamed)}, which have no name.",)
    if not kept:
        raise UserError(f"{labels.name} holds none of the values that {names.source} names; give the names of this map")
    chosen = tuple(names.names[value] for value in kept)
    colours = tuple(names.colours.get(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(chosen))
    masks = np.stack([pixels == value for value in kept])
    source = f"label map {labels.name}"
    return Regions(chosen, masks, labels.affine, colours=colours, sources=(source,) * len(chosen), said=said)


def regions_from_polygons(polygons: Polygons, anatomy: Image) -> Regions:
    """Return hand-drawn regions over an anatomy.

    Raises:
        UserError: points are in mm and the anatomy has no pixel size.
    """
    if polygons.unit == "mm" and not anatomy.has_physical_size:
        raise UserError(
            f"{polygons.name} is in mm, but {anatomy.name} says no pixel size; draw them in pixels, or give --spacing"
        )
    to_world = index_to_world(anatomy)
    to_cells = CELLS @ np.linalg.inv(to_world)
    edges = []
    for each in polygons.polygons:
        drawn = edges_of_polygon(each.points)
        edges.append(drawn if polygons.unit == "mm" else mapped(to_world, drawn[..., ::-1]))
    masks = np.stack([cover(mapped(to_cells, each), (anatomy.shape[0], anatomy.shape[1])) >= 0.5 for each in edges])
    names = tuple(each.name for each in polygons.polygons)
    roles = tuple(each.role for each in polygons.polygons)
    source = f"drawn, {polygons.name}"
    return Regions(names, masks, anatomy.affine, tuple(edges), roles, sources=(source,) * len(names))


def region_above(
    series: NuclearSeries,
    anatomy: Image,
    transform: Transform | None = None,
    *,
    name: str = "above threshold",
    share: float = 0.4,
    within: Weights | None = None,
    at: tuple[float, float] | None = None,
    frame: int | None = None,
    role: Role = "target",
) -> Regions:
    """Return where the activity is above a share of its greatest value.

    Args:
        series: the activity; all frames together unless one is named.
        anatomy: whose grid and world the region is kept in.
        transform: nuclear points to anatomy points, mm.
        name, role: of the region.
        share: of the greatest count, 0…1, from which pixels belong to it.
        within: (H, W) weights on the nuclear grid, such as those of an organ; only pixels mostly inside count.
        at: a point in mm of the anatomy; only the connected piece that holds it is kept (sides touch). Without it the
            piece with the greatest count.
        frame: from 0; None for the sum.

    Raises:
        UserError: the share is none, there are no counts, or the point lies outside the piece.
    """
    if not 0 < share < 1:
        raise UserError(f"a threshold of {share:g} is no share of the maximum; give one between 0 and 1, such as 0.4")
    if frame is not None and not 0 <= frame < len(series):
        raise UserError(f"{series.name} has the frames 0 to {len(series) - 1}, not {frame}")
    image = series.summed() if frame is None else series.frame(frame)
    counts = np.asarray(image.pixels, dtype=np.float64)
    allowed = np.ones(counts.shape, bool) if within is None else within > 0.5
    greatest = counts[allowed].max() if allowed.any() else 0.0
    if not greatest > 0:
        raise UserError(f"{series.name} has no counts where the threshold looks for them; look elsewhere")
    mask = (counts >= share * greatest) & allowed
    numbered, _ = ndimage.label(mask)
    to_world = index_to_world(image)
    forth = np.eye(3) if transform is None else transform.matrix
    if at is None:
        row, column = divmod(int(np.where(allowed, counts, -np.inf).argmax()), counts.shape[1])
    else:
        place = mapped(np.asarray(np.linalg.inv(forth @ to_world), dtype=np.float64), np.array(at, dtype=np.float64))
        row, column = (int(value) for value in np.rint(place))
        if not (0 <= row < counts.shape[0] and 0 <= column < counts.shape[1] and mask[row, column]):
            raise UserError(
                f"{name}: the activity at ({at[0]:g}, {at[1]:g}) mm is not above {100 * share:g} % of the maximum; "
                "choose a point inside, or a lower threshold"
            )
    piece = numbered == numbered[row, column]
    edges = mapped(forth, in_world(edges_of_mask(piece), to_world))
    cells = mapped(CELLS @ np.linalg.inv(index_to_world(anatomy)), edges)
    drawn = cover(cells, (anatomy.shape[0], anatomy.shape[1])) >= 0.5
    looked = "all frames together" if frame is None else f"frame {frame + 1}"
    source = f"activity from {100 * share:g} % of the maximum of {looked} on, one connected piece"
    found = frozenset({name})
    return Regions((name,), drawn[None], anatomy.affine, (edges,), (role,), sources=(source,), from_activity=found)


def target_of(names: Sequence[str], roles: Sequence[str], asked: str = "") -> str:
    """Return the target: the one that is asked for, has the role, or is called a tumour or lesion; "" without any.

    Raises:
        UserError: there is no region of the name that is asked for.
    """
    if asked and asked not in names:
        raise UserError(f"there is no region {asked!r}; the regions are {', '.join(names)}")
    by_role = [name for name, role in zip(names, roles, strict=False) if role == "target"]
    by_name = [name for name in names if any(word in name.lower() for word in ("target", "tumour", "tumor", "lesion"))]
    return next(iter(([asked] if asked else []) + by_role + by_name), "")
