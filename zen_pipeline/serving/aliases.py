"""Which version of a registered model is champion, which was before, and how that changes.

The alias `champion` is the truth, and MLflow moves it in one transaction, so there is a champion at every instant.
A tag of the registered model lists the champions in order. It is written before the alias on promotion and after it
on rollback, and what follows the present champion in it is disregarded: a process killed in between loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from zen_pipeline.errors import ConfigError
from zen_pipeline.locks import hold_lock
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
HISTORY = "zen.champions"
REASON = "zen.reason"
HELD_BACK = "zen.held_back"
_LONGEST_HISTORY = 200  # versions; the tag must stay below 5000 characters


@dataclass(frozen=True)
class Registered:
    """One registered model: its aliases, its tags."""

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def champion(self) -> str | None:
        """The champion's version."""
        return self.aliases.get(CHAMPION)

    @property
    def champions(self) -> list[str]:
        """The versions that were champion, oldest first, ending with the present one."""
        if self.champion is None:
            return []
        history = self.tags.get(HISTORY, "").split()
        while history and history[-1] != self.champion:
            history.pop()
        return history or [*self.tags.get(HISTORY, "").split(), self.champion]


def registered_models(client: MlflowClient) -> dict[str, Registered]:
    """All registered models by name."""
    found: dict[str, Registered] = {}
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        found.update({m.name: _registered(m) for m in page})
        token = page.token
        if not token:
            return found


def registered_model(client: MlflowClient, name: str) -> Registered | None:
    """The registered model of this name, or None."""
    page = client.search_registered_models(filter_string=f"name='{name}'")
    return _registered(page[0]) if page else None


def _registered(model: Any) -> Registered:
    return Registered(model.name, {a: str(v) for a, v in model.aliases.items()}, dict(model.tags))


@contextmanager
def hold_name(workspace: Workspace, name: str, *, run_id: str, wait: bool = True) -> Iterator[None]:
    """The right to change the versions and aliases of one registered model; it dies with its process.

    Raises:
        StageBusy: somebody else holds it and `wait` is False.
    """
    path = workspace.home / "locks" / f"release-{name}.lock"
    with hold_lock(path, what=f"the release of {name}", run_id=run_id, wait=wait):
        yield


def make_champion(client: MlflowClient, model: Registered, version: str) -> None:
    """Move the alias `champion` to this version; nothing happens when it is there. Needs `hold_name`."""
    if model.champion == version:
        return
    history = [*model.champions, version][-_LONGEST_HISTORY:]
    client.set_registered_model_tag(model.name, HISTORY, " ".join(history))
    client.set_registered_model_alias(model.name, CHAMPION, version)
    if model.aliases.get(CHALLENGER) == version:
        client.delete_registered_model_alias(model.name, CHALLENGER)


def make_challenger(client: MlflowClient, model: Registered, version: str) -> None:
    """Move the alias `challenger` to this version; nothing happens when it is there. Needs `hold_name`."""
    if model.aliases.get(CHALLENGER) != version:
        client.set_registered_model_alias(model.name, CHALLENGER, version)


def promote_by_hand(client: MlflowClient, model: Registered, version: str) -> None:
    """Make this version the champion on somebody's word, and never again replace it by the one that it displaces.

    A later run that finds the displaced version again leaves the decision as it was made. Needs `hold_name`.
    """
    if (displaced := model.champion) == version:
        return
    today = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if displaced is not None:
        held = f"version {version} was promoted over it by hand on {today}"
        client.set_model_version_tag(model.name, displaced, HELD_BACK, held)
    client.delete_model_version_tag(model.name, version, HELD_BACK)
    client.set_model_version_tag(model.name, version, REASON, f"promoted by hand on {today}")
    make_champion(client, model, version)


def roll_back(client: MlflowClient, model: Registered) -> str:
    """Make the version champion again that was champion before the present one; return it. Needs `hold_name`.

    Raises:
        ConfigError: there was no champion before.
    """
    present, kept = model.champion, {str(v.version) for v in client.search_model_versions(f"name='{model.name}'")}
    champions = [version for version in model.champions if version in kept]
    if present is None or len(champions) < 2:
        state = f"{model.name}/{present} is its first champion" if present else f"{model.name} has no champion"
        raise ConfigError(
            f"nothing to roll back to: {state}; `zen models promote {model.name}/VERSION` chooses another"
        )
    earlier = champions[-2]
    today = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    client.set_model_version_tag(model.name, present, HELD_BACK, f"it was rolled back to version {earlier} on {today}")
    client.set_registered_model_alias(model.name, CHAMPION, earlier)
    client.set_registered_model_tag(model.name, HISTORY, " ".join(champions[:-1]))
    client.delete_model_version_tag(model.name, earlier, HELD_BACK)
    return earlier
