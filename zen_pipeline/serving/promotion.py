"""Register a candidate once, and decide whether it becomes the champion.

Every step can be repeated: a run that was killed between registration and alias finds its version by the digest of
what it holds, and goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from zen_pipeline.errors import StoreError
from zen_pipeline.evaluation.scores import Score
from zen_pipeline.logs import get_logger
from zen_pipeline.serving import aliases
from zen_pipeline.serving.aliases import CHALLENGER, CHAMPION, HELD_BACK, REASON, Registered
from zen_pipeline.serving.bundle import (
    Bundle,
    fetch,
    files_of,
    find_damage,
    local_folder,
    log_bundle,
    read_release,
    restore_bundle,
)
from zen_pipeline.serving.decision import Alias, Comparison, Decision, check_growth, decide, refuse_below_baseline
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = get_logger(__name__)

DIGEST, DECISION, DECIDED_AGAINST = "zen.digest", "zen.decision", "zen.decided_against"
COMPARED = "zen.compared"  # figures of the comparison that decided, as JSON

_PUT_BACK = "%s/%s was damaged (%s): its files were put back from the store"


class Released(BaseModel):
    """What happened to one model.

    Attributes:
        new: True when the version was registered now, False when it was found.
        restored: True when its files were damaged or gone and have been put back.
        compared: `measure`, `candidate`, `champion` and `version` (the champion's then) of the comparison that decided;
            None where nothing was compared.
    """

    model: str
    version: str
    alias: Alias
    reason: str
    new: bool
    restored: bool = False
    compared: dict[str, Any] | None = None


@dataclass(frozen=True)
class PreparedCandidate:
    """What registering and comparing a candidate needs.

    Attributes:
        bundle: the files.
        tags: of the version: lineage and figures.
        description: of the version, in Markdown.
        compare: measures the candidate against a champion, whose bundle it is given.
        score: the candidate's deciding figure with its plain baseline; None when nothing was measured.
        above_baseline: whether it must be above it to be champion.
    """

    bundle: Bundle
    tags: Mapping[str, str]
    description: str
    compare: Callable[[Path], Comparison]
    score: Score | None = None
    above_baseline: bool = False


@dataclass(frozen=True)
class Candidate:
    """A model that may become the champion.

    Attributes:
        name: of the registered model.
        digest: SHA-256 of what the version holds; equal digest, same version.
        seed_noise: how much two runs differ by the seed alone, in the unit of the comparison.
        max_growth: the largest allowed size, as a multiple of the champion's; None: any.
        files: what the version holds, by name in its bundle.
        prepare: reads the rest; not called for a model that is the champion already and whole.
        rebuild: what an earlier version of this model held, from the store; None when that no longer has it.
    """

    name: str
    digest: str
    seed_noise: float
    max_growth: float | None
    files: Mapping[str, Path]
    prepare: Callable[[], PreparedCandidate]
    rebuild: Callable[[Any], Bundle | None] = lambda _version: None


@dataclass(frozen=True)
class ReleaseContext:
    """Where releases are made: the registry, the run that asks, and scratch on the store's file system.

    Attributes:
        wait: wait for another run that releases the same model, or fail.
        verify: compare the digests of registered files, not only their sizes.
    """

    client: MlflowClient
    workspace: Workspace
    experiment: str
    run_id: str
    scratch: Path
    wait: bool = True
    verify: bool = False


def find_version(client: MlflowClient, name: str, digest: str) -> Any | None:
    """The newest registered version that holds exactly this, or None."""
    found = client.search_model_versions(f"name='{name}' and tags.`{DIGEST}`='{digest}'")
    return max(found, key=lambda v: int(v.version), default=None)


def release(candidate: Candidate, context: ReleaseContext) -> Released:
    """Register the candidate unless it is registered, and give it the alias that it deserves.

    It is registered before it is compared with anything: what was trained is kept whatever happens to the comparison.

    Raises:
        StageBusy: another run releases this model and the context does not wait.
        StoreError: files of the candidate are missing.
    """
    client, name = context.client, candidate.name
    with aliases.hold_name(context.workspace, name, run_id=context.run_id, wait=context.wait):
        model = aliases.registered_model(client, name) or _create(client, name)
        found = find_version(client, name, candidate.digest)
        restored = found is not None and _restore(candidate, found, context)
        if found is not None and str(found.version) == model.champion:
            reason = found.tags.get(REASON, "it is the champion")
            return Released(
                model=name,
                version=model.champion,
                alias=CHAMPION,
                reason=reason,
                new=False,
                restored=restored,
                compared=compared_of(found),
            )
        prepared = candidate.prepare()
        version = found or client.get_model_version(name, _register(candidate, prepared, context))
        decision, against = _decide(candidate, prepared, model, version, context)
        compared = compared_of(version) if decision.compared is None else decision.compared
        tags = {REASON: decision.reason, DECISION: decision.alias, DECIDED_AGAINST: against}
        _update_tags(client, version, {**tags, **({COMPARED: json.dumps(compared)} if compared else {})})
        move = aliases.make_champion if decision.alias == CHAMPION else aliases.make_challenger
        move(client, model, str(version.version))
    log.info("%s/%s is %s: %s", name, version.version, decision.alias, decision.reason)
    return Released(
        model=name,
        version=str(version.version),
        alias=decision.alias,
        reason=decision.reason,
        new=found is None,
        restored=restored,
        compared=compared,
    )


def find_version_damage(client: MlflowClient, version: Any, candidate: Candidate, *, digests: bool) -> str | None:
    """What is wrong with the files of a registered version that holds this candidate; None when all are well."""
    return find_damage(files_of(client, version.name, version.version), candidate.files, digests=digests)


def _restore(candidate: Candidate, version: Any, context: ReleaseContext) -> bool:
    """Put the files of a registered version back when some are gone or damaged."""
    problem = find_version_damage(context.client, version, candidate, digests=context.verify)
    if problem is None:
        return False
    restore_bundle(context.client, candidate.prepare().bundle, version, scratch=context.scratch)
    log.warning(_PUT_BACK, version.name, version.version, problem)
    return True


def _create(client: MlflowClient, name: str) -> Registered:
    client.create_registered_model(name)
    return Registered(name, {}, {})


def _decide(
    candidate: Candidate, prepared: PreparedCandidate, model: Registered, version: Any, context: ReleaseContext
) -> tuple[Decision, str]:
    """The decision, and what it was taken against, so that the same question is not computed twice."""
    tags: Mapping[str, str] = version.tags
    test_set = prepared.bundle.release.test_set
    noise = f"seed noise {candidate.seed_noise:g}, growth {candidate.max_growth or math.inf:g}"
    baseline = "none" if prepared.score is None or not prepared.above_baseline else f"{prepared.score.baseline_value}"
    against = f"version {model.champion or 'none'}, test set {test_set[:16]}, {noise}, baseline {baseline}"
    if held := tags.get(HELD_BACK):
        return Decision(CHALLENGER, f"held back: {held}; `zen models promote` makes it the champion again"), against
    if tags.get(DECIDED_AGAINST) == against:
        alias: Alias = CHAMPION if tags.get(DECISION) == CHAMPION else CHALLENGER
        return Decision(alias, tags.get(REASON, "")), against
    by_hand = f"`zen models promote {model.name}/{version.version}` makes it the champion all the same"
    if prepared.above_baseline and (refusal := refuse_below_baseline(prepared.score)) is not None:
        return Decision(CHALLENGER, f"{refusal.reason}; {by_hand}"), against
    if model.champion is None:
        which = "the first version" if str(version.version) == "1" else "there was no champion"
        return Decision(CHAMPION, which if prepared.score is None else f"{which}: {prepared.score}"), against
    try:
        return _judge(candidate, prepared, model.champion, context), against
    except StoreError as error:
        return Decision(CHALLENGER, f"the champion cannot be compared with: {error}; {by_hand}"), "nothing"


def _judge(candidate: Candidate, prepared: PreparedCandidate, champion: str, context: ReleaseContext) -> Decision:
    bundle = _champion_files(candidate, champion, context)
    size = read_release(bundle).float_bytes
    grown = prepared.bundle.release.float_bytes
    refusal = check_growth(grown, size, champion=champion, max_growth=candidate.max_growth)
    if refusal is not None:
        return refusal
    comparison = prepared.compare(bundle)
    figures = {"measure": comparison.measure, "candidate": comparison.candidate, "champion": comparison.champion}
    decision = decide(comparison, champion=champion, seed_noise=candidate.seed_noise)
    return replace(decision, compared={**figures, "version": champion} if comparison.count else None)


def compared_of(version: Any) -> dict[str, Any] | None:
    """The figures that a registered version was compared by, from its tags."""
    found: dict[str, Any] | None = json.loads(version.tags.get(COMPARED, "null"))
    return found


def _champion_files(candidate: Candidate, champion: str, context: ReleaseContext) -> Path:
    """The champion's bundle, put back from the store when its files are gone.

    Raises:
        StoreError: they are gone, and the store does not have them either.
    """
    version = context.client.get_model_version(candidate.name, champion)
    if (held := candidate.rebuild(version)) is not None:
        location = files_of(context.client, candidate.name, champion)
        if (problem := find_damage(location, held.files, digests=context.verify)) is not None:
            log.warning(
                "%s/%s was damaged (%s): its files are put back from the store", version.name, champion, problem
            )
            restore_bundle(context.client, held, version, scratch=context.scratch)
    return fetch(context.client, candidate.name, champion, context.workspace.models_folder)


def _register(candidate: Candidate, prepared: PreparedCandidate, context: ReleaseContext) -> str:
    client = context.client
    tags = {**prepared.tags, DIGEST: candidate.digest}
    model_id, location = log_bundle(
        client,
        prepared.bundle,
        name=candidate.name,
        experiment=context.experiment,
        run_id=context.run_id,
        tags={DIGEST: candidate.digest},
        scratch=context.scratch,
    )
    # A server looks the model's id up; in this process MLflow would look for it at its global address, not at ours.
    source = location if local_folder(location) is not None else f"models:/{model_id}"
    made = client.create_model_version(
        candidate.name,
        source,
        run_id=context.run_id,
        tags={key: value[:5000] for key, value in tags.items()},
        description=prepared.description,
        model_id=model_id,
    )
    version = str(made.version)
    names = json.dumps([{"name": candidate.name, "version": version}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": names})  # the link that MLflow's pages show
    return version


def _update_tags(client: MlflowClient, version: Any, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if version.tags.get(key) != value[:5000]:
            client.set_model_version_tag(version.name, str(version.version), key, value[:5000])
