"""`vault info`, `vault version`, `vault help`."""

import platform
from typing import Any

import click

from vault import __version__
from vault.cli import human
from vault.cli.client import API_VERSION, Client
from vault.cli.command import Group, argument, command
from vault.cli.errors import CannotConnect, CommandError
from vault.cli.shared_options import format_option, pass_client
from vault.cli.template import compile_template


@command("[OPTIONS]", name="version", text="Show the version information")
@format_option
@pass_client
def version(client: Client, form: str | None) -> None:
    """Show the versions of this command and of the daemon."""
    render = compile_template("{{json .}}" if form == "json" else form) if form else None
    try:
        server: dict[str, Any] | None = client.get("/version")
        problem = None
    except CannotConnect as error:
        server, problem = None, error
    here = {
        "Version": __version__,
        "ApiVersion": client.version,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": architecture(platform.machine()),
    }
    if render:
        click.echo(render({"Client": here, "Server": server}))
    else:
        click.echo(version_text(here, server), nl=False)
    if problem:
        raise problem


def architecture(machine: str) -> str:
    """Return Docker's name of an architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def version_text(here: dict[str, Any], server: dict[str, Any] | None) -> str:
    """Return the human form.  Pure."""
    spoken = here["ApiVersion"]
    if spoken != here["DefaultAPIVersion"]:
        spoken += f" (downgraded from {here['DefaultAPIVersion']})"
    lines = [
        "Client:",
        f" Version:           {here['Version']}",
        f" API version:       {spoken}",
        f" Python version:    {here['PythonVersion']}",
        f" OS/Arch:           {here['Os']}/{here['Arch']}",
    ]
    if server:
        lines += ["", "Server:", " Engine:", f"  Version:          {server.get('Version', '')}"]
        lines.append(
            f"  API version:      {server.get('ApiVersion', '')} (minimum version {server.get('MinAPIVersion', '')})"
        )
        lines.append(f"  OS/Arch:          {server.get('Os', '')}/{server.get('Arch', '')}")
        for part in server.get("Components") or ():
            if part.get("Name") != "Engine":
                lines += [f" {part['Name']}:", f"  Version:          {part.get('Version', '')}"]
    return "\n".join(lines) + "\n"


@command("[OPTIONS]", name="info", text="Display system-wide information")
@format_option
@pass_client
def info(client: Client, form: str | None) -> None:
    """Show what the daemon says of itself and of the swarm."""
    if form:
        render = compile_template("{{json .}}" if form == "json" else form)
        click.echo(render(client.get("/info")))
        return
    found = client.get("/info")
    click.echo(info_text(found), nl=False)
    for warning in found.get("Warnings") or ():
        click.echo(warning, err=True)


def info_text(found: dict[str, Any]) -> str:
    """Return the human form.  Pure."""
    swarm = found.get("Swarm") or {}
    lines = [
        "Client:",
        f" Version:    {__version__}",
        "",
        "Server:",
        f" Containers: {found.get('Containers', 0)}",
        f"  Running: {found.get('ContainersRunning', 0)}",
        f"  Stopped: {found.get('ContainersStopped', 0)}",
        f" Images: {found.get('Images', 0)}",
        f" Server Version: {found.get('ServerVersion', '')}",
        f" Storage Driver: {found.get('Driver', '')}",
        f" Logging Driver: {found.get('LoggingDriver', '')}",
        f" Cgroup Driver: {found.get('CgroupDriver', '')}",
        f" Cgroup Version: {found.get('CgroupVersion', '')}",
        f" Swarm: {swarm.get('LocalNodeState', 'inactive')}",
        *_swarm_lines(swarm),
        f" Runtimes: {' '.join(sorted(found.get('Runtimes') or {}))}",
        f" Default Runtime: {found.get('DefaultRuntime', '')}",
        f" Kernel Version: {found.get('KernelVersion', '')}",
        f" Operating System: {found.get('OperatingSystem', '')}",
        f" OSType: {found.get('OSType', '')}",
        f" Architecture: {found.get('Architecture', '')}",
        f" CPUs: {found.get('NCPU', 0)}",
        f" Total Memory: {human.binary_size(found.get('MemTotal', 0))}",
        f" Name: {found.get('Name', '')}",
        f" ID: {found.get('ID', '')}",
        f" Vault Root Dir: {found.get('DockerRootDir', '')}",
    ]
    if found.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in found["Labels"])]
    return "\n".join(line for line in lines if not line.endswith(": ")) + "\n"


def _swarm_lines(swarm: dict[str, Any]) -> list[str]:
    if swarm.get("LocalNodeState", "inactive") in ("inactive", "locked"):
        return []
    lines = [f"  NodeID: {swarm.get('NodeID', '')}"]
    if swarm.get("Error"):
        lines.append(f"  Error: {swarm['Error']}")
    lines.append(f"  Is Manager: {'true' if swarm.get('ControlAvailable') else 'false'}")
    cluster = swarm.get("Cluster")
    if swarm.get("ControlAvailable") and cluster:
        spec = cluster.get("Spec") or {}
        lines += [
            f"  ClusterID: {cluster['ID']}",
            f"  Managers: {swarm.get('Managers', 0)}",
            f"  Nodes: {swarm.get('Nodes', 0)}",
        ]
        history = (spec.get("Orchestration") or {}).get("TaskHistoryRetentionLimit")
        if history is not None:
            lines += ["  Orchestration:", f"   Task History Retention Limit: {history}"]
        beat = (spec.get("Dispatcher") or {}).get("HeartbeatPeriod")
        if beat:
            lines += ["  Dispatcher:", f"   Heartbeat Period: {human.duration(beat / 1_000_000_000).lower()}"]
        expiry = (spec.get("CAConfig") or {}).get("NodeCertExpiry")
        if expiry:
            lines += ["  CA Configuration:", f"   Expiry Duration: {human.duration(expiry / 1_000_000_000)}"]
        locked = (spec.get("EncryptionConfig") or {}).get("AutoLockManagers", False)
        lines.append(f"  Autolock Managers: {'true' if locked else 'false'}")
    lines.append(f"  Node Address: {swarm.get('NodeAddr', '')}")
    managers = sorted(manager["Addr"] for manager in swarm.get("RemoteManagers") or ())
    return [*lines, "  Manager Addresses:", *(f"   {address}" for address in managers)] if managers else lines


@command("[COMMAND]", name="help", text="Help about any command")
@argument("words", required=False, many=True)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print the help of a command."""
    here = ctx.find_root()
    found: click.Command = here.command
    for word in words:
        child = found.get_command(here, word) if isinstance(found, Group) else None
        if child is None:
            raise CommandError(f"unknown help topic: {' '.join(words)}")
        here = click.Context(child, parent=here, info_name=child.name)
        found = child
    click.echo(found.get_help(here), color=False)
