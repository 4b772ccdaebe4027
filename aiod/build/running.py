"""RUN: the words that are executed.

Must not know how containers are run.
"""

from aiod.images.config import RunConfig
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.dockerfile.lines import Heredoc, heredoc
from aiod.images.dockerfile.runconfig import DEFAULT_SHELL

SCRIPTS = "/dev/pipes"


def script_of(instruction: Instruction) -> Heredoc | None:
    """The here-document that is a program by itself, because it begins with `#!`."""
    documents = instruction.line.heredocs
    if instruction.is_json or len(documents) != 1 or not _is_alone(instruction):
        return None
    return documents[0] if documents[0].text.startswith("#!") else None


def _is_alone(instruction: Instruction) -> bool:
    return heredoc(instruction.arguments[0], instruction.line.escape) is not None


def command(instruction: Instruction, run: RunConfig) -> list[str]:
    """The words of a RUN's process."""
    if instruction.is_json:
        return list(instruction.arguments)
    if not instruction.arguments:
        return list(run.shell or DEFAULT_SHELL)
    text, documents = instruction.arguments[0], instruction.line.heredocs
    if (script := script_of(instruction)) is not None:
        return [f"{SCRIPTS}/{script.name}"]
    if documents and _is_alone(instruction):
        text = documents[0].text
    else:
        text += "".join(f"\n{document.content}{document.name}" for document in documents)
    return [*(run.shell or DEFAULT_SHELL), text]
