"""What the modules of this collection share in their documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """extends_documentation_fragment: ctl.services.common."""

    DOCUMENTATION = r"""
options:
  conf:
    description:
      - The conf directory of ctl, where its C(ctl.toml) and C(services/) are.
      - Left out, ctl takes E(CTL_CONF), and without it C(/etc/ctl) where that exists.
    type: path
  run_dir:
    description:
      - The run directory of ctl, where its records and pid files are.
      - Left out, ctl takes E(CTL_RUN_DIR), and without it what its C(ctl.toml) says, or C(/run/ctl).
    type: path
  executable:
    description:
      - The ctl to call.
      - Left out, it is looked for in E(PATH), then C(/opt/ctl/bin/ctl) and C(/usr/local/bin/ctl) are tried.
    type: path
requirements:
  - ctl on the host
  - Python 3.8 or newer as what Ansible finds on the host; what ctl runs with is its own affair
attributes:
  platform:
    support: full
    platforms: linux
  action_group:
    description: Set O(conf), O(run_dir) and O(executable) for both modules at once, in C(module_defaults).
    support: full
    membership:
      - ctl.services.all
"""
