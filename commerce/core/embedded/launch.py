"""Starts one program so that it can never outlive the process that wanted it.

Run as `python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID|- PROGRAM ARGS…`. It gives up root if asked,
tells the kernel to send DEATH_SIGNAL when the parent dies, and becomes the program. A program of its own
rather than a `preexec_fn`, because Python code between fork and exec is not safe in a process with threads,
and in this order because changing the user clears the death signal.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, user, *command = arguments
    if user != "-":
        uid, gid = (int(number) for number in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # it died before the kernel was told
        sys.exit("the parent process is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
