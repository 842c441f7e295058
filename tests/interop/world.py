"""Our side of the play, on loopback and in one temporary directory, each part started when a check asks for it."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType


class World:
    """What the checks share. Use it in a `with`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path()

    def __enter__(self) -> "World":
        self.folder = Path(tempfile.mkdtemp(prefix="flowengine-interop-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)  # daemons that give up root must find their files
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def file(self, name: str, content: bytes = b"") -> Path:
        """A file of the temporary directory, mode 600, with this content."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path
