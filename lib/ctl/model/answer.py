"""What a probe answers."""

from __future__ import annotations

from typing import NamedTuple

from ctl.model.verdict import Verdict


class Answer(NamedTuple):
    """What a probe says, or whether a hook did its work: unknown where it could not be asked, or did not answer."""

    verdict: Verdict
    why: str = ""  # in one line; empty for a yes
    asked: str = ""  # what was asked, as "tcp 127.0.0.1:80"; empty where that is not the probe's to say
    peer: tuple[str, int] | None = None  # of a yes over TCP: the numeric address and port that answered

    @property
    def text(self) -> str:
        """What was asked, and why it is no yes."""
        return f"{self.asked}: {self.why}" if self.asked else self.why
