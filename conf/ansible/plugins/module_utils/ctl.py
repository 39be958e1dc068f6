"""One call of `ctl --json`: how it is found, called, and understood."""

from __future__ import annotations

import json
import os

SCHEMA = 1  # of the document that is understood here
ELSEWHERE = ("/opt/ctl/bin/ctl", "/usr/local/bin/ctl")  # where a PATH as short as that of sudo or sshd does not lead
SHARED = {
    "conf": {"type": "path"},
    "run_dir": {"type": "path"},
    "executable": {"type": "path"},
}
_TAIL = 20  # lines
_PREFIX = "ctl: "


class CtlFailed(Exception):
    """What to fail with: one line or a few for a person, and `facts` for the playbook."""

    def __init__(self, msg, **facts):
        super().__init__(msg)
        self.msg = msg
        self.facts = facts


class CtlMissing(CtlFailed):
    """There is no ctl on this host."""


class Answer:
    """What ctl answered."""

    def __init__(self, argv, rc, document, stderr):
        self.argv, self.rc, self.document, self.stderr = argv, rc, document, stderr

    @property
    def ok(self):
        """Whether all of it was done, or was so already."""
        return self.document["ok"]

    @property
    def services(self):
        """Its results, by target."""
        return {result["target"]: result for result in self.document["results"]}

    @property
    def facts(self):
        """What every call returns to the playbook."""
        return {"cmd": self.argv, "rc": self.rc, "stderr": self.stderr}

    @property
    def reason(self):
        """Why it failed: that of the whole call, else that of the first target which failed."""
        failures = [*self.document.get("errors", []), *(one for one in self.document["results"] if not one["ok"])]
        return failures[0]["reason"] if failures else "failed"

    @property
    def failure(self):
        """All that went wrong, as ctl says it."""
        said = [_said(fault, fault["target"]) for fault in self.document.get("errors", [])]
        for result in self.document["results"]:
            if not result["ok"]:
                said += [_said(fault, result["target"]) for fault in result["errors"]]
                said += [] if result["errors"] else [f"{result['target']}: {result['reason']}"]
        return "\n".join(said)

    def warn(self, module):
        """What ctl told on stderr although it did what it was asked: a warning for each thing and its details."""
        told = []
        for line in self.stderr.splitlines():
            if told and line.startswith(" "):
                told[-1] += "\n" + line
            elif line.strip():
                told.append(line[len(_PREFIX) :] if line.startswith(_PREFIX) else line)
        for warning in told:
            module.warn(warning)


def ask(module, verb, options, targets=()):
    """Call ctl once. Raises CtlFailed where what comes back is no answer."""
    places = {"--conf": module.params["conf"], "--run-dir": module.params["run_dir"]}
    argv = [find(module), verb, "--json", *(f"{option}={path}" for option, path in places.items() if path is not None)]
    argv += options
    argv += ["--", *targets] if targets else []
    try:
        rc, stdout, stderr = module.run_command(argv, expand_user_and_vars=False, handle_exceptions=False)
    except OSError as error:
        raise CtlFailed(f"cannot execute {argv[0]}: {error}", cmd=argv) from error
    return Answer(argv, rc, _document(argv, rc, stdout, stderr), stderr)


def find(module):
    """The path of ctl. Raises CtlMissing."""
    given = module.params["executable"]
    places = [given] if given else [module.get_bin_path("ctl"), *ELSEWHERE]
    for place in places:
        if place and os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    if given:
        raise CtlMissing(f"executable: there is no program {given} on this host")
    looked = f"looked in PATH ({os.environ.get('PATH', '')}), {' and '.join(ELSEWHERE)}"
    raise CtlMissing(f"ctl is not installed on this host: {looked}; install it, or give its path as executable")


def _document(argv, rc, stdout, stderr):
    facts = {"cmd": argv, "rc": rc, "stdout": stdout, "stderr": stderr}
    called = " ".join(argv[:2])
    try:
        document = json.loads(stdout)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "schema" not in document:
        printed = "printed nothing" if not stdout.strip() else "did not print a JSON document"
        tail = "\n".join(stderr.strip().splitlines()[-_TAIL:])
        raise CtlFailed(f"{called} {printed}, exit status {rc}" + (f":\n{tail}" if tail else ""), **facts)
    if document["schema"] != SCHEMA:
        speaks = f"speaks schema {document['schema']}, this collection schema {SCHEMA}"
        raise CtlFailed(f"{called} {speaks}: bring them to one version", **facts)
    return document


def _said(fault, target):
    where = f" ({fault['where']})" if fault.get("where") else ""
    fix = f"; to fix: {fault['fix']}" if fault.get("fix") else ""
    line = (target + ": " if target else "") + fault["what"] + where + fix
    return "\n".join([line, *("  " + detail for detail in fault.get("details", []))])
