"""The release: a signed, content-addressed bundle with the index built by the very encoder that it ships."""

from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, AssetIn, AssetKey, AssetsDefinition, MaterializeResult, asset

from assets.metadata import advice_metadata, materialized, model_kinds, release_metadata
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec, Task, learns_held_out
from rankops.store import ArtifactStore
from resources.store import Store
from resources.tracking import Tracking
from resources.trainer import Trainer

if TYPE_CHECKING:
    from rankops.stages.release import Refit, ReleaseInputs

_HOLDS: dict[Task, str] = {
    "retrieval": "ONNX, tokenizer, product index",
    "ranking": "ONNX, tokenizer, products",
    "recommendation": "next-item model, products",
}
_LEARNED = " What it holds has also learned from the days that the judged model was judged by."


def release_asset(spec: ModelSpec) -> AssetsDefinition:
    """Bundle, sign, publish."""

    @asset(
        key=[spec.name, "release"],
        group_name=spec.name.replace("-", "_"),
        kinds=model_kinds(spec.task, "onnx"),
        ins={
            "dataset": AssetIn(key=AssetKey([spec.dataset, "dataset"])),
            "checkpoint": AssetIn(key=AssetKey([spec.name, "checkpoint"])),
            "evaluation": AssetIn(key=AssetKey([spec.name, "evaluation"])),
            "artifact_": AssetIn(key=AssetKey([spec.name, "quantized"])),
        },
        description=f"Immutable signed bundle: {_HOLDS[spec.task]}, golden answers, release.json."
        + (_LEARNED if learns_held_out(spec) else ""),
    )
    def release(
        context: AssetExecutionContext,
        dataset: StoredArtifact,
        checkpoint: StoredArtifact,
        evaluation: StoredArtifact,
        artifact_: StoredArtifact,
        store: Store,
        tracking: Tracking,
        trainer: Trainer,
    ) -> MaterializeResult:
        from rankops.release.manifest import MODEL_CARD
        from rankops.release.signing import verify
        from rankops.stages.release import ReleaseInputs, build, signing_keys

        opened = store.open()
        private, public = signing_keys(context.log.info)
        inputs = ReleaseInputs(dataset, checkpoint, evaluation, artifact_)
        made, reused = build(
            opened,
            spec,
            inputs,
            signing_key=private,
            dagster_run=context.run_id,
            progress=context.log.info,
            refit=_refitted(context, opened, spec, inputs, trainer),
        )
        manifest = verify(opened.local_path(made), public, made.digest)
        card = (opened.local_path(made) / MODEL_CARD).read_bytes()
        if not reused and manifest.mlflow_run is not None:
            tracking.open(manifest.mlflow_run).log_bytes(MODEL_CARD, card)
        advice = advice_metadata(manifest, spec, opened.local_path(dataset))
        return materialized(made, {**release_metadata(manifest, card.decode()), **advice}, reused=reused)

    return release


def _refitted(
    context: AssetExecutionContext, store: ArtifactStore, spec: ModelSpec, inputs: "ReleaseInputs", trainer: Trainer
) -> "Refit | None":
    """The judged model's spec fitted once more, on all days (where it says so); remembered by what it was made from."""
    if not learns_held_out(spec):
        return None
    from rankops.stages.refit import build

    return build(store, spec, inputs, train=lambda job: trainer.run(context, job), progress=context.log.info)
