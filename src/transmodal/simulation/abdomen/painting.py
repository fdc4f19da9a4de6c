"""What lies in front of what: the order in which an animal's bodies are painted, and what fills them."""

from dataclasses import dataclass

import numpy as np

from transmodal.simulation.abdomen.anatomy import Animal, Site, Visit
from transmodal.simulation.abdomen.bodies import Bodies
from transmodal.simulation.abdomen.canvas import Canvas
from transmodal.simulation.abdomen.skeleton import Cones
from transmodal.simulation.abdomen.tissues import FIRST_TUMOUR, TYPICAL
from transmodal.simulation.abdomen.tumours import CAPSULE, Lump, room_of
from transmodal.simulation.brain.fields import Volume, transfer

_WALL = 0.33  # mm, of stomach and gut


@dataclass(frozen=True)
class Scene:
    """All that is painted at one visit; `hounsfield` by tissue; `gut` with its contents' HU; `level`: image y above
    which the stomach holds gas, mm."""

    animal: Animal
    visit: Visit
    site: Site
    bodies: Bodies
    strands: dict[str, Cones]
    gut: Cones
    lumps: list[Lump]
    hounsfield: dict[str, float]
    level: float


def gas_level(site: Site, stomach: Volume, share: float) -> float:
    """The height in the image above which a share of the stomach's inside lies, mm."""
    inside = np.argwhere(stomach < -_WALL)
    if not len(inside):
        return float("inf")
    return float(np.quantile(site.grid.axes[1][inside[:, 1]], 1 - share))


def paint(canvas: Canvas, scene: Scene) -> None:
    """Paint a slab from the skin inwards."""
    _trunk(canvas, scene)
    _chest(canvas, scene)
    _bowels(canvas, scene)
    _liver(canvas, scene)
    _kidneys(canvas, scene)
    _bones(canvas, scene)


def _plain(canvas: Canvas, scene: Scene, distance: Volume, tissue: str, label: str) -> None:
    canvas.cover(distance, scene.hounsfield[tissue], label, TYPICAL[tissue].texture)


def _strand(canvas: Canvas, scene: Scene, group: str, tissue: str, label: str) -> None:
    canvas.strand(scene.strands[group], scene.hounsfield[tissue], label, TYPICAL[tissue].texture)


def _trunk(canvas: Canvas, scene: Scene) -> None:
    bodies = scene.bodies
    _plain(canvas, scene, canvas.bring(bodies.body), "skin", "other soft tissue")
    _plain(canvas, scene, canvas.bring(bodies.fat), "fat", "fat")
    _plain(canvas, scene, canvas.bring(bodies.muscle), "muscle", "other soft tissue")
    _plain(canvas, scene, canvas.bring(bodies.abdomen), "fat", "fat")
    _plain(canvas, scene, canvas.bring(bodies.mesentery), "mesentery", "other soft tissue")


def _vessels(canvas: Canvas, scene: Scene, scale: float, radius: float) -> Volume:
    one, two = canvas.bring(scene.bodies.vessel_one), canvas.bring(scene.bodies.vessel_two)
    return np.asarray(np.hypot(one, two) * np.float32(scale) - np.float32(radius), dtype=np.float32)


def _chest(canvas: Canvas, scene: Scene) -> None:
    bodies, hounsfield = scene.bodies, scene.hounsfield
    thorax = canvas.bring(bodies.thorax)
    if thorax.min() < 1:
        _plain(canvas, scene, thorax, "mediastinum", "other soft tissue")
        lung = canvas.bring(bodies.lung)
        # On its back an animal's lungs are denser towards the spine.
        y = canvas.grid.coordinates()[1]
        filled = np.broadcast_to(hounsfield["lung"] - 9.0 * y, canvas.grid.shape)
        canvas.cover(lung, filled, "lungs", TYPICAL["lung"].texture)
        vessels = np.maximum(_vessels(canvas, scene, 1.4, 0.24), lung + np.float32(0.1))
        canvas.cover(vessels, hounsfield["lung vessel"], "lungs")
        drawn = canvas.draw(scene.strands["lung vessel"])
        if drawn:
            canvas.cover(np.maximum(drawn[0], lung), hounsfield["blood"], "lungs")
        _strand(canvas, scene, "airway wall", "mediastinum", "other soft tissue")
        _strand(canvas, scene, "airway", "gas", "lungs")
        _plain(canvas, scene, canvas.bring(bodies.heart), "heart", "heart")
    _strand(canvas, scene, "aorta", "blood", "other soft tissue")
    _strand(canvas, scene, "gullet", "muscle", "other soft tissue")


