"""The guide to messages quotes messages that the code really has."""

from __future__ import annotations

import ast
import errno
import os
import re
from pathlib import Path

GAP = "…"


def texts(source: str) -> list[str]:
    """All strings of a source file; what is filled in later is a gap, and what is added up is one."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(text(value) if isinstance(value, ast.Constant) else GAP for value in node.values)
        return text(node.left) + text(node.right) if isinstance(node, ast.BinOp) else GAP

    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    return [text(node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def holds(message: str, quoted: str) -> bool:
    """Whether the pieces between the gaps of a quotation stand in a message, in order."""
    pieces = [re.escape(piece) for piece in quoted.split(GAP)]
    return re.search(".*".join(pieces), message, re.DOTALL) is not None


def test_every_quoted_message_exists(repository: Path) -> None:
    files = [*(repository / "pipeline").rglob("*.py"), *(repository / "stages").rglob("*.py")]
    messages = [message for path in files for message in texts(path.read_text(encoding="utf-8"))]
    system = [os.strerror(number) for number in (errno.ENOSPC, errno.EROFS, errno.EACCES)]
    messages += [f"{reason}{message.removeprefix(f'psface: {GAP}')}" for reason in system for message in messages
                 if "check the path, its permissions" in message]  # fmt: skip
    page = (repository / "docs/troubleshooting.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    quoted = [one or two for row in rows for one, two in re.findall(r"``(.+?)``|`([^`]+)`", row)]
    assert len(quoted) > 40
    assert [quotation for quotation in quoted if not any(holds(message, quotation) for message in messages)] == []
