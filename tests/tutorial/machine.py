"""What the tutorial's reader has before them: a node to type at, and the stack files as they stand."""

import os
import re
import shutil

from tests.e2e.node import BIN, HERE, Node, Said
from tests.tutorial.terminal import SHELL, Terminal

IMAGES = ("busybox", "mysql-5.7", "mysql-5.7.27", "wordpress")
EXAMPLES = HERE / "deploy" / "examples" / "wordpress"
TIMES = re.compile(r"(Less than a second|About a minute|\d+ (second|minute)s?)( ago)?", re.IGNORECASE)


class Machine(Node):
    """A node, and shorthands for what the tutorial does more than once."""

    def deploy(self, file: str) -> Said:
        """Type the tutorial's `stack deploy` with a file of deploy/examples; return once the stack runs."""
        shutil.copy(EXAMPLES / file, self.root / "docker-compose.yml")
        said = self.vault("stack", "deploy", "wordpress", "--compose-file", "docker-compose.yml")
        self.until_running("wordpress_db", 1)
        self.until_running("wordpress_web", 3)
        self.until_database_answers("wordpress_db")
        return said

    def remove(self, stack: str) -> None:
        """Remove a stack with its volume, and wait for its containers to end."""
        self.vault("stack", "rm", stack, code=None)
        ours = ("--filter", f"label=com.docker.stack.namespace={stack}")
        self.until(lambda: self.vault("ps", "-aq", *ours).out == "", f"the containers of {stack} are gone")
        for volume in self.vault("volume", "ls", "-q", *ours).out.split():
            self.vault("volume", "rm", volume)

    def until_database_answers(self, service: str) -> None:
        """Return once a database takes logins."""
        ready = "mysqld: ready for connections"
        self.until(lambda: ready in self.vault("service", "logs", service).err, f"{service} answers")

    def name_of(self, service: str) -> str:
        """Return the name of a service's one running container, as `vault ps` shows it."""
        shown = self.vault("ps", "--filter", f"name={service}.", "--format", "{{.Names}}").out.split()
        assert len(shown) == 1, shown
        return shown[0]

    def terminal(self, *words: str, prompt: str = SHELL) -> Terminal:
        """Type `vault …` at a real terminal; return it at its first prompt."""
        typed = Terminal([str(BIN / "vault"), *words], os.environ | {"VAULT_HOST": self.socket}, self.root)
        typed.until(prompt)
        return typed


def rows(text: str) -> list[list[str]]:
    """Return a table as lists of cells, without its heading; times as AGO."""
    return [re.split(r" {2,}", TIMES.sub("AGO", line.rstrip())) for line in text.splitlines()[1:]]