def _bowels(canvas: Canvas, scene: Scene) -> None:
    bodies, hounsfield = scene.bodies, scene.hounsfield
    wall = np.float32(_WALL)
    drawn = canvas.draw(scene.gut)
    if drawn:
        gut = np.maximum(drawn[0], canvas.bring(bodies.abdomen) + np.float32(0.05))
        _plain(canvas, scene, gut, "gut wall", "gut")
        canvas.cover(gut + wall, drawn[1], "gut", 0.3 * TYPICAL["food"].texture)
    caecum = canvas.bring(bodies.caecum)
    _plain(canvas, scene, caecum, "gut wall", "gut")
    _plain(canvas, scene, caecum + wall, "caecum", "gut")
    _plain(canvas, scene, canvas.bring(bodies.spleen), "spleen", "spleen")
    stomach = canvas.bring(bodies.stomach)
    _plain(canvas, scene, stomach, "gut wall", "stomach")
    _plain(canvas, scene, stomach + wall, "food", "stomach")
    above = np.float32(scene.level) - canvas.grid.coordinates()[1]
    canvas.cover(np.maximum(stomach + wall, above), hounsfield["gas"], "stomach")


def _liver(canvas: Canvas, scene: Scene) -> None:
    bodies, hounsfield = scene.bodies, scene.hounsfield
    liver, abdomen = canvas.bring(bodies.liver), canvas.bring(bodies.abdomen)
    grown = _grown(canvas, scene)
    for place, distance, _ in grown:
        around = np.maximum(distance - np.float32(CAPSULE), abdomen[place] + np.float32(0.05))
        liver[place] = np.minimum(liver[place], around)
    _plain(canvas, scene, liver, "liver", "liver")
    gap = np.abs(canvas.bring(bodies.fissure)) * np.float32(0.5) - np.float32(0.08)
    gap = np.maximum(gap, np.maximum(liver, -liver - np.float32(1.9)))
    canvas.cover(gap, hounsfield["fat"], "fat")
    _plain(canvas, scene, np.maximum(canvas.bring(bodies.bile), liver), "bile", "other soft tissue")
    vessels = np.maximum(_vessels(canvas, scene, 1.6, 0.26), liver + np.float32(0.9))
    canvas.cover(vessels, hounsfield["blood"], "liver")
    drawn = canvas.draw(scene.strands["portal"])
    if drawn:
        canvas.cover(np.maximum(drawn[0], liver), hounsfield["blood"], "liver")
    _strand(canvas, scene, "cava", "blood", "other soft tissue")
    for place, distance, lump in grown:
        # Darker in the middle, brighter at the rim; a ball's mean depth is a quarter of its radius.
        radius = lump.tumour.radii[scene.visit.number - 1]
        deep = np.clip(-distance / np.float32(radius), 0, 1) - np.float32(0.25)
        hu = hounsfield["liver"] + lump.tumour.contrast * (1 + 0.3 * min(radius / 4, 1) * deep)
        canvas.cover(distance, hu.astype(np.float32), FIRST_TUMOUR + lump.number, 5.0, place)


def _grown(canvas: Canvas, scene: Scene) -> list[tuple[tuple[slice, ...], Volume, Lump]]:
    """Place in the slab, distance there, and lump, of all tumours that reach the slab."""
    made: list[tuple[tuple[slice, ...], Volume, Lump]] = []
    everywhere = None
    for lump in scene.lumps:
        place = canvas.box([axis[0] for axis in lump.grid.axes], [axis[-1] for axis in lump.grid.axes])
        if place is None:
            continue
        everywhere = canvas.bring(room_of(scene.bodies)) if everywhere is None else everywhere
        part = canvas.part(place)
        room = everywhere[place]
        if lump.others is not None:
            room = np.maximum(room, transfer(lump.others, lump.grid, part))
        free = transfer(lump.free, lump.grid, part)
        made.append((place, lump.tumour.within(free, room, scene.visit.number - 1), lump))
    return made


def _kidneys(canvas: Canvas, scene: Scene) -> None:
    kidneys = canvas.bring(scene.bodies.kidneys)
    _plain(canvas, scene, kidneys, "kidney", "kidneys")
    _plain(canvas, scene, kidneys + np.float32(1.0), "medulla", "kidneys")


def _bones(canvas: Canvas, scene: Scene) -> None:
    for group, tissue, label in (
        ("canal", "fat", "other soft tissue"),
        ("cord", "cord", "other soft tissue"),
        ("disc", "disc", "other soft tissue"),
        ("cartilage", "cartilage", "ribs"),
        ("rib", "rib", "ribs"),
        ("sternum", "rib", "other bone"),
        ("pelvis", "cortical bone", "other bone"),
        ("spine", "cortical bone", "spine"),
        ("marrow", "marrow", "spine"),
        ("plate", "cortical bone", "spine"),
    ):
        _strand(canvas, scene, group, tissue, label)
