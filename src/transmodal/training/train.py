"""From a recipe and a manifest to a finished run: check, prepare, fit, write the translator."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

import transmodal
from transmodal.datasets.batch_keys import REGION
from transmodal.datasets.cache import PreparedCase, default_cache, prepare_cases
from transmodal.datasets.manifest import CaseFiles, Manifest
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.preparation_fitting import fit_preparation
from transmodal.datasets.splits import divide_training_subjects, split_by_subject
from transmodal.errors import UserError
from transmodal.images import read_geometry
from transmodal.images.files import write_text
from transmodal.training.cases import is_usable, lacking, learns_without_pairs, usable_cases
from transmodal.training.checkpoint import all_finite, load_checkpoint
from transmodal.training.fit import Trainer
from transmodal.training.monitor import Monitor
from transmodal.training.processes import leave, on_first
from transmodal.training.recipe import LAST, Recipe
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.simulated import simulated_brains
from transmodal.training.start import refuse_known_subjects
from transmodal.translation.allocator import freed_memory_kept
from transmodal.translation.card import Card, TrainingSummary
from transmodal.translation.familiarity import Familiarity, describe_image
from transmodal.translation.model_folder import save_translator

PRETRAINING = "pretraining"
_LOOKED_AT = 10  # training images tell whether pixels have a size
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def train(
    recipe: Recipe | str | Path,
    manifest: Manifest | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    cache: Path | None = None,
    quiet: bool = False,
) -> Run:
    """Train, and return the finished run with its translator in `model/`.

    Args:
        recipe: a Recipe, the path of one, or the name of a shipped one.
        manifest: a Manifest or the path of one. Without a split column it is split by subject, 70/15/15.
        out: the run's folder; new or empty, or an existing run with `resume`.
        resume: go on from the last checkpoint; recipe and manifest are the run's own then.
        device: "auto", "cpu", "cuda" or "mps".
        devices: processes, one a device; gradients are averaged over them.
        cache: folder for prepared images; None takes the user's cache folder.
        quiet: no progress.

    Raises:
        UserError: anything in recipe, data or folders that the user can mend; a loss that is not finite.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM before the end, with a checkpoint written, and a translator
            unless its network was not trained yet.
    """
    out = Path(out)
    resumes = resume and (out / "recipe.yaml").exists()
    if resumes:
        recipe = Run.open(out).recipe
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    fabric = _launch(recipe, device, devices)
    monitor = Monitor(quiet=quiet or not fabric.is_global_zero)
    if not resumes:
        on_first(fabric, lambda: _create_run(recipe, manifest, out, monitor))
    run, folder = Run.open(out), cache or default_cache()
    if recipe.pretraining is not None and not run.last_checkpoint.exists():
        try:
            start, minutes = _pretrain(run, folder, fabric, monitor)
        except UserError:
            if fabric.is_global_zero and not resumes:
                run.discard()
            raise
        done = _fit(run, folder, fabric, monitor, resumes=resumes, start=start, minutes=minutes)
    else:
        done = _fit(run, folder, fabric, monitor, resumes=resumes)
    leave(fabric)
    return done


def _fit(
    run: Run,
    cache: Path,
    fabric: Fabric,
    monitor: Monitor,
    *,
    resumes: bool,
    start: str | None = None,
    minutes: float | None = None,
) -> Run:
    """Train a run that was created: from its last checkpoint with `resumes`, else from `start` or random weights."""
    try:
        preparation, training, validation = _prepare(run, cache, fabric, monitor)
        rehearsal = _prepare_rehearsal(run, preparation, cache, fabric, monitor)
        trainer = Trainer(
            run, preparation, training, validation, fabric, monitor, start=start, minutes=minutes, rehearsal=rehearsal
        )
    except (UserError, KeyboardInterrupt):
        if fabric.is_global_zero and not resumes:
            run.discard()
        raise
    if resumes and run.last_checkpoint.exists():
        trainer.resume()
        if not trainer.is_over:
            monitor.say(f"Resuming at epoch {trainer.epochs_done:g}, step {trainer.position.step}")
    try:
        with freed_memory_kept():
            trainer.fit()
        trainer.require_trained()
    except UserError:
        _write_model(run, trainer, has_failed=True)
        if fabric.is_global_zero and not resumes:
            run.discard()
        raise
    _write_model(run, trainer, has_failed=False)
    if trainer.stop_asked and not trainer.is_over:
        whole = run.folder.parent if run.folder.name == PRETRAINING else run.folder
        monitor.say(
            f"Stopped after {trainer.epochs_done:.2f} epochs; go on with: transmodal train --resume --out {whole}"
        )
        leave(fabric)
        raise KeyboardInterrupt  # all is saved; whoever waits for a finished run must not get this one
    return run


def _pretrain(run: Run, cache: Path, fabric: Fabric, monitor: Monitor) -> tuple[str, float | None]:
    """Train on simulated images in RUN/pretraining; return that folder, and the minutes that are left for the rest.

    A pre-training that was broken off goes on, with its own time; of one that is finished, that time is taken off.
    """
    recipe, settings = run.recipe, run.recipe.pretraining
    assert settings is not None
    began, limit = time.monotonic(), recipe.train.max_minutes
    first = run.folder / PRETRAINING
    resumes = (first / "recipe.yaml").exists()
    if not resumes:
        monitor.say(f"Pre-training on {settings.subjects} simulated brains")
        on_first(fabric, lambda: _create_pretraining(run, first, cache, monitor))
    spent = (time.monotonic() - began) / 60
    minutes = None if limit is None else max(0.05, settings.share_of_time * limit - spent)
    # Also where it is finished, which its position alone tells: it then only writes its translator again. That there
    # is a translator tells nothing, one that is stopped writes it too.
    _fit(Run.open(first), cache, fabric, monitor, resumes=resumes, minutes=minutes)
    if limit is None:
        return str(first), None
    fabric.barrier()  # the first process writes it
    trained = load_checkpoint(first / "checkpoints" / "last.ckpt")["position"]["seconds"]  # over all its parts
    return str(first), max(0.05, limit - max(trained, time.monotonic() - began) / 60)


def _create_pretraining(run: Run, folder: Path, cache: Path, monitor: Monitor) -> None:
    recipe, settings = run.recipe, run.recipe.pretraining
    assert settings is not None
    simulated = cache.parent / "simulated"
    with monitor.counting("simulating brains", settings.subjects) as advance:
        manifest = simulated_brains(simulated, settings.subjects, settings.size, on_subject=advance)
    manifest.require_modalities(recipe.modalities)
    train = recipe.train.model_copy(update={"epochs": settings.epochs, "max_minutes": None, "start_from": None})
    Run.create(folder, recipe.model_copy(update={"pretraining": None, "train": train}), manifest)


def _launch(recipe: Recipe, device: str, devices: int) -> Fabric:
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)  # its hints are for those who write training loops
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device != "auto" and not available.get(device, False):
        there = ", ".join(name for name, found in available.items() if found)
        raise UserError(f"There is no device {device!r} that torch can use here; take auto or {there}")
    precision: Any = PRECISION[recipe.train.precision]
    try:
        fabric = Fabric(
            accelerator=device, devices=devices, strategy="ddp" if devices > 1 else "auto", precision=precision
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise UserError(f"Cannot train on {devices} × {device}: {error}; see 'transmodal doctor'") from error
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.deterministic = recipe.train.deterministic
        torch.backends.cudnn.benchmark = not recipe.train.deterministic
    return fabric


def _require_modalities(manifest: Manifest, recipe: Recipe) -> None:
    """Raise a UserError where a modality is in no row; recipes of any to any can do with those that are there."""
    there = [name for name in recipe.modalities if name in manifest.modalities]
    if recipe.inputs == recipe.targets and 1 < len(there) < len(recipe.modalities):
        lacking = ", ".join(name for name in recipe.modalities if name not in there)
        chosen = f"[{','.join(there)}]"
        raise UserError(
            f"{manifest.name} has no {lacking}; to do without, add --set 'inputs={chosen}' --set 'targets={chosen}'"
        )
    manifest.require_modalities(recipe.modalities)


def _create_run(recipe: Recipe, manifest: Manifest | str | Path, out: Path, monitor: Monitor) -> None:
    manifest = manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)
    mask = recipe.evaluation.mask
    extras = [name for name in (mask, recipe.evaluation.own_mask) if name not in (None, "none", "foreground")]
    _require_modalities(manifest, recipe)
    manifest.require_modalities(extras)
    if recipe.labels is not None and not set(recipe.labels.modality) & set(manifest.modalities):
        names = " or ".join(recipe.labels.modality)
        if recipe.labels.required:
            manifest.require_modalities(recipe.labels.modality)
        monitor.say(f"The manifest has no label maps ({names}): the training does without")
    if "split" not in manifest.table or not manifest.table["split"].any():
        manifest = split_by_subject(manifest, seed=recipe.train.seed)
        monitor.say("The manifest had no split: subjects were divided 70/15/15, see manifest.csv in the run")
    manifest.check_split()
    if recipe.labels is not None and recipe.labels.segmentor_share:
        manifest = divide_training_subjects(manifest, recipe.labels.segmentor_share, seed=recipe.train.seed)
        monitor.say("Training subjects were divided between segmentor and translator, see `part` in manifest.csv")
    left_out = [case for case in manifest.cases() if not is_usable(case, recipe)]
    if left_out:
        names = ", ".join(f"{case.id} (no {', '.join(lacking(case, recipe))})" for case in left_out[:3])
        names += ", …" if len(left_out) > 3 else ""
        only = "; validation and test need pairs" if learns_without_pairs(recipe) else ""
        monitor.say(f"{len(left_out)} incomplete cases are left out: {names}{only}")
    if not usable_cases(manifest, recipe, "train"):
        joined = " or " if learns_without_pairs(recipe) else ", "
        raise UserError(
            f"No training case of {manifest.name} has {joined.join(recipe.modalities)}; check its split column"
        )
    if recipe.train.start_from is not None:
        refuse_known_subjects(recipe.train.start_from, manifest)
    Run.create(out, recipe, manifest)


def _prepare(
    run: Run, cache: Path, fabric: Fabric, monitor: Monitor
) -> tuple[Preparation, list[PreparedCase], list[PreparedCase]]:
    recipe, modalities = run.recipe, run.recipe.modalities
    training = usable_cases(run.manifest, recipe, "train")
    validation = usable_cases(run.manifest, recipe, "validation")
    stored = run.folder / "preparation.json"

    def fit() -> None:
        if not stored.exists():
            files = sum(modality in case.files for case in training for modality in modalities)
            with monitor.counting("fitting intensity maps", files) as advance:
                fitted = fit_preparation(
                    recipe.preparation,
                    training,
                    modalities,
                    recipe.spatial_dims,
                    inputs=recipe.inputs,
                    labels=recipe.label_maps,
                    on_case=advance,
                )
            write_text(stored, fitted.model_dump_json(indent=2) + "\n")

    on_first(fabric, fit)
    try:
        preparation = Preparation.model_validate_json(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{stored} is damaged; delete it and --resume: it is fitted anew on the same images") from error

    for modality, part in preparation.modalities.items():
        if any(part.intensity.cut or ()):
            monitor.say(f"The range of {modality} is {part.intensity.origin}")

    def prepare(cases: Sequence[CaseFiles], what: str) -> list[PreparedCase]:
        with monitor.counting(f"preparing {what} images", len(cases)) as advance:
            return prepare_cases(
                cases, preparation, recipe.images, cache, inputs=recipe.inputs, labels=recipe.along, on_case=advance
            )

    def prepare_all() -> None:
        prepare(training, "training"), prepare(validation, "validation")

    on_first(fabric, prepare_all)
    if not validation and recipe.best != LAST:
        monitor.say("No validation cases: the last weights count as the best")
    return preparation, prepare(training, "training"), prepare(validation, "validation")


def _prepare_rehearsal(
    run: Run, preparation: Preparation, cache: Path, fabric: Fabric, monitor: Monitor
) -> list[PreparedCase]:
    """Return the simulated cases that stay in the training itself, prepared like real ones."""
    recipe = run.recipe
    if recipe.pretraining is None or not recipe.pretraining.rehearsal:
        return []
    cases = usable_cases(Run.open(run.folder / PRETRAINING).manifest, recipe, "train")

    def prepare() -> list[PreparedCase]:
        with monitor.counting("preparing simulated images", len(cases)) as advance:
            return prepare_cases(
                cases,
                preparation,
                recipe.images,
                cache,
                inputs=recipe.inputs,
                labels=recipe.along,
                on_case=advance,
            )

    on_first(fabric, prepare)
    return prepare()


def _write_model(run: Run, trainer: Trainer, *, has_failed: bool) -> None:
    """Write the translator from the best checkpoint; when there is none yet, from the present weights.

    The present weights of a training that failed, or that are no numbers, give way to the last checkpoint's. Of a
    network that no step has changed yet, nothing is written.
    """
    if not trainer.fabric.is_global_zero:
        return
    epoch, scores = trainer.epochs_done, dict[str, float]()
    if run.best_checkpoint.exists():
        best = load_checkpoint(run.best_checkpoint)
        trainer.method.load_state_dict(best["modules"])
        epoch, scores = best["epoch"], best["scores"]
    elif has_failed or not all_finite(trainer.method):
        if not run.last_checkpoint.exists():
            return
        trainer.resume()
        epoch = trainer.epochs_done
    if trainer.untrained:
        return
    recipe, manifest, ports = run.recipe, run.manifest, trainer.method_ports
    cases = [case for case in usable_cases(manifest, recipe) if case.split]
    card = Card(
        transmodal=transmodal.__version__,
        name=run.name,
        description=recipe.description,
        intended_use=recipe.intended_use,
        method=recipe.method,
        settings=recipe.method_settings.model_dump(mode="json"),
        inputs=ports.inputs,
        targets=ports.targets,
        shape=trainer.shape,
        patches=recipe.sampling.patch is not None,
        spacing=_sample_spacing(trainer.training),
        missing_inputs=ports.missing,
        classes=ports.classes,
        preparation=trainer.preparation,
        training=TrainingSummary(
            run=run.name,
            recipe=recipe.name,
            seed=recipe.train.seed,
            epochs=epoch,
            validation=scores,
            subjects=dict(Counter(split for _, split in sorted({(case.subject, str(case.split)) for case in cases}))),
            cases=dict(Counter(str(case.split) for case in cases)),
            data_licence=recipe.data_licence,
            pretraining=_told_pretraining(recipe),
        ),
        familiar=_familiar(trainer.training, recipe),
    )
    save_translator(trainer.method, card, run.model)


def _sample_spacing(cases: Sequence[PreparedCase]) -> tuple[tuple[float, float], ...] | None:
    """Return the least and the greatest pixel size of samples along each axis, None where images say none."""
    sizes = [case.spacing for case in cases if case.spacing is not None]
    try:
        if not sizes or not all(
            read_geometry(next(iter(case.case.files.values()))).has_physical_size for case in cases[:_LOOKED_AT]
        ):
            return None
    except UserError:  # files that are gone by now must not cost the translator
        return None
    return tuple((round(min(along), 5), round(max(along), 5)) for along in zip(*sizes, strict=True))


def _told_pretraining(recipe: Recipe) -> str:
    if recipe.pretraining is not None:
        return f"{recipe.pretraining.subjects} simulated brains"
    return recipe.train.start_from or ""


def _familiar(cases: Sequence[PreparedCase], recipe: Recipe) -> dict[str, Familiarity]:
    """Fit what the training images of each input look like."""
    found = {}
    for modality in recipe.inputs:
        features = []
        for case in cases:
            arrays = case.arrays()
            if modality in arrays:
                features.append(describe_image(arrays[modality], arrays.get(REGION), spatial_dims=recipe.spatial_dims))
        if features:
            found[modality] = Familiarity.fit(features, modality)
    return found
