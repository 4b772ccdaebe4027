"""`aiod login` and `aiod logout`. Must not know how logins are kept."""

import sys

import click
import msgspec

from aiod.cli import asking, output, terminal, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.credentials import DOCKER_HUB, Credentials, Login, server_of
from aiod.cli.errors import CliError

_LARGEST_PASSWORD = 64 * 1024


class AuthBody(msgspec.Struct, frozen=True, rename="lower"):
    """The body of `POST /auth`."""

    username: str
    password: str
    server_address: str = msgspec.field(name="serveraddress")

    def __repr__(self) -> str:
        return f"AuthBody({self.username!r}, …)"


@click.command()
@click.option("-u", "--username", default="", metavar="NAME", help="Asked for if not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.argument("server", required=False, default="")
def login(server: str, username: str, password_stdin: bool) -> None:
    """Log in to a registry, by default Docker Hub; the engine checks it there."""
    key = server_of(server)
    kept = Credentials()
    if password_stdin:
        if not username:
            raise click.UsageError("--password-stdin needs --username")
        password = _piped()
    else:
        username, password = _asked_for(username)
    if not password:
        raise CliError("the password is empty")
    body = AuthBody(username, password, key)

    async def work(ask: Asking) -> None:
        answer = decoded(await ask.client.send("POST", "/auth", None, body), views.LoggedIn)
        token = answer.IdentityToken
        where = kept.save(Login(key, username, "" if token else password, token))
        if where == str(kept.path):
            output.warn(f"the password is kept in {where}, where whoever may read that can read it")
        output.line(answer.Status or "Login Succeeded")

    asking.ask(work)


def _piped() -> str:
    data = sys.stdin.buffer.read(_LARGEST_PASSWORD)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CliError("the password is not valid UTF-8") from None


def _asked_for(username: str) -> tuple[str, str]:
    if not terminal.is_terminal(terminal.STDIN):
        raise CliError("a password can be typed on a terminal only: use --password-stdin")
    username = username or click.prompt("Username", err=True)
    return username, click.prompt("Password", hide_input=True, err=True)


@click.command()
@click.argument("server", required=False, default="")
def logout(server: str) -> None:
    """Forget the login of a registry, by default Docker Hub's."""
    key = server_of(server)
    shown = "Docker Hub" if key == DOCKER_HUB else key
    if Credentials().forget(key):
        output.line(f"Removed the login of {shown}")
    else:
        output.line(f"Not logged in to {shown}")
