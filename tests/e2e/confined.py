"""Runs a command in which process_vm_readv fails with EPERM, as in a container under a strict seccomp profile:
  python3 confined.py COMMAND [ARGUMENT...]
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF
REFUSE, ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000


def refuse_process_vm_readv():
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in [
        (LOAD_WORD, 0, 0, 0),  # the system call's number
        (JUMP_IF_EQUAL, 0, 1, PROCESS_VM_READV[platform.machine()]),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW)])
    code = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, *arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(option, *arguments) != 0:
            sys.exit(f"confined.py: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    refuse_process_vm_readv()
    os.execvp(sys.argv[1], sys.argv[1:])
