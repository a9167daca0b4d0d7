"""The SDK: one class per resource over the public wire, async only.

    async with Fleet("http://127.0.0.1:8420", api_key) as fleet:
        accepted = await fleet.runs.create(deployment_id=..., inputs={"photo": "https://..."})
        run = await fleet.runs.wait(accepted.id)

Every call raises FleetError when the orchestrator refuses and Unreachable when it does not answer.
It does not know the command line, the environment or where a local fleet keeps its files.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from client import errors, sse
from client.http import Http
from orchestrator import wire

ENDED = frozenset({"success", "failed", "timeout", "cancelled"})
SILENCE_S = 60.0
"""A stream without even a keep-alive for so long is opened anew."""

LiveEvent = wire.RunEvent | wire.ProgressEvent
Outputs = list[wire.RunOutput]
T = TypeVar("T")


class Fleet:
    """A fleet as one organisation sees it. Use it as an async context manager, or call close()."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 30.0) -> None:
        self._http = Http(url, api_key, timeout_s)
        self.machines = Machines(self._http)
        self.workflows = Workflows(self._http)
        self.deployments = Deployments(self._http)
        self.files = Files(self._http)
        self.runs = Runs(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def ready(self) -> bool:
        """Whether the orchestrator and its database take work now."""
        try:
            await self._http.call("GET", "health/ready", dict[str, Any])
        except errors.ClientError:
            return False
        return True

    async def me(self) -> wire.Me:
        """Whom the API key stands for."""
        return await self._http.call("GET", "api/v1/auth/me", wire.Me)


async def every(lister: Callable[..., Awaitable[wire.Page[T]]], **query: object) -> AsyncIterator[T]:
    """All items of a list, page by page: `async for machine in every(fleet.machines.list)`."""
    cursor = None
    while True:
        page = await lister(cursor=cursor, **query)
        for item in page.items:
            yield item
        cursor = page.next_cursor
        if cursor is None:
            return


class Resource:
    """What every resource has: the connection."""

    def __init__(self, http: Http) -> None:
        self._http = http


class Machines(Resource):
    """Machines that do the work."""

    async def list(self, *, cursor: str | None = None, limit: int = 100) -> wire.Page[wire.Machine]:
        """One page of machines, newest first."""
        query = {"cursor": cursor, "limit": limit}
        return await self._http.call("GET", "api/v1/machines", wire.Page[wire.Machine], query=query)

    async def get(self, machine_id: str) -> wire.Machine:
        """One machine."""
        return await self._http.call("GET", f"api/v1/machines/{machine_id}", wire.Machine)

    async def create(
        self,
        name: str,
        *,
        kind: wire.MachineKind = "classic",
        labels: Mapping[str, str] | None = None,
        endpoint: str | None = None,
        endpoint_private: bool = False,
    ) -> wire.Machine:
        """Registers a machine; it becomes ready when its agent enrols, or its endpoint answers.

        endpoint: of a ComfyUI with the comfyui-deploy plugin; endpoint_private lets it lie at a private address.
        """
        body = wire.MachineCreate(
            name=name,
            kind=kind,
            labels=dict(labels or {}),
            endpoint=endpoint,
            endpoint_private=endpoint_private,
        )
        return await self._http.call("POST", "api/v1/machines", wire.Machine, body=body)

    async def enrol_token(self, machine_id: str) -> wire.EnrolToken:
        """A one-time token for the machine's agent, and the command that uses it."""
        return await self._http.call("POST", f"api/v1/machines/{machine_id}/enrol-token", wire.EnrolToken)

    async def drain(self, machine_id: str) -> wire.Machine:
        """Lets the machine finish what it holds and gives it nothing more."""
        return await self._http.call("POST", f"api/v1/machines/{machine_id}/drain", wire.Machine)

    async def undrain(self, machine_id: str) -> wire.Machine:
        """Gives a drained machine work again."""
        return await self._http.call("POST", f"api/v1/machines/{machine_id}/undrain", wire.Machine)

    async def secrets(self, machine_id: str) -> wire.Page[wire.MachineSecret]:
        """The machine's secrets: names and fingerprints, never values."""
        return await self._http.call("GET", f"api/v1/machines/{machine_id}/secrets", wire.Page[wire.MachineSecret])

    async def set_secret(self, machine_id: str, name: str, value: str) -> wire.MachineSecret:
        """Gives the machine's executors an environment variable; idle ones are started afresh at once."""
        path, body = f"api/v1/machines/{machine_id}/secrets/{quote(name, safe='')}", wire.MachineSecretSet(value=value)
        return await self._http.call("PUT", path, wire.MachineSecret, body=body)

    async def delete_secret(self, machine_id: str, name: str) -> None:
        """Takes it from them."""
        path = f"api/v1/machines/{machine_id}/secrets/{quote(name, safe='')}"
        await self._http.call("DELETE", path, type(None))

    async def delete(self, machine_id: str, *, force: bool = False) -> None:
        """Removes the machine; with runs on it only by force, which sends them elsewhere."""
        query = {"force": "true"} if force else {}
        await self._http.call("DELETE", f"api/v1/machines/{machine_id}", type(None), query=query)


class Workflows(Resource):
    """Workflows and their immutable versions."""

    async def list(self, *, cursor: str | None = None, limit: int = 100) -> wire.Page[wire.Workflow]:
        """One page of workflows, newest first."""
        query = {"cursor": cursor, "limit": limit}
        return await self._http.call("GET", "api/v1/workflows", wire.Page[wire.Workflow], query=query)

    async def get(self, workflow_id: str) -> wire.Workflow:
        """One workflow."""
        return await self._http.call("GET", f"api/v1/workflows/{workflow_id}", wire.Workflow)

    async def create(
        self, name: str, *, api_graph: dict[str, Any] | None = None, ui_graph: Any = None, comment: str = ""
    ) -> wire.Workflow:
        """Makes a workflow; with a graph its version 1 too."""
        body = wire.WorkflowCreate(name=name, api_graph=api_graph, ui_graph=ui_graph, comment=comment)
        return await self._http.call("POST", "api/v1/workflows", wire.Workflow, body=body)

    async def versions(
        self, workflow_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> wire.Page[wire.Version]:
        """One page of a workflow's versions, newest first, without their graphs."""
        query = {"cursor": cursor, "limit": limit}
        path = f"api/v1/workflows/{workflow_id}/versions"
        return await self._http.call("GET", path, wire.Page[wire.Version], query=query)

    async def add_version(
        self, workflow_id: str, api_graph: dict[str, Any], *, ui_graph: Any = None, comment: str = ""
    ) -> wire.Version:
        """Adds a version, numbered by the orchestrator."""
        body = wire.VersionCreate(api_graph=api_graph, ui_graph=ui_graph, comment=comment)
        return await self._http.call("POST", f"api/v1/workflows/{workflow_id}/versions", wire.Version, body=body)


class Deployments(Resource):
    """Versions made callable."""

    async def list(self, *, cursor: str | None = None, limit: int = 100) -> wire.Page[wire.Deployment]:
        """One page of deployments, newest first."""
        query = {"cursor": cursor, "limit": limit}
        return await self._http.call("GET", "api/v1/deployments", wire.Page[wire.Deployment], query=query)

    async def get(self, deployment_id: str) -> wire.Deployment:
        """One deployment."""
        return await self._http.call("GET", f"api/v1/deployments/{deployment_id}", wire.Deployment)

    async def create(
        self,
        version_id: str,
        *,
        environment: wire.Environment = "production",
        machine_id: str | None = None,
        pool: Mapping[str, str] | None = None,
    ) -> wire.Deployment:
        """Makes the workflow's deployment of that environment, or moves it to this version."""
        body = wire.DeploymentCreate(
            version_id=version_id, environment=environment, machine_id=machine_id, pool=dict(pool or {})
        )
        return await self._http.call("POST", "api/v1/deployments", wire.Deployment, body=body)


class Files(Resource):
    """Files that runs take in."""

    async def upload(self, path: Path | str, *, name: str | None = None) -> wire.File:
        """Sends a file; its id goes into a run's inputs as {"file_id": id}."""
        source = Path(path)
        content = await asyncio.to_thread(source.read_bytes)
        return await self.upload_bytes(content, name=name or source.name)

    async def upload_bytes(self, content: bytes, *, name: str) -> wire.File:
        """Sends bytes as a file of that name."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return await self._http.call("POST", "api/v1/files", wire.File, files=lambda: {"file": (name, content, kind)})

    async def get(self, file_id: str) -> wire.File:
        """One file, with a fresh signed URL."""
        return await self._http.call("GET", f"api/v1/files/{file_id}", wire.File)


class Runs(Resource):
    """Runs: from the request to the results."""

    async def create(
        self,
        *,
        deployment_id: str | None = None,
        version_id: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        priority: int = 0,
        timeout_s: int | None = None,
        max_attempts: int = 3,
        pool: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> wire.RunAccepted:
        """Hands in a run. Once this returns the run is stored and will end exactly once."""
        body = wire.RunCreate(
            deployment_id=deployment_id,
            version_id=version_id,
            inputs=dict(inputs or {}),
            webhook_url=webhook_url,
            priority=priority,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            pool=dict(pool or {}),
            metadata=dict(metadata or {}),
            tags=None if tags is None else [*tags],
        )
        return await self._http.call("POST", "api/v1/runs", wire.RunAccepted, body=body)

    async def list(
        self,
        *,
        status: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.Page[wire.Run]:
        """One page of runs, newest first; those that have all of the metadata."""
        described = [f"{name}={value}" for name, value in (metadata or {}).items()]
        query = {"status": status, "metadata": described, "cursor": cursor, "limit": limit}
        return await self._http.call("GET", "api/v1/runs", wire.Page[wire.Run], query=query)

    async def get(self, run_id: str) -> wire.Run:
        """One run, with its attempts and outputs."""
        return await self._http.call("GET", f"api/v1/runs/{run_id}", wire.Run)

    async def cancel(self, run_id: str) -> wire.Run:
        """Cancels the run, unless it has ended already."""
        return await self._http.call("POST", f"api/v1/runs/{run_id}/cancel", wire.Run)

    async def outputs(self, run_id: str) -> Outputs:
        """What the run made, each file with a fresh signed URL."""
        page = await self._http.call("GET", f"api/v1/runs/{run_id}/outputs", wire.Page[wire.RunOutput])
        return page.items

    async def events(self, run_id: str, *, after: int | None = None) -> AsyncIterator[LiveEvent]:
        """Status changes and live progress until the run has ended; a broken stream is resumed where it broke.

        after: only what came later than this revision.
        """
        silent = 0
        while True:
            try:
                async for event in self._events_once(run_id, after):
                    silent = 0
                    if isinstance(event, wire.RunEvent):
                        after = event.revision
                    yield event
                    if isinstance(event, wire.RunEvent) and event.status in ENDED:
                        return
            except errors.Unreachable:
                silent += 1
                if silent >= 20:
                    raise
            except errors.FleetError as error:
                if error.status < 500:
                    raise
            if not silent and (await self.get(run_id)).status in ENDED:
                return
            await asyncio.sleep(min(0.2 * (silent + 1), 2.0))

    async def _events_once(self, run_id: str, after: int | None) -> AsyncIterator[LiveEvent]:
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        async with self._http.stream(f"api/v1/runs/{run_id}/events", headers, silence_s=SILENCE_S) as response:
            async for message in sse.messages(response.aiter_lines()):
                if message.event == "status":
                    yield msgspec.json.decode(message.data, type=wire.RunEvent)
                elif message.event == "progress":
                    yield msgspec.json.decode(message.data, type=wire.ProgressEvent)

    async def wait(self, run_id: str, *, timeout_s: float | None = None) -> wire.Run:
        """The run once it has ended, however it ended. Raises TimeoutError when that takes longer than timeout_s."""
        async with asyncio.timeout(timeout_s):
            async for _ in self.events(run_id):
                pass
            return await self.get(run_id)

    async def download(self, output: wire.RunOutput, folder: Path | str, *, name: str | None = None) -> Path:
        """Saves an output under the folder and answers its path. Size and content hash are checked on the way."""
        if output.url is None:
            raise errors.BadDownload("this output is a value, not a file: read its `data`")
        target = Path(folder) / safe_name(name or output.name or output.file_id or "output")
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                async with self._http.stream(output.url) as response:
                    async for chunk in response.aiter_bytes():
                        digest.update(chunk)
                        size += len(chunk)
                        file.write(chunk)
            if (output.size or size) != size or (output.sha256 or digest.hexdigest()) != digest.hexdigest():
                raise errors.BadDownload(f"{target.name}: what came is not what the machine stored; try again")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target


def safe_name(name: str) -> str:
    """A file name that stays in its folder, whatever the server called it."""
    cleaned = re.sub(r"[^\w.\- ()]+", "_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    return cleaned[:150] or "output"
