"""The quantized artifact: the winning rung of the compression ladder, judged again by the gate."""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    MaterializeResult,
    asset,
)

from assets.metadata import (
    compression_metadata,
    evaluation_metadata,
    evaluation_pictures,
    gate_result,
    materialized,
    model_kinds,
)
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec
from resources.store import Store


def quantized_asset(spec: ModelSpec) -> AssetsDefinition:
    """ONNX export, Optimum quantization, parity, latency, and relevance after compression."""
    key = AssetKey([spec.name, "quantized"])

    @asset(
        key=key,
        group_name=spec.name.replace("-", "_"),
        kinds=model_kinds(spec.task, "onnx"),
        ins={
            "dataset": AssetIn(key=AssetKey([spec.dataset, "dataset"])),
            "checkpoint": AssetIn(key=AssetKey([spec.name, "checkpoint"])),
            "evaluation": AssetIn(key=AssetKey([spec.name, "evaluation"])),
        },
        check_specs=[
            AssetCheckSpec("gate_after_compression", asset=key, blocking=True),
            AssetCheckSpec("quality_budget", asset=key, blocking=True),
        ],
        description="The ONNX model chosen for the serving target, with the rungs that lost and why.",
    )
    def quantized(
        context: AssetExecutionContext,
        dataset: StoredArtifact,
        checkpoint: StoredArtifact,
        evaluation: StoredArtifact,
        store: Store,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.evaluation.gate import GateDecision
        from rankops.evaluation.storage import load_evaluation
        from rankops.stages.quantized import QuantizedInputs, build

        opened = store.open()
        made, reused = build(opened, spec, QuantizedInputs(dataset, checkpoint, evaluation), context.log.info)
        folder = opened.local_path(made)
        judged = load_evaluation(folder / "evaluation")
        yield materialized(
            made,
            {**compression_metadata(folder), **evaluation_metadata(judged, evaluation_pictures(judged))},
            reused=reused,
        )
        yield gate_result("gate_after_compression", judged.decision)
        yield gate_result("quality_budget", GateDecision.model_validate(made.facts["compression_gate"]))

    return quantized
