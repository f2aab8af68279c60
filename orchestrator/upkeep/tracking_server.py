"""Requests to a tracking server: with this user's password from here, without any from the nodes of a cluster."""

from __future__ import annotations

import base64
import configparser
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlparse

from orchestrator.ledger.location import SERVER_SCHEMES
from orchestrator.ledger.refusals import INVALID_HOST, host_of
from orchestrator.upkeep.findings import Finding

ANSWER_LIMIT_S = 3.0
A_READ = "/api/2.0/mlflow/experiments/search?max_results=1"
"""A small request that needs a host name that is known, and a user; `/health` needs neither, `/version` no host."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def get(address: str) -> tuple[str, str]:
    """Text and date header of an answer to this user, as MLflow's client would ask.

    Raises:
        HTTPError: the server answers with an error.
        OSError: it does not answer.
    """
    parts = urlparse(address)
    request = urllib.request.Request(without_user(address))  # http or https: resolve_location has checked it
    user, word = _credentials()
    user, word = user or parts.username, word or parts.password or ""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    elif user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode())
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S, context=_trust(parts.scheme)) as answer:
        return answer.read(100_000).decode(errors="replace").strip(), answer.headers.get("Date", "")


def without_user(address: str) -> str:
    """An address without `user:password@`."""
    return urlparse(address)._replace(netloc=host_of(address)).geturl()


def _credentials() -> tuple[str | None, str | None]:
    """User and password as MLflow's client finds them: in the environment, else in ~/.mlflow/credentials."""
    file = configparser.ConfigParser()
    file.read(Path("~/.mlflow/credentials").expanduser())
    user, word = (
        os.environ.get(name) or file.get("mlflow", name.lower(), fallback=None)
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    )
    return user, word


def _trust(scheme: str) -> ssl.SSLContext | None:
    """The certificates that are trusted, where MLflow's client is told of some of a lab's own."""
    file = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=file) if scheme == "https" and file else None


def from_node(uri: str) -> str:
    """Whether the server is reached from where this runs, by the name in `uri`: what is wrong, "" = nothing.

    No password goes along: a server that asks for one has been reached, and knows its name.
    """
    try:
        urllib.request.urlopen(f"{uri}{A_READ}", timeout=ANSWER_LIMIT_S, context=_trust(urlparse(uri).scheme)).close()
    except urllib.error.HTTPError as error:
        if error.code == 403 and INVALID_HOST in error.read(2000).decode(errors="replace"):
            return f"403 {INVALID_HOST} header"
        return "" if error.code in (401, 403) else f"it answers {error.code} {error.reason}"
    except OSError as error:
        return str(getattr(error, "reason", None) or error)
    return ""


def address_for_nodes(uri: str) -> str:
    """The address that nodes can try, without user and password; "" where there is no server, or on the loopback."""
    is_server = urlparse(uri).scheme in SERVER_SCHEMES
    return without_user(uri) if is_server and urlparse(uri).hostname not in _LOOPBACK else ""


def seen_from_nodes(uri: str, answers: Mapping[str, str]) -> Iterator[Finding]:
    """What `from_node` said on each node, by the node's name; no failure, since the driver alone writes to MLflow."""
    check, where = "MLflow from the nodes", without_user(uri)
    if urlparse(uri).scheme not in SERVER_SCHEMES or not answers:
        return
    if not address_for_nodes(uri):
        if len(answers) > 1:
            text = f"{where} is this node's loopback: start sweeps here. Other nodes need not reach it"
            yield Finding(check, "ok", text)
        return
    for name, problem in answers.items():
        if problem:
            host, parts = host_of(uri), urlparse(uri)
            mend = (
                f"let the nodes reach port {parts.port or parts.scheme} of {parts.hostname}, or start sweeps here only"
            )
            mend = f"start it with: mlflow server ... --allowed-hosts {host}" if INVALID_HOST in problem else mend
            text = f"{where}: {problem}; a sweep that is started here works, one that is started there would not"
            yield Finding(f"MLflow from node {name}", "warning", text, mend)
    if not any(answers.values()):
        nodes = "the node reaches" if len(answers) == 1 else f"all {len(answers)} nodes reach"
        yield Finding(check, "ok", f"{nodes} {where} by this name")
