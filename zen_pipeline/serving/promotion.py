"""Register a candidate once, and decide whether it becomes the champion.

Every step can be repeated: a run that was killed between registration and alias finds its version by the digest of
what it holds, and goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from zen_pipeline.errors import StoreError
from zen_pipeline.logs import get_logger
from zen_pipeline.serving import aliases
from zen_pipeline.serving.aliases import CHALLENGER, CHAMPION, HELD_BACK, REASON, Registered
from zen_pipeline.serving.bundle import Bundle, fetch, local_folder, log_bundle, read_release
from zen_pipeline.serving.decision import Alias, Comparison, Decision, check_growth, decide
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = get_logger(__name__)

DIGEST, DECISION, DECIDED_AGAINST = "zen.digest", "zen.decision", "zen.decided_against"


class Released(BaseModel):
    """What happened to one model.

    Attributes:
        new: True when the version was registered now, False when it was found.
    """

    model: str
    version: str
    alias: Alias
    reason: str
    new: bool


@dataclass(frozen=True)
class Dossier:
    """What registering and comparing a candidate needs.

    Attributes:
        bundle: the files.
        tags: of the version: lineage and figures.
        description: of the version, in Markdown.
        compare: measures the candidate against a champion, whose bundle it is given.
    """

    bundle: Bundle
    tags: Mapping[str, str]
    description: str
    compare: Callable[[Path], Comparison]


@dataclass(frozen=True)
class Candidate:
    """A model that may become the champion.

    Attributes:
        name: of the registered model.
        digest: SHA-256 of what the version holds; equal digest, same version.
        seed_noise: how much two runs differ by the seed alone, in the unit of the comparison.
        max_growth: the largest allowed size, as a multiple of the champion's; None: any.
        prepare: reads the rest; not called for a model that is the champion already.
    """

    name: str
    digest: str
    seed_noise: float
    max_growth: float | None
    prepare: Callable[[], Dossier]


@dataclass(frozen=True)
class Desk:
    """Where releases are made: the registry, the run that asks, and scratch on the store's file system."""

    client: MlflowClient
    workspace: Workspace
    experiment: str
    run_id: str
    scratch: Path
    wait: bool = True


def find_version(client: MlflowClient, name: str, digest: str) -> Any | None:
    """The newest registered version that holds exactly this, or None."""
    found = client.search_model_versions(f"name='{name}' and tags.`{DIGEST}`='{digest}'")
    return max(found, key=lambda v: int(v.version), default=None)


def release(candidate: Candidate, desk: Desk) -> Released:
    """Register the candidate unless it is registered, and give it the alias that it deserves.

    Raises:
        StageBusy: another run releases this model and the desk does not wait.
        StoreError: files of the candidate or of the champion are missing.
    """
    client = desk.client
    with aliases.hold_name(desk.workspace, candidate.name, run_id=desk.run_id, wait=desk.wait):
        model = aliases.registered_model(client, candidate.name) or _create(client, candidate.name)
        found = find_version(client, candidate.name, candidate.digest)
        if found is not None and str(found.version) == model.champion:
            reason = found.tags.get(REASON, "it is the champion")
            return Released(model=model.name, version=model.champion, alias=CHAMPION, reason=reason, new=False)
        dossier = candidate.prepare()
        decision, against = _decide(candidate, dossier, model, found, desk)
        tags = {REASON: decision.reason, DECISION: decision.alias, DECIDED_AGAINST: against}
        if found is None:
            version = _register(candidate, dossier, desk, tags)
        else:
            version = str(found.version)
            _update_tags(client, found, tags)
        move = aliases.make_champion if decision.alias == CHAMPION else aliases.make_challenger
        move(client, model, version)
    log.info("%s/%s is %s: %s", candidate.name, version, decision.alias, decision.reason)
    return Released(
        model=candidate.name, version=version, alias=decision.alias, reason=decision.reason, new=found is None
    )


def _create(client: MlflowClient, name: str) -> Registered:
    client.create_registered_model(name)
    return Registered(name, {}, {})


def _decide(
    candidate: Candidate, dossier: Dossier, model: Registered, found: Any | None, desk: Desk
) -> tuple[Decision, str]:
    """The decision, and what it was taken against, so that the same question is not computed twice."""
    tags: Mapping[str, str] = {} if found is None else found.tags
    test_set = dossier.bundle.release.test_set
    noise = f"seed noise {candidate.seed_noise:g}, growth {candidate.max_growth or math.inf:g}"
    against = f"version {model.champion or 'none'}, test set {test_set[:16]}, {noise}"
    if held := tags.get(HELD_BACK):
        return Decision(CHALLENGER, f"held back: {held}; `zen models promote` makes it the champion again"), against
    if tags.get(DECIDED_AGAINST) == against:
        alias: Alias = CHAMPION if tags.get(DECISION) == CHAMPION else CHALLENGER
        return Decision(alias, tags.get(REASON, "")), against
    if model.champion is None:
        return Decision(CHAMPION, "the first version"), against
    return _judge(candidate, dossier, model.champion, desk), against


def _judge(candidate: Candidate, dossier: Dossier, champion: str, desk: Desk) -> Decision:
    name = candidate.name
    try:
        bundle = fetch(desk.client, name, champion, desk.workspace.models_folder)
        size = read_release(bundle).float_bytes
    except StoreError as error:
        advice = f"`zen models promote {name}/VERSION` makes another version the champion"
        raise StoreError(f"the champion cannot be compared with: {error}; {advice}") from error
    grown = dossier.bundle.release.float_bytes
    refusal = check_growth(grown, size, champion=champion, max_growth=candidate.max_growth)
    return refusal or decide(dossier.compare(bundle), champion=champion, seed_noise=candidate.seed_noise)


def _register(candidate: Candidate, dossier: Dossier, desk: Desk, decided: Mapping[str, str]) -> str:
    client = desk.client
    tags = {**dossier.tags, DIGEST: candidate.digest, **decided}
    model_id, location = log_bundle(
        client,
        dossier.bundle,
        name=candidate.name,
        experiment=desk.experiment,
        run_id=desk.run_id,
        tags={DIGEST: candidate.digest},
        scratch=desk.scratch,
    )
    # A server looks the model's id up; in this process MLflow would look for it at its global address, not at ours.
    source = location if local_folder(location) is not None else f"models:/{model_id}"
    made = client.create_model_version(
        candidate.name,
        source,
        run_id=desk.run_id,
        tags={key: value[:5000] for key, value in tags.items()},
        description=dossier.description,
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
