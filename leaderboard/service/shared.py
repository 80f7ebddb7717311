"""What the endpoints of the service share: the store, who asks, and how a refusal looks."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from leaderboard.service import api_models
from leaderboard.service.uploads import Patience, Shares
from leaderboard.store.store import Store
from leaderboard.store.tables import TeamRow
from leaderboard.store.teams import team_of

HEX = "^[0-9a-f]{64}$"
SAID: dict[int | str, dict[str, Any]] = {
    code: {"model": api_models.Problem, "description": HTTPStatus(code).phrase}
    for code in (400, 401, 403, 404, 408, 409, 413, 429, 503, 507)
}


@dataclass
class Service:
    """What the requests share: the store, how patient uploads are met, and what each may have."""

    store: Store
    title: str
    patience: Patience = field(default_factory=Patience)
    shares: Shares = field(default_factory=Shares)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _team(
    request: Request,
    credentials: Annotated[
        HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
    ],
) -> TeamRow:
    """The team whose token a request has; 401 without one."""
    with _service(request).store.reading() as session:
        team = team_of(session, credentials.credentials) if credentials else None
    if team is None:
        raise HTTPException(
            401,
            "The token is missing, wrong or revoked; the keeper of the board gives one.",
            {"WWW-Authenticate": "Bearer"},
        )
    if team.blocked is not None:
        raise HTTPException(403, "Your team is blocked; the keeper of the board can tell why.")
    return team


Team = Annotated[TeamRow, Depends(_team)]
Shared = Annotated[Service, Depends(_service)]
